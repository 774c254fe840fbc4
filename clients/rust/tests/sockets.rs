//! The client over real sockets, with a server that follows a script.

mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, SinkExt, StreamExt};
use room_client::{
    Builder, CallError, Client, Endpoint, Error, ErrorKind, Incoming, Messages, NativeTransport, Overflow, Queue,
    Reconnect, Status,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use server::{Server, TOKEN};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type")]
enum Event {
    Say { text: String },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type")]
enum Broadcast {
    Said { text: String },
}

fn say(text: &str) -> Event {
    Event::Say { text: text.to_owned() }
}

fn said(text: &str) -> serde_json::Value {
    json!({ "type": "Said", "text": text })
}

fn soon() -> Reconnect {
    Reconnect::default().base(Duration::ZERO).max(Duration::ZERO)
}

fn builder(server: &Server) -> Builder {
    Builder::new(server.url.as_str()).reconnect(soon())
}

type Room = (Client<Event>, Messages<Broadcast>);

fn connect(server: &Server) -> Room {
    builder(server).connect()
}

/// The next item; a test that waits for one that never comes fails and does not hang.
async fn next<B: serde::de::DeserializeOwned>(messages: &mut Messages<B>) -> Incoming<B> {
    timeout(Duration::from_secs(10), messages.next()).await.expect("an item in time").expect("not the end")
}

/// Skips items until the connection is open. Returns `resumed` and `gap`.
async fn open<B: serde::de::DeserializeOwned>(messages: &mut Messages<B>) -> (bool, bool) {
    loop {
        if let Incoming::Status(Status::Open { resumed, gap, .. }) = next(messages).await {
            return (resumed, gap);
        }
    }
}

async fn end<B: serde::de::DeserializeOwned>(messages: &mut Messages<B>) -> room_client::Close {
    loop {
        if let Incoming::Status(Status::Closed(close)) = next(messages).await {
            assert!(messages.next().await.is_none(), "nothing follows the close");
            return close;
        }
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("it fails").kind()
}

#[tokio::test]
async fn an_event_resolves_with_its_acknowledgement() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let sending = room.send(&say("hi"));
    let mut peer = server.welcome(json!({})).await;
    assert_eq!(peer.offers, ["room.v1"]);
    assert_eq!(peer.path, "/room");
    assert_eq!(peer.next().await, json!([1, { "type": "Say", "text": "hi" }]));
    assert_eq!(room.pending(), 1);
    peer.send(json!([[{ "ack": 1 }], said("hi")])).await;
    sending.await.expect("it is acknowledged");
    assert_eq!(room.pending(), 0);
    assert_eq!(open(&mut messages).await, (false, false));
    let Incoming::Message(Broadcast::Said { text }) = next(&mut messages).await else { panic!("no message") };
    assert_eq!(text, "hi");
}

#[tokio::test]
async fn a_lost_connection_is_resumed_and_a_gap_is_told() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({ "at": 3 })).await;
    let (first, second) = (room.send(&say("a")), room.send(&say("b")));
    peer.next().await;
    peer.next().await;
    peer.send(json!([[{ "at": 4 }, { "ack": 1 }], said("a")])).await;
    first.await.expect("it is acknowledged");
    drop(peer);

    let mut peer = server.welcome(json!({ "resumed": true, "last": 1, "gap": true, "at": 9 })).await;
    assert_eq!(peer.offers, ["room.v1", &format!("room.v1.resume.{TOKEN}.2.4")]);
    assert_eq!(peer.next().await[0], 2);
    peer.send(json!([[{ "ack": 2 }]])).await;
    second.await.expect("it is acknowledged");
    assert_eq!(open(&mut messages).await, (false, false));
    assert_eq!(open(&mut messages).await, (true, true));
    assert!(matches!(next(&mut messages).await, Incoming::Gap { resumed: true, .. }));
}

