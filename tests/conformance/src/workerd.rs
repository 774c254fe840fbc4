//! Rooms on a real workerd, over real sockets.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    future::Future,
    path::PathBuf,
    process::Stdio,
    rc::Rc,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use conformance_rooms::{
    api::{Address, Asking, Call, Dialogue, FAILED_HEADER, Failed, Federation, Joining, Results, Said},
    script::{Broadcast, Connection, Event, Scripted},
};
use http_body_util::Full;
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use test_client::{Client, ConnectError, Frame, http};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
    task::JoinError,
    time,
};

use crate::harness::{Arrival, Begun, Harness, Knock, PATIENCE, Platform, Refusal, Scope, Socket};

/// The idle time of a room: workerd hibernates it after about 10 s without work.
const IDLE: Duration = Duration::from_secs(12);

/// The longest start of a process: several start together.
const START: Duration = Duration::from_secs(60);

/// The longest time that a process may take to end itself.
const STOP: Duration = Duration::from_secs(15);

/// A workerd, and the Node.js process that controls it.
#[derive(Debug)]
pub struct Host {
    url: RefCell<String>,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Host {
    /// Starts a workerd.
    ///
    /// # Errors
    /// Fails if the rooms are not built, or Node.js is missing.
    pub async fn start() -> Result<Rc<Host>> {
        // Cargo sets the variable at run time, so a moved checkout works too.
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let script = PathBuf::from(folder).join("serve.mjs");
        // The process ends when its input does, and ends workerd too, even if this runner crashes.
        let mut command = Command::new("node");
        command.arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run `node`")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("`node` has no input or no output");
        };
        let mut process = Process { child, input, lines: BufReader::new(output).lines() };
        let url = process.ready().await?;
        Ok(Rc::new(Host { url: RefCell::new(url), process: Mutex::new(process) }))
    }

    /// Starts a new process over the same storage. Open sockets are lost.
    ///
    /// # Errors
    /// Fails if the process does not start again.
    pub async fn restart(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        process.say("restart").await?;
        let url = process.ready().await?;
        self.url.replace(url);
        Ok(())
    }

    /// Ends the process.
    ///
    /// # Errors
    /// Fails if it does not end in time; it then ends together with the runner.
    pub async fn stop(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        process.say("stop").await?;
        time::timeout(STOP, process.child.wait()).await.context("workerd does not end")??;
        Ok(())
    }

    fn uri(&self, path: &str, query: &[(&str, &str)]) -> Result<Uri> {
        let mut uri = format!("{}{path}", self.url.borrow());
        if !query.is_empty() {
            uri = format!("{uri}?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish());
        }
        Ok(uri.parse()?)
    }

    /// Sends one request to the Worker.
    ///
    /// # Errors
    /// Fails if there is no response.
    pub async fn fetch(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let response: Response<Incoming> = http::send(request.map(Full::new)).await?;
        Ok(http::collect(response).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        let response = self.fetch(Request::post(self.uri(path, &[])?).body(body)?).await?;
        let text = response.body();
        serde_json::from_slice(text).with_context(|| {
            let status = response.status();
            format!("{path} was answered {status}: {}", String::from_utf8_lossy(text))
        })
    }
}

impl Process {
    async fn say(&mut self, line: &str) -> Result<()> {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await.context("the process of workerd has ended")
    }

    async fn ready(&mut self) -> Result<String> {
        let waiting = time::timeout(START, async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some(url) = line.strip_prefix("ready ") {
                    return Ok(url.to_owned());
                }
            }
            bail!("workerd did not start; what the process printed is above")
        });
        waiting.await.with_context(|| format!("waited {START:?} for workerd to start"))?
    }
}

/// A case that runs on workerd.
#[derive(Clone, Debug)]
pub struct Workerd {
    host: Rc<Host>,
    scope: Rc<Scope>,
}

impl Workerd {
    /// Creates a case on that host.
    pub fn new(host: Rc<Host>, scope: Rc<Scope>) -> Self {
        Workerd { host, scope }
    }

