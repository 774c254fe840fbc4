//! Child processes that end together with this process.
//!
//! Each child leads its own process group. It does not get the terminal's input, so it asks no questions and does not
//! receive Ctrl-C itself. The handler here passes the signal to the whole group, and kills the group if it does not end
//! in time.
//!
//! On Linux this process also adopts the group's orphans. A grandchild, for example a workerd below wrangler, therefore
//! ends before this process does.

use std::fmt;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::tail;

/// The time in which an interrupted group must end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The leaders of the groups that run.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The error after Ctrl-C or a termination request.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

pub(crate) fn handle_interrupts() -> Result<()> {
    group::adopt_orphans();
    ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::SeqCst);
        let leaders = running().clone();
        if again {
            leaders.into_iter().for_each(group::kill);
            return;
        }
        leaders.iter().copied().for_each(group::interrupt);
        thread::spawn(move || {
            thread::sleep(GRACE);
            let late: Vec<_> = running().iter().copied().filter(|leader| leaders.contains(leader)).collect();
            late.into_iter().for_each(group::kill);
        });
    })
    .context("cannot handle Ctrl-C")
}

/// Runs a program to its end. If it fails, the error names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = run_with(command, |_| {})?;
    if !status.success() {
        bail!("`{name}` failed ({status})");
    }
    Ok(())
}

/// Runs a program to its end and leaves no process of its group behind.
///
/// `attach` is called once with the started child, to read its pipes.
pub(crate) fn run_service(command: &mut Command, attach: impl FnOnce(&mut Child)) -> Result<ExitStatus> {
    let mut leader = None;
    let ended = run_with(command, |child| {
        leader = Some(child.id());
        attach(child);
    });
    if let Some(leader) = leader {
        group::sweep(leader);
    }
    ended
}

fn run_with(command: &mut Command, attach: impl FnOnce(&mut Child)) -> Result<ExitStatus> {
    let name = name(command);
    command.stdin(Stdio::null());
    group::lead(command);
    tail::prepare(command);
    let mut child = {
        // The lock is taken during the start: an interrupt is either seen here, or its handler finds the child.
        let mut running = running();
        if INTERRUPTED.load(Ordering::SeqCst) {
            bail!(Interrupted);
        }
        let child = command.spawn().with_context(|| format!("cannot run `{name}`"))?;
        running.push(child.id());
        child
    };
    let leader = child.id();
    attach(&mut child);
    tail::attach(&mut child);
    let status = child.wait();
    let interrupted = INTERRUPTED.load(Ordering::SeqCst);
    if interrupted {
        group::sweep(leader);
    }
    running().retain(|other| *other != leader);
    if interrupted {
        bail!(Interrupted);
    }
    status.with_context(|| format!("cannot wait for `{name}`"))
}

/// Returns the output of a program without the last line break; `None` if the program is missing or fails.
pub(crate) fn output(command: &mut Command) -> Result<Option<String>> {
    match command.stdin(Stdio::null()).stderr(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            Ok(Some(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot run `{}`", name(command))),
    }
}

/// Checks that a program runs. The error ends with the reason that the program prints.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{name}`"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    match stderr.trim_end().lines().next_back() {
        Some(reason) => bail!("`{name}` failed ({}): {reason}", output.status),
        None => bail!("`{name}` failed ({})", output.status),
    }
}

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program and its first two arguments, as in a shell.
fn name(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit(['/', '\\']).next().unwrap_or_default();
    let args = command.get_args().take(2).map(|arg| arg.to_string_lossy());
    let words: Vec<_> = std::iter::once(program.into()).chain(args).collect();
    words.join(" ")
}

#[cfg(unix)]
mod group {
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::errno::Errno;
    use nix::sys::signal::{Signal, killpg};
    use nix::sys::wait::{WaitPidFlag, waitpid};
    use nix::unistd::Pid;

    pub(super) fn adopt_orphans() {
        // If this fails, orphans go to init, which reaps them after they are killed.
        #[cfg(target_os = "linux")]
        let _ = nix::sys::prctl::set_child_subreaper(true);
    }

    pub(super) fn lead(command: &mut Command) {
        command.process_group(0);
    }

    pub(super) fn interrupt(leader: u32) {
        signal(leader, Signal::SIGINT);
    }

    pub(super) fn kill(leader: u32) {
        signal(leader, Signal::SIGKILL);
    }

    /// Ends the rest of a group whose leader has ended, and waits until all its processes are gone.
    pub(super) fn sweep(leader: u32) {
        interrupt(leader);
        if !gone(leader, Duration::from_secs(1)) {
            kill(leader);
            gone(leader, super::GRACE);
        }
    }

    /// Waits until the group has no child of this process, and returns whether that succeeded.
    ///
    /// A process can wait only for its own children; others are left to their parents.
    fn gone(leader: u32, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            match waitpid(group(leader, -1), Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return true,
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
        false
    }

    fn signal(leader: u32, signal: Signal) {
        // This fails if the group has ended already.
        let _ = killpg(group(leader, 1), signal);
    }

    fn group(leader: u32, sign: i32) -> Pid {
        Pid::from_raw(sign * leader.cast_signed())
    }
}

#[cfg(not(unix))]
mod group {
    use std::process::{Command, Stdio};

    pub(super) fn adopt_orphans() {}
    /// Does nothing, because Ctrl-C reaches every process of the console.
    pub(super) fn lead(_command: &mut Command) {}
    pub(super) fn interrupt(_leader: u32) {}
    pub(super) fn sweep(leader: u32) {
        kill(leader);
    }

    pub(super) fn kill(leader: u32) {
        let mut kill = Command::new("taskkill");
        kill.args(["/T", "/F", "/PID", &leader.to_string()]);
        // This fails if the process has ended already.
        let _ = kill.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_run_is_reported_with_its_reason() {
        let failed = |script| check(Command::new("sh").args(["-c", script])).map_err(|error| error.to_string());
        assert_eq!(failed("exit 0"), Ok(()));
        let library = failed("echo usage >&2; echo no libatomic.so.1 >&2; exit 127").expect_err("exit 127");
        assert!(library.ends_with("failed (exit status: 127): no libatomic.so.1"), "{library}");
        let silent = failed("exit 1").expect_err("exit 1");
        assert!(silent.ends_with("failed (exit status: 1)"), "{silent}");
        let missing = check(&mut Command::new("room-no-such-program")).expect_err("a missing program").to_string();
        assert_eq!(missing, "cannot run `room-no-such-program`");
    }
}