#[tokio::test]
async fn a_room_that_lost_frames_gets_them_again() {
    let server = Server::start().await;
    let (room, _messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    let sending = [room.send(&say("a")), room.send(&say("b"))];
    peer.next().await;
    peer.next().await;
    peer.send(json!([[{ "resend": 1 }]])).await;
    assert_eq!([peer.next().await[0].clone(), peer.next().await[0].clone()], [json!(1), json!(2)]);
    peer.send(json!([[{ "ack": 2 }]])).await;
    for sending in sending {
        sending.await.expect("it is acknowledged");
    }
}

#[tokio::test]
async fn a_session_that_is_not_known_fails_what_was_sent() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({ "window": 1 })).await;
    let (sent, waiting) = (room.send(&say("a")), room.send(&say("b")));
    peer.next().await;
    drop(peer);
    let mut peer = server.welcome(json!({ "session": "ff" })).await;
    let error = sent.await.expect_err("it is lost");
    assert_eq!((error.kind(), error.number()), (ErrorKind::SessionLost, Some(1)));
    assert_eq!(peer.next().await, json!([1, { "type": "Say", "text": "b" }]));
    peer.send(json!([[{ "ack": 1 }]])).await;
    waiting.await.expect("it is acknowledged");
    open(&mut messages).await;
    assert_eq!(open(&mut messages).await, (false, true));
}

#[tokio::test]
async fn a_final_close_ends_the_client_and_is_answered() {
    for (code, reason) in [(1000, "purged"), (1008, ""), (4001, "banned"), (1012, "replaced by a new connection")] {
        let server = Server::start().await;
        let (room, mut messages) = connect(&server);
        let mut peer = server.welcome(json!({})).await;
        let sending = room.send(&say("a"));
        peer.next().await;
        peer.close(code, reason).await;
        let close = end(&mut messages).await;
        assert_eq!((close.code, &*close.reason), (code, reason));
        assert_eq!(kind(sending.await), ErrorKind::Closed);
        assert_eq!(kind(room.send(&say("late")).await), ErrorKind::Closed);
        assert_eq!(kind(room.wait_for_open().await), ErrorKind::Closed);
        assert_eq!(room.closed().await.code, code);
    }
}

#[tokio::test]
async fn another_close_is_not_the_end() {
    let server = Server::start().await;
    let (_room, mut messages) = connect(&server);
    for (code, reason) in [(1001, ""), (1012, "the room restarts"), (3008, "silent")] {
        let mut peer = server.welcome(json!({ "resumed": true })).await;
        open(&mut messages).await;
        peer.close(code, reason).await;
        let Incoming::Status(Status::Reconnecting { reason: close, .. }) = next(&mut messages).await else {
            panic!("it does not reconnect");
        };
        assert_eq!((close.code, &*close.reason), (code, reason));
    }
}

#[tokio::test]
async fn a_refused_upgrade_ends_the_client_with_its_status_and_text() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let sending = room.send(&say("a"));
    // The server may be able to do it later.
    server.refuse(503, "").await;
    server.refuse(429, "").await;
    server.refuse(403, "not a member").await;
    let error = end(&mut messages).await.error.expect("a cause");
    assert_eq!((error.kind(), error.status()), (ErrorKind::UpgradeRefused, Some(403)));
    assert!(error.to_string().contains("not a member"), "{error}");
    assert_eq!(sending.await.expect_err("it fails").status(), Some(403));
}

