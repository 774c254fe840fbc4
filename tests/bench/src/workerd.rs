//! A separate workerd without Node.js or Miniflare, so that its process id is known and it contains no other work.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time,
};

use crate::{config::config, files, variants::Worker};

/// The longest time until it listens.
const START: Duration = Duration::from_secs(30);

/// The number of bytes of its output that an error shows.
const SHOWN: usize = 4_000;

/// A running workerd. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Workerd {
    child: Child,
    pid: u32,
    addresses: HashMap<&'static str, SocketAddr>,
    log: PathBuf,
    // The objects' storage and workerd's output; removed after the process has been killed.
    _data: TempDir,
}

/// A message of workerd on its control descriptor.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Control {
    Listen { socket: String, port: u16 },
}

impl Workerd {
    /// Starts a workerd with `workers`, whose files are in `folder`, and with empty storage.
    pub(crate) async fn start(folder: &Path, workers: &[Worker]) -> Result<Workerd> {
        let data = TempDir::with_prefix("bench-data-").context("cannot make a temporary folder")?;
        let path = folder.join("config.capnp");
        fs::write(&path, config(workers, data.path())).context("cannot write workerd's configuration")?;
        let log = data.path().join("workerd.log");
        let mut output = File::create(&log).context("cannot write workerd's log")?;

        let binary = files::workerd()?;
        let mut command = Command::new(&binary);
        // Standard output is the control descriptor, because a child process inherits only the first three descriptors.
        command.args(["serve", "--control-fd=1"]).arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output.try_clone()?).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {}", binary.display()))?;
        let (Some(pid), Some(stdout)) = (child.id(), child.stdout.take()) else { bail!("workerd ended at once") };

        let mut lines = BufReader::new(stdout).lines();
        let listening = time::timeout(START, listen(&mut lines, workers)).await;
        let mut workerd = Workerd { child, pid, addresses: HashMap::new(), log, _data: data };
        let listening = listening.with_context(|| format!("waited {START:?} for workerd to listen"));
        workerd.addresses = workerd.explain(listening.flatten())?;
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // A failed write only loses a line of the log.
                let _ = writeln!(output, "{line}");
            }
        });
        Ok(workerd)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn address(&self, worker: Worker) -> Result<SocketAddr> {
        self.addresses.get(worker.name()).copied().with_context(|| format!("workerd does not run `{worker}`"))
    }

    /// Adds workerd's output to an error.
    pub(crate) fn explain<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            let printed = fs::read_to_string(&self.log).unwrap_or_default();
            let tail = printed.char_indices().rev().nth(SHOWN).map_or(&*printed, |(start, _)| &printed[start..]);
            if !tail.trim().is_empty() {
                eprintln!("workerd printed:\n{}\n", tail.trim_end());
            }
        }
        result
    }

    /// Kills the process and waits until it has ended.
    pub(crate) async fn stop(mut self) -> Result<()> {
        // This fails if the process has already ended, which another error has reported.
        let _ = self.child.start_kill();
        self.child.wait().await.context("cannot wait for workerd to end")?;
        Ok(())
    }
}

async fn listen(
    lines: &mut Lines<BufReader<ChildStdout>>,
    workers: &[Worker],
) -> Result<HashMap<&'static str, SocketAddr>> {
    let mut addresses = HashMap::new();
    while addresses.len() < workers.len() {
        let line = lines.next_line().await?.context("workerd ended before it listened")?;
        // The workers' own output uses the same descriptor.
        let Ok(Control::Listen { socket, port }) = serde_json::from_str(&line) else { continue };
        if let Some(worker) = workers.iter().find(|worker| worker.name() == socket) {
            addresses.insert(worker.name(), SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
    Ok(addresses)
}
