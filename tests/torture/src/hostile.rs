//! Input that no client sends: broken frames, floods, forged requests, guessed tokens.
//!
//! Honest peers use the same rooms during each attack. They must notice nothing: each of their messages is answered, once
//! and in order.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use test_client::{Client, Frame};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use torture_rooms::{log::Row, vault_room::vault::State};

use crate::{
    host::Host,
    raw::{BINARY, CLOSE, CONTINUATION, PING, PONG, Raw, TEXT, frame, header, upgrade},
    worker::{self, PATIENCE},
};

/// The connections that attack at the same time.
const PARALLEL: usize = 32;

/// The largest frame of the room `crowd`.
const LIMIT: usize = 65_536;

/// Parts of texts that would show a client how the server is built.
const INTERNALS: [&str; 9] =
    ["panicked", ".rs:", "RuntimeError", "wasm", "stack", "room-runtime", "torture", "asked to", "room_runtime"];

/// The result of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// The inputs of each attack.
    pub(crate) inputs: BTreeMap<&'static str, u64>,
    pub(crate) upgrades_per_second: u64,
    /// The messages that honest peers exchanged meanwhile, all of them answered.
    pub(crate) honest: u64,
    pub(crate) seconds: u64,
}

/// The place of an attack.
#[derive(Clone, Debug)]
struct Target {
    address: String,
    /// How many inputs an attack has, compared with the short version.
    factor: usize,
    random: fastrand::Rng,
}

/// Runs all attacks.
pub(crate) async fn run(seed: u64, short: bool) -> Result<Report> {
    let begun = Instant::now();
    let host = Host::start(false).await?;
    let random = fastrand::Rng::with_seed(seed);
    let target = Target { address: host.direct(), factor: if short { 1 } else { 10 }, random };
    let mut report = Report { seed, ..Report::default() };
    let honest = Honest::start(&target).await?;

    macro_rules! attacks {
        ($($name:literal: $attack:ident,)*) => {$(
            let attacking = $attack(&target);
            let count = attacking.await.with_context(|| format!("the attack by {}", $name))?;
            honest.noticed_nothing().await.with_context(|| format!("after the attack by {}", $name))?;
            report.inputs.insert($name, count);
        )*};
    }
    attacks! {
        "text that is not UTF-8": invalid_text,
        "frames that break RFC 6455": broken_frames,
        "frames of up to 32 MiB and more": large_frames,
        "JSON of 10,000 levels": deep_json,
        "MessagePack that lies about its lengths": lying_messagepack,
        "fragments": fragments,
        "control frames": control_frames,
        "handshakes that never end": half_open,
        "readers that do not read": slow_readers,
        "the same id at the same instant": duplicate_ids,
        "forged commands, headers and paths": forged_requests,
        "guessed tickets": guessed_tickets,
        "guessed and replayed tokens": guessed_tokens,
        "pages of other origins": other_origins,
        "random frames": random_frames,
    }
    let (count, per_second) =
        upgrades(&target, if short { 500 } else { 20_000 }).await.context("the flood of upgrades")?;
    honest.noticed_nothing().await.context("after the flood of upgrades")?;
    report.inputs.insert("upgrades", count);
    report.upgrades_per_second = per_second;

    report.honest = honest.stop().await?;
    host.stop().await?;
    report.seconds = begun.elapsed().as_secs();
    Ok(report)
}

/// Peers that use the attacked rooms as they should.
struct Honest {
    peers: Vec<JoinHandle<Result<u64>>>,
    stop: watch::Sender<bool>,
    answered: watch::Receiver<[u64; 2]>,
    address: String,
    vault: State,
}

impl Honest {
    async fn start(target: &Target) -> Result<Honest> {
        let (stop, stopped) = watch::channel(false);
        let (answer, answered) = watch::channel([0; 2]);
        let peers = (0..2)
            .map(|at| {
                let uri = format!("ws://{}/crowd/target/ws?topic={at}", target.address);
                tokio::spawn(honest(uri, at, stopped.clone(), answer.clone()))
            })
            .collect();
        let add = json!({ "type": "Add", "who": "honest", "n": 1 });
        let uri = format!("http://{}/vault/target/send", target.address);
        worker::post(&uri, &add).await?;
        let mut honest = Honest { peers, stop, answered, address: target.address.clone(), vault: State::default() };
        honest.vault = honest.state().await?;
        ensure!(honest.vault.entries == 1, "{:?}", honest.vault);
        Ok(honest)
    }

