//! Drives a rust-analyzer as an editor does: by messages over its standard input and output.

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

/// The bound from the start to the end, on a slow machine without any builds. Only a server that hangs takes as long.
const PATIENCE: Duration = Duration::from_secs(600);
const INSTALL: &str = "what this test needs comes with `rustup component add rust-analyzer rust-src`";

pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    /// The server's messages; disconnected when the server ends.
    messages: Receiver<Value>,
    /// The file with the server's standard error.
    log: PathBuf,
    deadline: Instant,
    requests: u64,
}

impl Server {
    /// Starts a server on a crate and waits until it has read and built everything. The results are kept in `target`.
    pub(crate) fn start(folder: &Path, target: &Path) -> Self {
        fs::create_dir_all(target).expect("the target directory can be made");
        let log = target.join("rust-analyzer.log");
        let mut child = Command::new("rust-analyzer")
            .current_dir(folder)
            // A separate folder, because otherwise this build and other builds would block each other.
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
                // Without a receiver, keep on reading, because otherwise the server would block.
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
            // The editor should watch files; this one does not, so a file that is saved meanwhile changes nothing.
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
                // Without the standard library, for example, it would answer with less information.
                let said = status["message"].as_str().unwrap_or_default();
                assert!(status["health"] == "ok", "rust-analyzer says: {said}\n{}", self.log());
                return;
            }
        }
    }

    /// Sends a request, and returns the response.
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

    /// Ends the server as an editor does.
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

    /// Returns the next message.
    fn receive(&mut self, until: &str) -> Value {
        let next = self.next(until);
        next.unwrap_or_else(|| panic!("rust-analyzer ended before {until}\n{}", self.log()))
    }

    /// Returns the next message; `None` when the server has ended.
    fn next(&mut self, until: &str) -> Option<Value> {
        match self.messages.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => {
                // The server asks to be notified of changes; no notification is needed.
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

    /// The server's standard error, to be shown with a failure.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string());
        format!("rust-analyzer wrote ({INSTALL}):\n{log}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server has already ended, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the next message; `None` at the end.
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
