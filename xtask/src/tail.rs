//! The last lines that the children of this process have printed.
//!
//! `cargo xtask test` prints thousands of lines, and a forge shows only the end of a long log. The last
//! lines of the failed steps are therefore repeated at the end.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The number of lines kept of each step.
const LINES: usize = 60;

/// A process that outlives its step may hold the pipes open. Its output is not awaited longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

struct Recorder {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Each thread that copies has a clone of `copying`. `copied` reports that all of them have ended.
    copying: Sender<()>,
    copied: Receiver<()>,
}

impl Recorder {
    fn new() -> Self {
        let (copying, copied) = mpsc::channel();
        Self { lines: Arc::default(), copying, copied }
    }

    fn copy(&self, from: impl Read + Send + 'static, to: impl Write + Send + 'static) {
        let (lines, copying) = (Arc::clone(&self.lines), self.copying.clone());
        thread::spawn(move || {
            // This fails if the reader of this process's own output has gone. The child's next write then fails too, as it would
            // without the pipe.
            let _ = copy(from, to, &lines);
            drop(copying);
        });
    }

    fn finish(self) -> VecDeque<String> {
        drop(self.copying);
        // Nothing is ever sent: the channel closes when the last thread has ended.
        let _ = self.copied.recv_timeout(PATIENCE);
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn copy(from: impl Read, mut to: impl Write, lines: &Mutex<VecDeque<String>>) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        drop(lines);
        to.write_all(&line)?;
        to.flush()?;
        line.clear();
    }
    Ok(())
}

/// Records the lines of all children that start from now on. Does nothing in a terminal: programs print other output for a
/// terminal than for a pipe, and its user can scroll.
pub(crate) fn record() {
    if !io::stdout().is_terminal() && !io::stderr().is_terminal() {
        *RECORDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Recorder::new());
    }
}

/// Ends the recording, and returns the last lines.
pub(crate) fn recorded() -> VecDeque<String> {
    let recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner).take();
    recorder.map(Recorder::finish).unwrap_or_default()
}

/// Gives a child pipes if its output is recorded.
pub(crate) fn prepare(command: &mut Command) {
    if RECORDER.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
}

/// Copies what the pipes of a child deliver to the output of this process. Pipes that the caller has taken are left to it.
pub(crate) fn attach(child: &mut Child) {
    let recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(recorder) = &*recorder else { return };
    if let Some(stdout) = child.stdout.take() {
        recorder.copy(stdout, io::stdout());
    }
    if let Some(stderr) = child.stderr.take() {
        recorder.copy(stderr, io::stderr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_all_are_copied() {
        let recorder = Recorder::new();
        let printed: String = (0..200).map(|n| format!("line {n}\r\n")).collect::<String>() + "the end";
        let copied = Arc::new(Mutex::new(Vec::new()));
        recorder.copy(io::Cursor::new(printed.clone()), Shared(Arc::clone(&copied)));
        let lines = recorder.finish();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.front().map(String::as_str), Some("line 141"));
        assert_eq!(lines.back().map(String::as_str), Some("the end"));
        assert_eq!(String::from_utf8_lossy(&copied.lock().expect("no thread has panicked")), printed);
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no thread has panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