    async fn state(&self) -> Result<State> {
        worker::read(&format!("http://{}/vault/target/state", self.address)).await
    }

    /// Checks that both peers get answers still, and that the vault is as it was.
    async fn noticed_nothing(&self) -> Result<()> {
        let mut answered = self.answered.clone();
        let before = *answered.borrow();
        let goes_on = |now: &[u64; 2]| now.iter().zip(before).all(|(now, before)| *now > before + 2);
        if timeout(PATIENCE, answered.wait_for(goes_on)).await.is_err()
            || self.peers.iter().any(JoinHandle::is_finished)
        {
            bail!("the honest peers get no answers");
        }
        let now = self.state().await?;
        ensure!(now == self.vault, "the vault has changed: {now:?}");
        Ok(())
    }

    async fn stop(self) -> Result<u64> {
        self.stop.send_replace(true);
        let mut count = 0;
        for peer in self.peers {
            count += peer.await??;
        }
        Ok(count)
    }
}

async fn honest(
    uri: String,
    at: usize,
    stopped: watch::Receiver<bool>,
    answered: watch::Sender<[u64; 2]>,
) -> Result<u64> {
    let client = worker::open(&uri).await?.context("an honest peer was refused")?;
    let mut n = 0;
    while !*stopped.borrow() {
        n += 1;
        client.send_text(json!({ "type": "Echo", "n": n, "text": "x" }).to_string()).await?;
        // Messages to all come in between.
        loop {
            let arrival = timeout(PATIENCE, client.receive()).await.with_context(|| format!("echo {n} hangs"))?;
            let Frame::Text(text) = arrival.map_err(|closed| anyhow::anyhow!("closed: {closed}"))? else {
                bail!("a binary frame")
            };
            let value: Value = serde_json::from_str(&text)?;
            if value["type"] == "Echo" {
                ensure!(value["n"] == n, "echo {n} is {text}");
                break;
            }
            ensure!(value["$room"].is_null(), "an honest peer got the error {text}");
        }
        answered.send_modify(|answered| answered[at] = n);
        sleep(Duration::from_millis(5)).await;
    }
    client.close(1000, "").await?;
    Ok(n)
}

