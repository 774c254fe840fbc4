//! A rust-analyzer, driven the way an editor drives it: by messages over its standard input and output.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use url::Url;

/// For everything from the start to the end, on a slow machine that has built nothing yet. Only a server that hangs
/// takes as long.
const PATIENCE: Duration = Duration::from_secs(600);
const INSTALL: &str = "what this test needs comes with `rustup component add rust-analyzer rust-src`";

pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    /// What it writes; disconnected when it ends.
    messages: Receiver<Value>,
    /// Its standard error.
    log: PathBuf,
    deadline: Instant,
    requests: u64,
}

impl Server {
    /// Starts one on a crate and waits until it has read and built what it needs. That is kept in `target`.
    pub(crate) fn start(folder: &Path, target: &Path) -> Self {
        fs::create_dir_all(target).expect("the target directory can be made");
        let log = target.join("rust-analyzer.log");
        let mut child = Command::new("rust-analyzer")
            .current_dir(folder)
            // Of its own, or it would wait for other builds, and they for it.
            .env("CARGO_TARGET_DIR", target)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("its log can be written"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run `rust-analyzer`: {error}; {INSTALL}"));
        let input = child.stdin.take().expect("its input is piped");
        let output = child.stdout.take().expect("its output is piped");
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = read(&mut output) {
                // Nobody reads any more: keep on draining, or it would block.
                let _ = sender.send(message);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut server = Server { child, input, messages, log, deadline, requests: 0 };
        server.open(folder);
        server
    }

    fn open(&mut self, folder: &Path) {
        let root = Url::from_directory_path(folder).expect("the path is absolute");
        let capabilities = json!({
            "experimental": { "serverStatusNotification": true },
            // Who watches files is the editor, and here nobody: a file that is saved meanwhile changes nothing.
            "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } },
        });
        let options = json!({
            "cachePriming": { "enable": false },
            "cargo": { "buildScripts": { "enable": true } },
            "checkOnSave": false,
            "procMacro": { "enable": true },
        });
        let initialize = json!({
            "processId": std::process::id(),
            "rootUri": root.as_str(),
            "capabilities": capabilities,
            "initializationOptions": options,
        });
        self.request("initialize", initialize);
        self.notify("initialized", json!({}));
        loop {
            let message = self.receive("it is ready");
            let status = &message["params"];
            if message["method"] == "experimental/serverStatus" && status["quiescent"] == true {
                // Without the standard library, say: it would answer, and know less.
                let said = status["message"].as_str().unwrap_or_default();
                assert!(status["health"] == "ok", "rust-analyzer says: {said}\n{}", self.log());
                return;
            }
        }
    }

    /// Asks, and gives the answer.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let mut message = self.receive(&format!("it answers `{method}`"));
            if message["id"] == id && message.get("method").is_none() {
                assert!(message.get("error").is_none(), "`{method}` failed: {}", message["error"]);
                return message["result"].take();
            }
        }
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Ends it the way an editor does.
    pub(crate) fn stop(mut self) {
        self.request("shutdown", Value::Null);
        self.notify("exit", Value::Null);
        while self.next("it ends").is_some() {}
        let status = self.child.wait().expect("it is waited for once");
        assert!(status.success(), "rust-analyzer ended with {status}\n{}", self.log());
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        let written =
            write!(self.input, "Content-Length: {}\r\n\r\n{body}", body.len()).and_then(|()| self.input.flush());
        written.unwrap_or_else(|error| panic!("rust-analyzer does not read: {error}\n{}", self.log()));
    }

    /// The next message.
    fn receive(&mut self, until: &str) -> Value {
        let next = self.next(until);
        next.unwrap_or_else(|| panic!("rust-analyzer ended before {until}\n{}", self.log()))
    }

    /// The next message; `None` when it has ended.
    fn next(&mut self, until: &str) -> Option<Value> {
        match self.messages.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => {
                // It asks to be told of this and that: there is nothing to tell.
                if let (Some(id), Some(_)) = (message.get("id"), message.get("method")) {
                    self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": null }));
                }
                Some(message)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} s were not enough until {until}\n{}", PATIENCE.as_secs(), self.log());
            }
        }
    }

    /// What it wrote on its standard error, to be shown below a failure.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string());
        format!("rust-analyzer wrote ({INSTALL}):\n{log}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next message; `None` at the end.
fn read(from: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut header = String::new();
        from.read_line(&mut header).ok().filter(|read| *read > 0)?;
        match header.trim_end().split_once(": ") {
            Some(("Content-Length", bytes)) => length = bytes.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}