    /// The host, for operations of this platform only.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Sends a request to the Worker, for operations of this platform only. Its path starts with the name of the room.
    ///
    /// # Errors
    /// Fails if there is no response.
    pub async fn fetch(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Response<Bytes>> {
        let mut request = Request::builder().method(method).uri(self.host.uri(path, query)?);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let fetching = self.host.fetch(request.body(Bytes::from(body.to_owned()))?);
        time::timeout(PATIENCE, fetching).await.with_context(|| format!("waited {PATIENCE:?} for {method} {path}"))?
    }

    /// Opens a WebSocket to the Worker, for operations of this platform only.
    ///
    /// # Errors
    /// Fails if there is no response.
    pub async fn open(
        &self,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<Result<Client, Response<Bytes>>> {
        let mut request = Request::get(self.host.uri(path, query)?);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let opening = time::timeout(PATIENCE, Client::connect(request.body(())?));
        match opening.await.with_context(|| format!("waited {PATIENCE:?} for {path} to open"))? {
            Ok(client) => Ok(Ok(client)),
            Err(ConnectError::Refused(response)) => Ok(Err(*response)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Harness for Workerd {
    const PLATFORM: Platform = Platform::Workerd;

    type Socket<R: Scripted> = WireSocket;

    fn scope(&self) -> &Rc<Scope> {
        &self.scope
    }

    async fn upgrade<R: Scripted>(
        self,
        joining: Joining<Connection>,
        knock: Knock,
    ) -> Result<Result<WireSocket, Refusal>> {
        let with = serde_json::to_string(&joining)?;
        let Knock { token, headers } = knock;
        let mut query = vec![("with", &*with)];
        query.extend(token.as_deref().map(|token| ("token", token)));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        match self.open(&format!("/{}/upgrade", R::NAME), &query, &headers).await? {
            Ok(client) => Ok(Ok(WireSocket::new(client, R::HEARTBEAT))),
            Err(response) if response.headers().contains_key(FAILED_HEADER) => {
                Ok(Err(Refusal::Failed(serde_json::from_slice(response.body())?)))
            }
            Err(response) => Ok(Err(Refusal::Response(response))),
        }
    }

    fn call<R: Scripted>(
        self,
        call: Call<Event, Broadcast>,
    ) -> impl Future<Output = Result<Result<Value, Failed>>> + 'static {
        let host = self.host.clone();
        async move { host.post(&format!("/{}/call", R::NAME), &call).await }
    }

    fn federate<R: Scripted>(
        self,
        federation: Federation<Event, Broadcast>,
    ) -> impl Future<Output = Result<Result<Results, Failed>>> + 'static {
        let host = self.host.clone();
        async move { host.post(&format!("/{}/federate", R::NAME), &federation).await }
    }

    fn dialogue<R: Scripted>(
        self,
        dialogue: Dialogue<Connection, Event>,
    ) -> impl Future<Output = Result<Result<Vec<Said<Broadcast>>, Failed>>> + 'static {
        let host = self.host.clone();
        async move { host.post(&format!("/{}/dialogue", R::NAME), &dialogue).await }
    }

    fn request<R: Scripted>(
        self,
        asking: Asking,
        body: Bytes,
    ) -> impl Future<Output = Result<Result<Response<Bytes>, Failed>>> + 'static {
        let host = self.host.clone();
        async move {
            let uri = host.uri(&format!("/{}/request", R::NAME), &[("with", &serde_json::to_string(&asking)?)])?;
            let response = host.fetch(Request::post(uri).body(body)?).await?;
            if response.headers().contains_key(FAILED_HEADER) {
                return Ok(Err(serde_json::from_slice(response.body())?));
            }
            Ok(Ok(response))
        }
    }

    async fn hibernate<R: Scripted>(&self, _room: &Address) -> Result<()> {
        time::sleep(IDLE).await;
        Ok(())
    }

    async fn restart<R: Scripted>(&self, _room: &Address) -> Result<()> {
        self.host.restart().await
    }

    fn now(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    async fn pass(self, time: Duration) {
        time::sleep(time).await;
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        time::timeout(PATIENCE, work).await.ok()
    }

    fn begin<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> Begun<T> {
        let task = tokio::task::spawn_local(work);
        Box::pin(async move {
            match task.await.map_err(JoinError::try_into_panic) {
                Ok(value) => value,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The work ends with the runner.
                Err(Err(_)) => std::future::pending().await,
            }
        })
    }
}

/// The client's end of a connection.
pub struct WireSocket {
    client: Client,
    /// Frames that arrived while the client waited for something else.
    early: RefCell<VecDeque<Arrival>>,
    heartbeat: (&'static str, &'static str),
}

impl WireSocket {
    fn new(client: Client, heartbeat: (&'static str, &'static str)) -> Self {
        WireSocket { client, early: RefCell::default(), heartbeat }
    }

    /// The client, for operations of this platform only.
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn arrival(&self) -> Arrival {
        match self.client.receive().await {
            Ok(Frame::Text(text)) => Arrival::Text(text),
            Ok(Frame::Binary(bytes)) => Arrival::Binary(bytes.into()),
            Err(closed) => Arrival::Closed(closed.code, closed.reason),
        }
    }
}

impl fmt::Debug for WireSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireSocket").field("early", &self.early).finish_non_exhaustive()
    }
}

impl Socket for WireSocket {
    async fn send_text(&self, text: String) -> Result<()> {
        Ok(self.client.send_text(text).await?)
    }

    async fn send_binary(&self, bytes: Vec<u8>) -> Result<()> {
        Ok(self.client.send_binary(bytes).await?)
    }

    async fn receive(&self) -> Arrival {
        let early = self.early.borrow_mut().pop_front();
        match early {
            Some(arrival) => arrival,
            None => self.arrival().await,
        }
    }

    async fn close(&self, code: u16, reason: &str) -> Result<()> {
        Ok(self.client.close(code, reason).await?)
    }

    fn disconnect(&self) {
        self.client.disconnect();
    }

    fn mute(&self) {
        self.client.mute();
    }

    fn protocol(&self) -> Option<String> {
        let chosen = self.client.response().headers.get("sec-websocket-protocol");
        chosen.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    async fn heartbeat(&self) -> Result<()> {
        let (ping, pong) = self.heartbeat;
        self.send_text(ping.to_owned()).await?;
        loop {
            match self.arrival().await {
                Arrival::Text(text) if text == pong => return Ok(()),
                Arrival::Closed(code, reason) => {
                    let closed = Arrival::Closed(code, reason);
                    let error = anyhow!("{closed:?} in place of the answer to a heartbeat");
                    self.early.borrow_mut().push_back(closed);
                    return Err(error);
                }
                other => self.early.borrow_mut().push_back(other),
            }
        }
    }
}