impl Target {
    fn crowd(&self) -> &'static str {
        "/crowd/target/ws"
    }

    async fn socket(&self) -> Result<Raw> {
        Raw::socket(&self.address, self.crowd(), "").await
    }

    async fn packed(&self) -> Result<Raw> {
        Raw::socket(&self.address, self.crowd(), "Sec-WebSocket-Protocol: room.msgpack\r\n").await
    }

    /// Sends one valid event on a socket, and waits for its answer. Returns the texts that came before it.
    async fn still_works(&self, socket: &mut Raw) -> Result<Vec<String>> {
        socket.write(&frame(TEXT, true, br#"{"type":"Echo","n":7,"text":"still here"}"#)).await?;
        let mut before = Vec::new();
        while let Some((_, payload)) = socket.receive().await? {
            let text = String::from_utf8_lossy(&payload).into_owned();
            if text.contains("still here") {
                return Ok(before);
            }
            before.push(text);
        }
        bail!("the connection ended")
    }
}

/// Checks that a text of the server does not show how the server is built.
fn assert_discreet(text: &str) -> Result<()> {
    let leaked = INTERNALS.iter().find(|part| text.contains(*part));
    ensure!(leaked.is_none(), "a client is told of {leaked:?}: {text}");
    Ok(())
}

/// Checks that these are error frames with this code.
fn assert_errors(texts: &[String], code: &str, count: usize) -> Result<()> {
    let errors: Vec<_> = texts.iter().filter(|text| text.contains(r#""$room""#)).collect();
    ensure!(errors.len() == count, "{} error frames for {count} inputs: {errors:?}", errors.len());
    for text in errors {
        ensure!(text.contains(&format!(r#""code":"{code}""#)), "{text}");
        assert_discreet(text)?;
    }
    Ok(())
}

async fn invalid_text(target: &Target) -> Result<u64> {
    let texts: [&[u8]; 6] =
        [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\"\xe2\x82", b"\x00\xc0\x80"];
    let mut count = 0;
    for _ in 0..target.factor * 5 {
        for text in texts {
            let mut socket = target.socket().await?;
            socket.write(&frame(TEXT, true, text)).await?;
            // The platform ends the connection, with 1007 or without a frame; or it replaces the bytes by U+FFFD, and the
            // room refuses the text.
            match socket.receive().await? {
                None => {}
                Some((CLOSE, payload)) => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    ensure!([1002, 1007].contains(&code), "closed with {code}");
                }
                Some((_, payload)) => {
                    assert_errors(&[String::from_utf8_lossy(&payload).into_owned()], "decode", 1)?;
                    assert_errors(&target.still_works(&mut socket).await?, "decode", 0)?;
                }
            }
            // A character that is divided between two fragments is no error.
            let mut socket = target.socket().await?;
            let event = r#"{"type":"Echo","n":1,"text":"€ still here"}"#.as_bytes();
            socket.write(&frame(TEXT, false, &event[..30])).await?;
            socket.write(&frame(CONTINUATION, true, &event[30..])).await?;
            target.still_works(&mut socket).await?;
            count += 2;
        }
    }
    Ok(count)
}

async fn broken_frames(target: &Target) -> Result<u64> {
    let event = br#"{"type":"Shout","text":"broken"}"#;
    let unmasked = [&[0x81, event.len() as u8][..], event].concat();
    let mut broken = vec![
        unmasked,
        frame(CONTINUATION, true, event),
        [frame(TEXT, false, event), frame(TEXT, true, event)].concat(),
        frame(PING, false, b"x"),
        frame(PING, true, &[0; 126]),
        frame(CLOSE, true, b"\x03"),
        frame(CLOSE, true, b"\x03\xe8\xff"),
        [header(TEXT, true, u64::MAX >> 1), vec![0; 100]].concat(),
        [header(TEXT, true, u64::MAX), vec![0; 100]].concat(),
        [header(BINARY, true, 1 << 40), vec![0; 100]].concat(),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        broken.push(frame(opcode, true, event));
    }
    for reserved in [0x10, 0x20, 0x40, 0x70] {
        broken.push(frame(TEXT | reserved, true, event));
    }
    let mut count = 0;
    for _ in 0..target.factor * 2 {
        for bytes in &broken {
            let mut socket = target.socket().await?;
            socket.write(bytes).await?;
            // An announced frame may come later; the connection is simply left.
            if let Ok(code) = timeout(Duration::from_millis(300), socket.closed()).await {
                let code = code?;
                ensure!(
                    [1000, 1002, 1005, 1006, 1007, 1009].contains(&code),
                    "{:x?} was closed with {code}",
                    &bytes[..2]
                );
            }
            count += 1;
        }
    }
    Ok(count)
}

async fn large_frames(target: &Target) -> Result<u64> {
    let mut count = 0;
    // Within the platform's limit: an error frame, and the connection stays.
    for length in [LIMIT + 1, 1 << 20, 31 << 20] {
        for opcode in [TEXT, BINARY] {
            let mut socket = target.socket().await?;
            socket.write(&frame(opcode, true, &vec![b'x'; length])).await?;
            let before = target.still_works(&mut socket).await?;
            assert_errors(&before, "too_large", 1).or_else(|_| assert_errors(&before, "decode", 1))?;
            count += 1;
        }
    }
    // Past it, the platform ends the connection.
    for _ in 0..target.factor {
        let mut socket = target.socket().await?;
        let bytes = frame(TEXT, true, &vec![b'x'; (32 << 20) + 1]);
        socket.write(&bytes).await?;
        let code = socket.closed().await?;
        ensure!([1006, 1009].contains(&code), "closed with {code}");
        count += 1;
    }
    Ok(count)
}

async fn deep_json(target: &Target) -> Result<u64> {
    let (arrays, objects) = ("[".repeat(10_000), r#"{"a":"#.repeat(10_000));
    let inputs = [
        arrays.clone(),
        objects.clone(),
        format!("{arrays}{}", "]".repeat(10_000)),
        format!("{objects}1{}", "}".repeat(10_000)),
        format!(r#"{{"type":"Echo","n":1,"text":"x","more":{arrays}{}}}"#, "]".repeat(10_000)),
        format!(r#"{{"type":{arrays}"#),
    ];
    let mut socket = target.socket().await?;
    for _ in 0..target.factor * 5 {
        for input in &inputs {
            socket.write(&frame(TEXT, true, input.as_bytes())).await?;
        }
        let before = target.still_works(&mut socket).await?;
        assert_errors(&before, "decode", inputs.len())?;
    }
    Ok((target.factor * 5 * inputs.len()) as u64)
}

async fn lying_messagepack(target: &Target) -> Result<u64> {
    let huge = 0xffff_ffffu32.to_be_bytes();
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    // Arrays, maps, strings, bytes and extensions of 4 GiB, and of 64 KiB, that are not there.
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        inputs.push([&[marker][..], &huge].concat());
        inputs.push([&[marker][..], &huge, &[0xc0; 1_000]].concat());
        // As the value of a field of an event.
        let event = [b"\x82\xa4type\xa4Echo\xa4text".as_slice(), &[marker], &huge].concat();
        inputs.push(event);
    }
    for marker in [0xdc, 0xde, 0xda, 0xc5, 0xc8] {
        inputs.push(vec![marker, 0xff, 0xff]);
    }
    inputs.push(vec![0x91; 10_000]);
    inputs.push(vec![0x81; 10_000]);
    inputs.push([vec![0xdd], 10_000_000u32.to_be_bytes().to_vec(), vec![0x90; 60_000]].concat());
    inputs.extend((0..=255).map(|byte| vec![byte]));
    let mut socket = target.packed().await?;
    let mut count = 0;
    for _ in 0..target.factor {
        for input in &inputs {
            socket.write(&frame(BINARY, true, input)).await?;
            count += 1;
        }
        let echo = b"\x83\xa4type\xa4Echo\xa1n\x07\xa4text\xaastill here";
        socket.write(&frame(BINARY, true, echo)).await?;
        let mut errors = 0;
        loop {
            let (_, payload) = socket.receive().await?.context("the connection ended")?;
            let text = String::from_utf8_lossy(&payload);
            if text.contains("still here") {
                break;
            }
            if text.contains("$room") {
                ensure!(text.contains("decode"), "{text}");
                assert_discreet(&text)?;
                errors += 1;
            }
        }
        ensure!(errors == inputs.len(), "{errors} error frames for {} inputs", inputs.len());
    }
    Ok(count)
}

async fn fragments(target: &Target) -> Result<u64> {
    let mut count = 0;
    for empty in [0, 10, 10_000] {
        for _ in 0..target.factor {
            let mut socket = target.socket().await?;
            let event = br#"{"type":"Echo","n":1,"text":"in pieces"}"#;
            let mut bytes = frame(TEXT, false, b"");
            for byte in event {
                bytes.extend(frame(CONTINUATION, false, &[*byte]));
                // Control frames may come between fragments.
                bytes.extend(frame(PING, true, b""));
            }
            for _ in 0..empty {
                bytes.extend(frame(CONTINUATION, false, b""));
            }
            bytes.extend(frame(CONTINUATION, true, b""));
            socket.write(&bytes).await?;
            let before = target.still_works(&mut socket).await?;
            ensure!(before.iter().any(|text| text.contains("in pieces")), "the event in pieces was lost");
            count += (event.len() * 2 + empty + 2) as u64;
        }
    }
    Ok(count)
}

async fn control_frames(target: &Target) -> Result<u64> {
    let pings = 2_000 * target.factor;
    let mut socket = target.socket().await?;
    let bytes: Vec<_> = (0..pings).flat_map(|n| frame(PING, true, &(n as u32).to_be_bytes())).collect();
    // Pongs fill the connection unless somebody reads them.
    for part in bytes.chunks(100_000) {
        socket.write(part).await?;
    }
    // An endpoint may answer only the last of several pings.
    let last = (pings as u32 - 1).to_be_bytes();
    while socket.receive().await?.context("the connection ended")? != (PONG, last.to_vec()) {}
    let bytes: Vec<_> = (0..pings).flat_map(|_| frame(PONG, true, b"unasked")).collect();
    socket.write(&bytes).await?;
    target.still_works(&mut socket).await?;
    // A close, and what comes after it.
    let after = [frame(CLOSE, true, b"\x03\xe8"), frame(TEXT, true, b"{}"), frame(CLOSE, true, b"\x03\xe8")].concat();
    socket.write(&after).await?;
    let code = socket.closed().await?;
    ensure!([1000, 1006].contains(&code), "closed with {code}");
    Ok((2 * pings + 3) as u64)
}

async fn half_open(target: &Target) -> Result<u64> {
    let count = 50 * target.factor;
    let mut open = Vec::new();
    for n in 0..count {
        let mut raw = Raw::open(&target.address).await?;
        let text = upgrade(&target.address, target.crowd(), "");
        // Some send nothing, some a part, some the upgrade and a part of a frame.
        let bytes = match n % 3 {
            0 => Vec::new(),
            1 => text.as_bytes()[..text.len() - 2].to_vec(),
            _ => [text.into_bytes(), header(TEXT, true, 1_000)].concat(),
        };
        raw.write(&bytes).await?;
        open.push(raw);
    }
    let mut socket = target.socket().await?;
    target.still_works(&mut socket).await?;
    Ok(count as u64)
}

async fn slow_readers(target: &Target) -> Result<u64> {
    // They join a room of their own: its honest peer hears each message although they read none.
    let path = "/crowd/slow/ws";
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(Raw::socket(&target.address, path, "").await?);
    }
    let client = worker::open(&format!("ws://{}{path}", target.address)).await?.context("refused")?;
    let shouts = 40 * target.factor;
    for n in 0..shouts {
        let shout = json!({ "type": "Shout", "text": "x".repeat(LIMIT - 1_000) }).to_string();
        client.send_text(shout).await?;
        loop {
            match timeout(PATIENCE, client.receive()).await.context("the slow ones stop the room")? {
                Ok(Frame::Text(text)) if text.starts_with(r#"{"type":"Shout""#) => break,
                Ok(_) => {}
                Err(closed) => bail!("closed with {closed} at {n}"),
            }
        }
    }
    Ok((shouts * slow.len()) as u64)
}

async fn duplicate_ids(target: &Target) -> Result<u64> {
    let count = 50 * target.factor;
    let uri = format!("ws://{}/porch/crush/ws?id=same", target.address);
    let clients: Vec<Client> = stream::iter(0..count)
        .map(|_| async { worker::open(&uri).await?.context("a duplicate was refused") })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    for client in &clients {
        client.close(1000, "").await?;
    }
    let base = format!("http://{}/porch/crush", target.address);
    timeout(PATIENCE, async {
        loop {
            let rows: Vec<Row> = worker::log(&base).await?;
            let of = |kind: &str| rows.iter().filter(|row| row.kind == kind).count();
            if of("close") == count && of("join") == of("leave") {
                ensure!(of("connect") == count, "{} of {count} connected", of("connect"));
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .context("not each of them has one on_close")??;
    Ok(count as u64)
}

/// The text of the commands by which the Worker's client talks to a room.
const COMMANDS: [&str; 8] = [
    r#"send {"type":"Add","who":"eve","n":1}"#,
    r#"once 1 k send {"type":"Add","who":"eve","n":1}"#,
    "state",
    "peers",
    "purge",
    "fire_alarm",
    r#"prepare 00000000000000000000000000000000 {"data":{},"id":"eve"}"#,
    r#"broadcast {"type":"Added","seq":1,"who":"eve","n":1}"#,
];

async fn forged_requests(target: &Target) -> Result<u64> {
    let paths = [
        "",
        "/",
        "/roomCall",
        "/send",
        "/state",
        "/%72oomCall",
        "/../vault/target/send",
        "//roomCall",
        "/roomCall/..",
        "/roomCall%00",
        "/;/roomCall",
        "/roomCall?x=send",
    ];
    let headers = [
        "",
        "room-call: 1\r\n",
        "x-room-command: state\r\n",
        "cf-worker: room\r\n",
        "room-ticket: x\r\n",
        "room-error: ticket\r\n",
        "Host: room\r\n",
        "X-Forwarded-Host: room\r\n",
        "Content-Type: application/json\r\n",
        "room-ticket: 00000000000000000000000000000000\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
    ];
    let mut inputs = Vec::new();
    for path in paths {
        for header in headers {
            for command in COMMANDS {
                for method in ["POST", "GET", "PUT", "ROOM"] {
                    inputs.push((path, header, command, method));
                }
            }
        }
    }
    let mut random = target.random.clone();
    random.shuffle(&mut inputs);
    inputs.truncate(400 * target.factor);
    let count = inputs.len();
    stream::iter(inputs)
        .map(|(path, header, command, method)| async move {
            let host = if header.contains("Host: room\r\n") { "" } else { "Host: x\r\n" };
            let length = if header.contains("Content-Length") {
                String::new()
            } else {
                format!("Content-Length: {}\r\n", command.len())
            };
            let mut raw = Raw::open(&target.address).await?;
            let text = format!(
                "{method} /forward/target{path} HTTP/1.1\r\n{host}Connection: close\r\n{header}{length}\r\n{command}"
            );
            raw.write(text.as_bytes()).await?;
            let head = raw.head().await?;
            ensure!(head.status == 0 || head.status >= 400, "{text} was answered with {}", head.text);
            Ok(())
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(count as u64)
}

async fn guessed_tickets(target: &Target) -> Result<u64> {
    let count = 200 * target.factor;
    let mut random = target.random.clone();
    let guesses: Vec<_> = (0..count).map(|_| format!("{:032x}", random.u128(..))).collect();
    stream::iter(guesses)
        .map(|ticket| async move {
            let mut raw = Raw::open(&target.address).await?;
            let headers = format!("room-ticket: {ticket}\r\n");
            raw.write(upgrade(&target.address, "/forward/target/", &headers).as_bytes()).await?;
            let head = raw.head().await?;
            ensure!(head.status >= 400, "a guessed ticket was answered with {}", head.text);
            assert_discreet(&head.text)
        })
        // The room waits some seconds for the other half of a ticket.
        .buffer_unordered(200)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(count as u64)
}

async fn guessed_tokens(target: &Target) -> Result<u64> {
    let path = "/vault/tokens/ws";
    let welcome_of = async |offers: &str| -> Result<Option<(Value, Raw)>> {
        let mut socket = Raw::open(&target.address).await?;
        let headers = format!("Sec-WebSocket-Protocol: room.v1{offers}\r\n");
        socket.write(upgrade(&target.address, path, &headers).as_bytes()).await?;
        let head = socket.head().await?;
        if head.status != 101 {
            ensure!((400..500).contains(&head.status), "{offers} was answered with {}", head.text);
            return Ok(None);
        }
        let (_, frame) = socket.receive().await?.context("no welcome")?;
        assert_discreet(&String::from_utf8_lossy(&frame))?;
        let frame: Value = serde_json::from_slice(&frame)?;
        let welcome = frame.pointer("/0/0/welcome").cloned().context("no welcome")?;
        Ok(Some((welcome, socket)))
    };
    let (welcome, _) = welcome_of("").await?.context("no welcome")?;
    let token = welcome["session"].as_str().context("no token")?.to_owned();
    let at = welcome["at"].as_u64().context("no position")?;
    // The right token resumes, so a wrong one has something to find.
    let (again, _) = welcome_of(&format!(", room.v1.resume.{token}.1.{at}")).await?.context("no welcome")?;
    ensure!(again["resumed"] == true && again["gap"] == false, "the own token does not resume: {again}");

    let guesses = 200 * target.factor;
    let mut random = target.random.clone();
    let tokens: Vec<_> = (0..guesses)
        .map(|n| {
            let mut guess = token.clone().into_bytes();
            match n % 3 {
                // One character differs.
                0 => {
                    let at = random.usize(0..guess.len());
                    if let Some(byte) = guess.get_mut(at) {
                        *byte = if *byte == b'a' { b'b' } else { b'a' };
                    }
                }
                1 => guess.truncate(random.usize(0..guess.len())),
                _ => guess.iter_mut().for_each(|byte| *byte = random.alphanumeric() as u8),
            }
            String::from_utf8_lossy(&guess).into_owned()
        })
        .filter(|guess| *guess != token)
        .collect();
    let count = tokens.len();
    stream::iter(tokens)
        .map(|guess| {
            let welcome_of = &welcome_of;
            async move {
                let answer = welcome_of(&format!(", room.v1.resume.{guess}.1.{at}")).await?;
                let Some((welcome, socket)) = answer else { return Ok(()) };
                // A token with the time and the life of this room can be one of a session without a number, which is not
                // stored. It resumes with a gap, and so with nothing of another session.
                let is_taken = welcome["gap"] == false && welcome["resumed"] == true;
                ensure!(!is_taken, "the guess {guess} resumed: {welcome}");
                // A vanished peer would keep its place, which counts for `max_peers`.
                socket.close().await
            }
        })
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;

    // The place of another id, with its token.
    let mut ann = Raw::socket(&target.address, "/porch/target/ws?id=ann", "").await?;
    let (_, frame) = ann.receive().await?.context("no token")?;
    let frame: Value = serde_json::from_slice(&frame)?;
    let token = frame.pointer("/$room/resume").and_then(Value::as_str).context("no token")?;
    let thefts = 10 * target.factor;
    for n in 0..thefts {
        let path = format!("/porch/target/ws?id=eve-{n}&token={token}");
        let mut eve = Raw::socket(&target.address, &path, "").await?;
        eve.receive().await?.context("no token")?;
        eve.close().await?;
    }
    let log = worker::log(&format!("http://{}/porch/target", target.address)).await?;
    ensure!(log.iter().all(|row| row.kind != "resume"), "a stolen token resumed");
    Ok((count + thefts) as u64)
}

async fn other_origins(target: &Target) -> Result<u64> {
    let origins = [
        "https://evil.example",
        "null",
        "https://vault.example.evil.example",
        "http://vault.example",
        "https://vault.example:444",
        "https://vault.example@evil.example",
        "https://evil.example#vault.example",
        "HTTPS://EVIL.EXAMPLE",
        "https://vault.example, https://evil.example",
        "file://",
        "https://xvault.example",
    ];
    let count = origins.len() as u64;
    for origin in origins {
        let mut raw = Raw::open(&target.address).await?;
        let headers = format!("Origin: {origin}\r\n");
        raw.write(upgrade(&target.address, "/vault/target/ws", &headers).as_bytes()).await?;
        let head = raw.head().await?;
        ensure!(head.status == 403, "the origin {origin:?} was answered with {}", head.text);
    }
    let allowed = "Origin: https://vault.example\r\n";
    Raw::socket(&target.address, "/vault/target/ws", allowed).await?;
    Ok(count)
}

async fn random_frames(target: &Target) -> Result<u64> {
    let mut random = target.random.clone();
    let seeds = [
        &br#"{"type":"Echo","n":1,"text":"x"}"#[..],
        br#"{"$room":{}}"#,
        br#"{"hello":{}}"#,
        b"ping",
        b"[1,[1,{}]]",
        b"\x83\xa4type\xa4Echo\xa1n\x07\xa4text\xa1x",
    ];
    let mut count = 0;
    for protocol in [
        "",
        "Sec-WebSocket-Protocol: room.v1\r\n",
        "Sec-WebSocket-Protocol: room.v1.msgpack\r\n",
        "Sec-WebSocket-Protocol: room.msgpack\r\n",
    ] {
        for _ in 0..target.factor * 4 {
            let mut socket = Raw::socket(&target.address, target.crowd(), protocol).await?;
            let mut bytes = Vec::new();
            for _ in 0..200 {
                let mut payload = seeds[random.usize(0..seeds.len())].to_vec();
                for _ in 0..random.usize(0..8) {
                    let at = random.usize(0..=payload.len());
                    match random.u8(0..3) {
                        0 if at < payload.len() => payload[at] = random.u8(..),
                        1 if at < payload.len() => drop(payload.remove(at)),
                        _ => payload.insert(at, random.u8(..)),
                    }
                }
                let is_text = std::str::from_utf8(&payload).is_ok() && random.bool();
                bytes.extend(frame(if is_text { TEXT } else { BINARY }, true, &payload));
                count += 1;
            }
            bytes.extend(frame(CLOSE, true, b"\x03\xe8"));
            socket.write(&bytes).await?;
            // The room answers each, and the close, or has closed the connection before.
            while let Some((opcode, payload)) = socket.receive().await? {
                let text = String::from_utf8_lossy(&payload);
                if text.contains("$room") {
                    assert_discreet(&text)?;
                }
                if opcode == CLOSE {
                    break;
                }
            }
        }
    }
    Ok(count)
}

/// Opens as many WebSockets as fast as it can. Returns their number, and the rate.
async fn upgrades(target: &Target, count: usize) -> Result<(u64, u64)> {
    let begun = Instant::now();
    let (address, path) = (&target.address, "/crowd/flood/ws");
    stream::iter(0..count)
        .map(|_| async move { Raw::socket(address, path, "").await.map(drop) })
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    let per_second = count as f64 / begun.elapsed().as_secs_f64();
    // Those who left are gone.
    let uri = format!("http://{address}/crowd/flood/stats");
    timeout(PATIENCE, async {
        loop {
            let stats: Value = worker::read(&uri).await?;
            if stats["peers"] == 0 {
                return anyhow::Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .context("peers that left are still there")??;
    Ok((count as u64, per_second as u64))
}