#[tokio::test]
async fn a_server_that_does_not_speak_the_protocol_ends_the_client() {
    let server = Server::start().await;
    for protocol in [None, Some("room.json"), Some("other")] {
        let endpoint = Endpoint::new(server.url.as_str()).protocol("other");
        let (room, _messages): Room = Builder::new(endpoint).reconnect(soon()).connect();
        let accepting = server.accept(protocol);
        let (opened, _) = tokio::join!(room.wait_for_open(), accepting);
        assert_eq!(kind(opened), ErrorKind::Protocol, "{protocol:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_valid_ends_the_client() {
    for url in ["ftp://127.0.0.1/", "127.0.0.1", "ws://", "ws://a b/"] {
        let (room, _messages): Room = Builder::new(url).connect();
        assert_eq!(kind(room.wait_for_open().await), ErrorKind::Endpoint, "{url}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn wss_is_checked_against_the_authorities() {
    use room_client::rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    };

    let certificate = CertificateDer::from(&include_bytes!("tls/localhost.crt")[..]);
    let key = PrivateKeyDer::try_from(&include_bytes!("tls/localhost.key")[..]).expect("a key");
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.expect("a certificate")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback interface");
    let url = format!("wss://localhost:{}/", listener.local_addr().expect("an address").port());

    // The authorities of Mozilla do not know it.
    let reconnect = soon().max_attempts(1);
    let (room, _messages): Room = Builder::new(url.as_str()).reconnect(reconnect).connect();
    let accepting = async { acceptor.accept(listener.accept().await.expect("a connection").0).await };
    let (opened, accepted) = tokio::join!(room.wait_for_open(), accepting);
    assert_eq!(kind(opened), ErrorKind::Unreachable);
    assert!(accepted.is_err());

    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let transport = NativeTransport::new().tls(Arc::new(config));
    let (room, _messages, driver) = Builder::new(url).connect_with::<Event, Broadcast, _>(transport);
    tokio::spawn(driver);
    let stream = acceptor.accept(listener.accept().await.expect("a connection").0).await.expect("a handshake");
    let mut socket = server::upgrade(stream).await;
    socket.send(Message::text(json!([[server::welcome(json!({}))]]).to_string())).await.expect("the client reads");
    room.wait_for_open().await.expect("it is open");
}

#[tokio::test]
async fn failed_attempts_have_a_bound() {
    let server = Server::start().await;
    let url = server.url.clone();
    drop(server);
    let reconnect = soon().max_attempts(3);
    let (room, mut messages): Room = Builder::new(url).reconnect(reconnect).connect();
    assert_eq!(kind(room.wait_for_open().await), ErrorKind::Unreachable);
    let mut attempts = Vec::new();
    while let Some(item) = messages.next().await {
        if let Incoming::Status(Status::Reconnecting { attempt, .. }) = item {
            attempts.push(attempt);
        }
    }
    assert_eq!(attempts, [1, 2]);
}

#[tokio::test]
async fn a_connection_without_a_sign_of_life_is_left_without_a_close_frame() {
    let server = Server::start().await;
    let (_room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    open(&mut messages).await;
    // The time passes at once while nothing else happens.
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    assert_eq!(peer.next().await, json!("ping"));
    let Incoming::Status(Status::Reconnecting { reason, .. }) = next_without_limit(&mut messages).await else {
        panic!("it does not reconnect");
    };
    let waited = started.elapsed();
    tokio::time::resume();
    assert_eq!(reason.error.map(|error| error.kind()), Some(ErrorKind::Timeout));
    assert!((34..36).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(peer.closed().await, None);
    let peer = server.welcome(json!({ "resumed": true, "gap": true })).await;
    assert_eq!(peer.offers.len(), 2);
}

/// A limit in time would be the next timer of a clock that is paused.
async fn next_without_limit(messages: &mut Messages<Broadcast>) -> Incoming<Broadcast> {
    messages.next().await.expect("not the end")
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let server = Server::start().await;
    let queue = Queue::default().max(2).overflow(Overflow::Reject);
    let (room, _messages): Room = builder(&server).queue(queue).connect();
    let kept = [room.send(&say("a")), room.send(&say("b"))];
    assert_eq!(kind(room.send(&say("c")).await), ErrorKind::QueueFull);
    let mut peer = server.welcome(json!({})).await;
    assert_eq!([peer.next().await[0].clone(), peer.next().await[0].clone()], [json!(1), json!(2)]);
    peer.send(json!([[{ "ack": 2 }]])).await;
    for kept in kept {
        kept.await.expect("it is acknowledged");
    }

    let queue = Queue::default().max(1).overflow(Overflow::DropOldest);
    let (room, _messages): Room = builder(&server).queue(queue).connect();
    let (dropped, _kept) = (room.send(&say("a")), room.send(&say("b")));
    assert_eq!(kind(dropped.await), ErrorKind::QueueDropped);
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_no_hole_in_the_numbers() {
    let server = Server::start().await;
    let (room, _messages) = connect(&server);
    drop(room.send(&say("never sent")));
    let sent = room.send(&say("a"));
    room.send(&say("kept")).detach();
    let mut peer = server.welcome(json!({})).await;
    assert_eq!(peer.next().await, json!([1, { "type": "Say", "text": "a" }]));
    assert_eq!(peer.next().await, json!([2, { "type": "Say", "text": "kept" }]));
    // It was sent: only its outcome is dropped.
    drop(sent);
    let last = room.send(&say("b"));
    assert_eq!(peer.next().await[0], 3);
    peer.send(json!([[{ "error": { "n": 1, "code": "refused", "message": "" } }, { "ack": 3 }]])).await;
    last.await.expect("it is acknowledged");
    assert_eq!(room.pending(), 0);
    // A limit in time is a future that is dropped.
    let late = timeout(Duration::from_millis(1), room.send(&say("c"))).await;
    assert!(late.is_err());
    assert_eq!(peer.next().await[0], 4);
}

#[derive(Serialize)]
struct Rename {
    name: &'static str,
}

#[derive(Debug, PartialEq, Deserialize)]
enum RenameError {
    Taken { by: String },
}

#[tokio::test]
async fn calls_have_the_types_of_their_function() {
    let server = Server::start().await;
    let (room, _messages) = connect(&server);
    let mut peer = server.welcome(json!({ "window": 16 })).await;
    let call = || room.call::<u64, RenameError>("rename", &Rename { name: "Ada" });
    let (answered, returned, refused, wrong, lost) = (call(), call(), call(), call(), call());
    let nothing = room.call::<(), RenameError>("reset", &());
    assert_eq!(peer.next().await, json!([1, "rename", { "name": "Ada" }]));
    for _ in 2..=5 {
        peer.next().await;
    }
    assert_eq!(peer.next().await, json!([6, "reset", {}]));
    let controls = json!([
        { "answer": { "n": 1, "value": u64::MAX } },
        { "answer": { "n": 2, "error": { "Taken": { "by": "Bob" } } } },
        { "error": { "n": 3, "code": "rate_limited", "message": "slow down", "retry_after_ms": 1500 } },
        { "answer": { "n": 4, "value": "text" } },
        { "answer": { "n": 6, "value": null } },
        { "ack": 6 },
    ]);
    peer.send(json!([controls])).await;
    assert_eq!(answered.await.expect("a result"), u64::MAX);
    let Err(CallError::Returned(error)) = returned.await else { panic!("not the function's error") };
    assert_eq!(error, RenameError::Taken { by: "Bob".to_owned() });
    let Err(CallError::Failed(error)) = refused.await else { panic!("not an error of the room") };
    assert_eq!((error.code(), error.number()), ("rate_limited", Some(3)));
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    let Err(CallError::Failed(error)) = wrong.await else { panic!("it decodes") };
    assert_eq!((error.kind(), error.number()), (ErrorKind::Decode, Some(4)));
    let Err(CallError::Failed(error)) = lost.await else { panic!("an answer from nowhere") };
    assert_eq!((error.kind(), error.number()), (ErrorKind::NoAnswer, Some(5)));
    nothing.await.expect("a result");

    let Err(CallError::Failed(error)) = room.call::<(), ()>("rename", &[1]).await else { panic!("it was sent") };
    assert_eq!(error.kind(), ErrorKind::Encode);
}

#[cfg(feature = "msgpack")]
#[tokio::test]
async fn messagepack_is_the_same_in_binary_frames() {
    use room_client::Codec;

    #[derive(Serialize)]
    struct Args {
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
    }

    let server = Server::start().await;
    let (room, mut messages): Room = builder(&server).codec(Codec::MessagePack).connect();
    let mut peer = server.accept(Some("room.v1.msgpack")).await;
    assert_eq!(peer.offers, ["room.v1.msgpack"]);
    let pack = |value: serde_json::Value| Message::binary(rmp_serde::to_vec_named(&value).expect("encodes"));
    peer.raw(pack(json!([[server::welcome(json!({}))]]))).await;
    let event = room.send(&say("hi"));
    let call = room.call::<Vec<u64>, RenameError>("sum", &Args { data: vec![1, 2] });
    let Some(Message::Binary(frame)) = peer.message().await else { panic!("not a binary frame") };
    let frame: serde_json::Value = rmp_serde::from_slice(&frame).expect("decodes");
    assert_eq!(frame, json!([1, { "type": "Say", "text": "hi" }]));
    let Some(Message::Binary(frame)) = peer.message().await else { panic!("not a binary frame") };
    assert_eq!(&frame[..], b"\x93\x02\xa3sum\x81\xa4data\xc4\x02\x01\x02");
    peer.raw(pack(json!([[{ "answer": { "n": 2, "value": [3, u64::MAX] } }, { "ack": 2 }], said("hi")]))).await;
    event.await.expect("it is acknowledged");
    assert_eq!(call.await.expect("a result"), [3, u64::MAX]);
    open(&mut messages).await;
    assert!(matches!(next(&mut messages).await, Incoming::Message(Broadcast::Said { .. })));
    assert_eq!(kind(room.send_bytes(vec![1])), ErrorKind::Encode);
    peer.send(json!([[]])).await;
    assert!(matches!(next(&mut messages).await, Incoming::Undecodable(_)));
}

#[tokio::test]
async fn the_endpoint_is_provided_anew_for_each_attempt() {
    let server = Server::start().await;
    let (url, count) = (server.url.clone(), Arc::new(AtomicU32::new(0)));
    let provider = move || {
        let (url, count) = (url.clone(), count.clone());
        async move {
            let attempt = count.fetch_add(1, Ordering::Relaxed);
            if attempt == 1 {
                return Err("there is no token".into());
            }
            Ok(Endpoint::new(url)
                .param("user", "Ada & co")
                .header("authorization", format!("Bearer {attempt}"))
                .protocol(format!("token.{attempt}")))
        }
    };
    let (room, mut messages): Room = Builder::with_provider(provider).reconnect(soon()).connect();
    let peer = server.welcome(json!({})).await;
    assert_eq!(peer.path, "/room?user=Ada+%26+co");
    assert_eq!(peer.headers["authorization"], "Bearer 0");
    assert_eq!(peer.offers, ["room.v1", "token.0"]);
    open(&mut messages).await;
    drop(peer);
    next(&mut messages).await;
    // A provider that fails is a failed attempt.
    let Incoming::Status(Status::Reconnecting { attempt: 1, reason, .. }) = next(&mut messages).await else {
        panic!("the attempt did not fail");
    };
    assert_eq!(reason.error.map(|error| error.kind()), Some(ErrorKind::Endpoint));
    let peer = server.welcome(json!({ "resumed": true })).await;
    assert_eq!(peer.headers["authorization"], "Bearer 2");
    assert_eq!(peer.offers.len(), 3);
    room.wait_for_open().await.expect("it is open");
}

#[tokio::test]
async fn a_sink_waits_for_room_and_its_flush_for_the_outcomes() {
    let server = Server::start().await;
    let queue = Queue::default().max(1).overflow(Overflow::Reject);
    let (room, mut messages): Room = builder(&server).queue(queue).connect();
    let mut sink = room.sink();
    sink.feed(say("a")).await.expect("there is room");
    assert!(sink.feed(say("b")).now_or_never().is_none(), "the queue is full");
    let mut peer = server.welcome(json!({})).await;
    sink.feed(say("b")).await.expect("there is room");
    peer.next().await;
    peer.next().await;
    assert!(sink.flush().now_or_never().is_none(), "there is no outcome");
    peer.send(json!([[{ "error": { "n": 1, "code": "refused", "message": "" } }, { "ack": 2 }]])).await;
    assert_eq!(sink.flush().await.map_err(|error| error.code().to_owned()), Err("refused".to_owned()));
    sink.flush().await.expect("the other one is acknowledged");
    sink.feed(say("c")).await.expect("there is room");
    assert_eq!(peer.next().await[0], 3);
    drop(peer);
    while !matches!(next(&mut messages).await, Incoming::Status(Status::Reconnecting { .. })) {}
    sink.feed(say("d")).await.expect("there is room");
    drop(sink);
    let mut peer = server.welcome(json!({ "resumed": true, "last": 3 })).await;
    assert_eq!(peer.next().await[1]["text"], "d");
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    let other = room.clone();
    let sending = room.send(&say("a"));
    drop(room);
    drop(other);
    // The future is a handle too.
    peer.next().await;
    peer.send(json!([[{ "ack": 1 }]])).await;
    sending.await.expect("it is acknowledged");
    assert_eq!(peer.closed().await, Some((1000, String::new())));
    assert_eq!(end(&mut messages).await.code, 1000);
}

#[tokio::test]
async fn a_close_sends_what_came_before_it() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    room.wait_for_open().await.expect("it is open");
    let sending = room.send(&say("a"));
    room.send_unacknowledged(&say("b")).expect("it is open");
    assert_eq!(kind(room.close(1001, "")), ErrorKind::InvalidClose);
    assert_eq!(kind(room.close(4000, &"x".repeat(124))), ErrorKind::InvalidClose);
    room.close(4000, "bye").expect("a code of clients");
    assert_eq!(kind(sending.await), ErrorKind::Closed);
    assert_eq!(peer.next().await[0], 1);
    assert_eq!(peer.next().await, json!([0, { "type": "Say", "text": "b" }]));
    let (closed, close) = tokio::join!(peer.closed(), room.closed());
    assert_eq!(closed, Some((4000, "bye".to_owned())));
    assert_eq!((close.code, &*close.reason), (4000, "bye"));
    assert_eq!(end(&mut messages).await.code, 4000);
}

#[tokio::test]
async fn a_slow_reader_learns_how_many_items_it_missed() {
    let server = Server::start().await;
    let (room, mut messages): Room = builder(&server).buffer(3).connect();
    let mut peer = server.welcome(json!({})).await;
    let sending = room.send(&say("a"));
    peer.next().await;
    peer.send(json!([[{ "ack": 1 }], said("1"), said("2"), said("3"), said("4")])).await;
    // Outcomes do not wait for the reader.
    sending.await.expect("it is acknowledged");
    // The two changes of the state, and the first message.
    assert!(matches!(next(&mut messages).await, Incoming::Lagged { skipped: 3 }));
    for expected in ["2", "3", "4"] {
        let Incoming::Message(Broadcast::Said { text }) = next(&mut messages).await else { panic!("no message") };
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn what_does_not_decode_is_an_item() {
    let server = Server::start().await;
    let (_room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    open(&mut messages).await;
    peer.send(json!([[], { "type": "Unknown" }, said("a")])).await;
    peer.raw(Message::text("{")).await;
    peer.raw(Message::binary(vec![1, 2])).await;
    peer.send(json!([[{ "error": { "code": "handler", "message": "it failed" } }]])).await;
    let Incoming::Undecodable(undecodable) = next(&mut messages).await else { panic!("it decodes") };
    assert_eq!(undecodable.data, room_client::Frame::Text(json!({ "type": "Unknown" }).to_string()));
    assert!(matches!(next(&mut messages).await, Incoming::Message(_)));
    assert!(matches!(next(&mut messages).await, Incoming::Undecodable(_)));
    assert!(matches!(next(&mut messages).await, Incoming::Bytes(bytes) if bytes == [1, 2]));
    assert!(matches!(next(&mut messages).await, Incoming::Error(error) if error.code() == "handler"));
}

#[tokio::test]
async fn bytes_of_ones_own_are_sent_now_or_never() {
    let server = Server::start().await;
    let (room, _messages) = connect(&server);
    assert_eq!(kind(room.send_bytes(vec![1])), ErrorKind::NotOpen);
    assert_eq!(kind(room.send_unacknowledged(&say("a"))), ErrorKind::NotOpen);
    let mut peer = server.welcome(json!({})).await;
    room.wait_for_open().await.expect("it is open");
    room.send_bytes(vec![1]).expect("it is open");
    assert_eq!(peer.message().await, Some(Message::binary(vec![1])));
}

#[tokio::test]
async fn large_events_and_messages_pass() {
    let server = Server::start().await;
    let (room, mut messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    let text = "x".repeat(20 << 20);
    let sending = room.send(&say(&text));
    assert_eq!(peer.next().await[1]["text"].as_str().map(str::len), Some(text.len()));
    peer.send(json!([[{ "ack": 1 }], said(&text)])).await;
    sending.await.expect("it is acknowledged");
    open(&mut messages).await;
    let Incoming::Message(Broadcast::Said { text: arrived }) = next(&mut messages).await else { panic!("no message") };
    assert_eq!(arrived.len(), text.len());
}

#[tokio::test]
async fn a_nudge_does_not_wait_for_the_back_off() {
    let server = Server::start().await;
    let reconnect = Reconnect::default().base(Duration::from_secs(3600)).max(Duration::from_secs(3600));
    let (room, mut messages): Room = Builder::new(server.url.as_str()).reconnect(reconnect).connect();
    drop(server.welcome(json!({})).await);
    open(&mut messages).await;
    assert!(matches!(next(&mut messages).await, Incoming::Status(Status::Reconnecting { .. })));
    room.nudge();
    let mut peer = server.welcome(json!({ "resumed": true })).await;
    assert_eq!(open(&mut messages).await, (true, false));
    room.nudge();
    assert_eq!(peer.next().await, json!("ping"));
}

#[tokio::test]
async fn a_driver_that_is_dropped_closes_the_client() {
    let server = Server::start().await;
    let (room, mut messages, driver) = builder(&server).connect_with::<Event, Broadcast, _>(NativeTransport::new());
    let task = tokio::spawn(driver);
    let _peer = server.welcome(json!({})).await;
    room.wait_for_open().await.expect("it is open");
    let sending = room.send(&say("a"));
    task.abort();
    assert_eq!(kind(sending.await), ErrorKind::Closed);
    assert_eq!(end(&mut messages).await.code, 1006);
    assert_eq!(room.closed().await.code, 1006);
}

#[tokio::test]
async fn a_stream_that_is_dropped_leaves_the_connection_open() {
    let server = Server::start().await;
    let (room, messages) = connect(&server);
    drop(messages);
    let mut peer = server.welcome(json!({})).await;
    let sending = room.send(&say("a"));
    peer.next().await;
    peer.send(json!([[{ "ack": 1 }], said("a")])).await;
    sending.await.expect("it is acknowledged");
}

#[tokio::test]
async fn the_stream_has_the_combinators_of_futures() {
    let server = Server::start().await;
    let (_room, messages) = connect(&server);
    let mut peer = server.welcome(json!({})).await;
    peer.send(json!([[], said("a")])).await;
    let texts = messages.filter_map(|item| async move {
        match item {
            Incoming::Message(Broadcast::Said { text }) => Some(text),
            _ => None,
        }
    });
    assert_eq!(std::pin::pin!(texts).next().await.as_deref(), Some("a"));
}

#[test]
fn handles_and_streams_can_change_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_send<T: Send>() {}
    // A type that is neither, as an event can be.
    type Local = std::rc::Rc<()>;

    is_send_and_sync::<Client<Local>>();
    is_send_and_sync::<Messages<Local>>();
    is_send_and_sync::<Error>();
    is_send::<room_client::Pending>();
    is_send::<room_client::PendingCall<Local, Local>>();
    is_send::<room_client::Driver<NativeTransport>>();
}
