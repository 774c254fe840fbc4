//! A workerd that can be killed, and the cable by which clients reach it.

use std::{
    env,
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::AbortHandle,
    time::timeout,
};

/// The longest time until workerd has started or ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The error of the system with which a write fails: EIO.
const INPUT_OUTPUT_ERROR: i64 = 5;

/// A release of the rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    First,
    Next,
}

/// A workerd, and the Node.js process that controls it.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// The process id of workerd.
    pub(crate) pid: u32,
    cable: Cable,
    shim: Option<Shim>,
}

impl Host {
    /// Starts a workerd. With `faults`, its storage and its clock can fail.
    pub(crate) async fn start(faults: bool) -> Result<Host> {
        let shim = if faults { Some(Shim::build().await?) } else { None };
        let mut command = Command::new("node");
        command.arg(folder().join("serve.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(shim) = &shim {
            command.env("TORTURE_SHIM", &shim.library).env("TORTURE_FAULTS", &shim.path);
        }
        let mut child = command.spawn().context("cannot run `node`")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("`node` has no input or no output");
        };
        let cable = Cable::lay().await?;
        let mut host = Host { child, input, lines: BufReader::new(output).lines(), pid: 0, cable, shim };
        host.ready().await?;
        Ok(host)
    }

    /// The address of the cable's end, which stays the same: `127.0.0.1:41234`.
    pub(crate) fn address(&self) -> &str {
        &self.cable.end
    }

    /// The address of workerd itself, until it is killed.
    pub(crate) fn direct(&self) -> String {
        lock(&self.cable.server).clone().unwrap_or_default()
    }

    /// Kills the process with SIGKILL, and starts a new one over the same storage.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.command("kill").await
    }

    /// Ends the process, and starts a new one over the same storage.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.command("restart").await
    }

    /// Kills the process, and starts another release over the same storage.
    pub(crate) async fn deploy(&mut self, release: Release) -> Result<()> {
        self.command(match release {
            Release::First => "deploy first",
            Release::Next => "deploy next",
        })
        .await
    }

    /// Cuts about half of the connections, without a close frame. What is on its way is lost. Returns their number.
    pub(crate) fn cut(&self, random: &mut fastrand::Rng) -> usize {
        let carried = lock(&self.cable.carried);
        let cut: Vec<_> = carried.iter().filter(|carrying| !carrying.is_finished() && random.bool()).collect();
        cut.iter().for_each(|carrying| carrying.abort());
        cut.len()
    }

    /// Makes each write of the storage fail, or ends that.
    pub(crate) fn fail_storage(&self, fails: bool) -> Result<()> {
        self.shim()?.write(0, if fails { INPUT_OUTPUT_ERROR } else { 0 })
    }

    /// Sets the clock of workerd that many milliseconds ahead of the right time, or behind it.
    pub(crate) fn set_clock(&self, ahead_ms: i64) -> Result<()> {
        self.shim()?.write(8, ahead_ms)
    }

    fn shim(&self) -> Result<&Shim> {
        self.shim.as_ref().context("this workerd has no faults")
    }

    async fn command(&mut self, line: &str) -> Result<()> {
        self.cable.lead_to(None);
        self.input.write_all(format!("{line}\n").as_bytes()).await.context("the process of workerd has ended")?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let waiting = timeout(PATIENCE, async {
            while let Some(line) = self.lines.next_line().await? {
                let Some(ready) = line.strip_prefix("ready ") else { continue };
                let (pid, url) = ready.split_once(' ').context("a line without an address")?;
                return Ok((pid.parse()?, url.strip_prefix("http://").context("another scheme")?.to_owned()));
            }
            bail!("workerd did not start; what the process printed is above")
        });
        let (pid, address) = waiting.await.context("workerd did not start in time")??;
        self.pid = pid;
        self.cable.lead_to(Some(address));
        Ok(())
    }

    /// Ends the process.
    pub(crate) async fn stop(self) -> Result<()> {
        let Host { mut child, input, .. } = self;
        drop(input);
        let status = timeout(PATIENCE, child.wait()).await.context("the process does not end")??;
        ensure!(status.success(), "the process of workerd failed ({status}); what it printed is above");
        Ok(())
    }
}

/// The cable between the clients and workerd, whose end for the clients stays.
#[derive(Clone, Debug)]
struct Cable {
    end: Arc<str>,
    server: Arc<Mutex<Option<String>>>,
    carried: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Cable {
    async fn lay() -> Result<Cable> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let end = listener.local_addr()?.to_string().into();
        let cable = Cable { end, server: Arc::default(), carried: Arc::default() };
        let this = cable.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that comes while there is no server is refused.
                let Some(server) = lock(&this.server).clone() else { continue };
                let carrying = tokio::spawn(carry(client, server));
                let mut carried = lock(&this.carried);
                carried.retain(|carrying| !carrying.is_finished());
                carried.push(carrying.abort_handle());
            }
        });
        Ok(cable)
    }

    fn lead_to(&self, server: Option<String>) {
        *lock(&self.server) = server;
    }
}

async fn carry(mut client: TcpStream, server: String) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The library of faults.c, and the file by which it is controlled.
#[derive(Debug)]
struct Shim {
    library: PathBuf,
    path: PathBuf,
    control: File,
    _folder: TempDir,
}

impl Shim {
    async fn build() -> Result<Shim> {
        ensure!(cfg!(target_os = "linux"), "faults of the storage and the clock need Linux");
        let temporary = TempDir::with_prefix("torture-").context("cannot make a temporary folder")?;
        let (library, path) = (temporary.path().join("faults.so"), temporary.path().join("control"));
        let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(folder().join("faults.c")).arg("-ldl");
        let status = compiler.status().await.context("cannot run the C compiler, `cc`")?;
        ensure!(status.success(), "faults.c does not compile ({status})");
        let control = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        control.set_len(16)?;
        Ok(Shim { library, path, control, _folder: temporary })
    }

    fn write(&self, at: u64, value: i64) -> Result<()> {
        Ok(self.control.write_all_at(&value.to_ne_bytes(), at)?)
    }
}

/// The folder of this crate. Cargo sets the variable at run time, so a moved checkout works too.
pub(crate) fn folder() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(), PathBuf::from)
}

/// A lock that ignores the panic of another holder: the values are valid at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
