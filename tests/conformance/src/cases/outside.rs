//! Rule 11: attacks on a room by public requests.
//!
//! Only workerd has public requests. The Worker here is unsafe on purpose: it forwards public requests to the object
//! unchanged.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Report, Step},
};
use futures_util::future::try_join_all;
use hyper::{Response, body::Bytes};

use super::steps::report;
use crate::{
    harness::{Peer, Room, guest, room},
    workerd::Workerd,
};

type Probe = probe::Room;

const TICKET: &str = "room-ticket";
const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A room with state and peers that an attack could harm.
struct Victim {
    h: Workerd,
    room: Room<Workerd, Probe>,
    alice: Peer<Workerd, Probe>,
    before: (Report, Vec<String>),
}

impl Victim {
    async fn new(h: &Workerd) -> Result<Self> {
        let room = room::<Probe, _>(h, "r");
        let alice = room.connect(guest("alice")).await?;
        alice.run([Step::Add(7)]).await?;
        let before = Victim::look(&room, &alice).await?;
        Ok(Victim { h: h.clone(), room, alice, before })
    }

    async fn look(room: &Room<Workerd, Probe>, alice: &Peer<Workerd, Probe>) -> Result<(Report, Vec<String>)> {
        Ok((report(alice.ask([Step::Report]).await?)?, room.log().await?))
    }

    /// Asserts that the room is unchanged, and that no peer received a message.
    async fn is_unharmed(&self) -> Result<()> {
        same!(Victim::look(&self.room, &self.alice).await?, self.before);
        Ok(())
    }

    /// Sends a public request directly to the object.
    async fn forward(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Response<Bytes>> {
        let path = format!("/probe/forward{path}");
        self.h.fetch(method, &path, &[("to", self.room.id())], headers, body).await
    }

    /// As `forward`, with an upgrade to a WebSocket.
    async fn forward_upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response<Bytes>> {
        self.forward("GET", path, &[&UPGRADE, headers].concat(), "").await
    }

    /// Prepares an upgrade as the Worker's client does. This requires the binding.
    async fn prepare(&self, ticket: &str, id: &str) -> Result<()> {
        let upgrade = serde_json::json!({ "data": { "name": id, "on_connect": [], "on_close": [] }, "id": id });
        let command = format!("prepare {ticket} {upgrade}");
        let to = [("to", self.room.id())];
        let answer = self.h.fetch("POST", "/probe/rpc/roomCall", &to, &[], &command).await?;
        same!(std::str::from_utf8(answer.body())?, r#"{"ok":null}"#);
        Ok(())
    }
}

fn refused(response: &Response<Bytes>, what: &str) -> Result<()> {
    let status = response.status();
    holds!(status.is_client_error() || status.is_server_error(), "{what} was answered with {status}");
    Ok(())
}

/// Commands in the format of the Worker's client; the format is public.
fn commands() -> Vec<String> {
    let event = serde_json::json!({ "type": "Do", "steps": [{ "Add": 1_000 }] });
    let data = serde_json::json!({ "name": "eve", "on_connect": [], "on_close": [] });
    let upgrade = serde_json::json!({ "data": data });
    [
        format!("send {event}"),
        r#"broadcast {"type":"Pong","n":1}"#.to_owned(),
        format!("once 1 k send {event}"),
        format!("prepare {} {upgrade}", "0".repeat(32)),
        "state".to_owned(),
        "peers".to_owned(),
        "fire_alarm".to_owned(),
        event.to_string(),
    ]
    .to_vec()
}

pub(super) async fn a_forwarded_request_without_a_ticket_does_nothing(h: Workerd) -> Result<()> {
    let victim = Victim::new(&h).await?;
    let paths = ["", "/", "/roomCall", "/roomRequest", "/upgrade", "/send", "/%72oomCall", "/free", "/connect", "/do"];
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
            refused(&victim.forward(method, path, &[], "").await?, &format!("{method} {path}"))?;
        }
        refused(&victim.forward_upgrade(path, &[]).await?, &format!("an upgrade of {path}"))?;
    }
    victim.is_unharmed().await
}

pub(super) async fn a_forwarded_request_with_commands_in_it_does_nothing(h: Workerd) -> Result<()> {
    let victim = Victim::new(&h).await?;
    for command in commands() {
        for path in ["", "/roomCall"] {
            let quoted = serde_json::to_string(&command)?;
            for body in [&command, &quoted] {
                let json = [("content-type", "application/json")];
                refused(&victim.forward("POST", path, &json, body).await?, body)?;
            }
        }
        let headers = [("x-room-command", &*command), ("room-command", &command), ("cookie", &command)];
        refused(&victim.forward_upgrade("", &headers).await?, &command)?;
    }
    victim.is_unharmed().await
}

pub(super) async fn an_invalid_ticket_admits_no_peer(h: Workerd) -> Result<()> {
    let victim = Victim::new(&h).await?;
    let (short, long) = ("0".repeat(31), "0".repeat(33));
    for ticket in ["", " ", "0", "null", &short, &long, &"g".repeat(32), &"0".repeat(4_000)] {
        refused(&victim.forward_upgrade("", &[(TICKET, ticket)]).await?, ticket)?;
        refused(&victim.forward("POST", "", &[(TICKET, ticket)], "{}").await?, ticket)?;
    }
    victim.is_unharmed().await
}

pub(super) async fn a_forged_ticket_admits_no_peer(h: Workerd) -> Result<()> {
    let victim = Victim::new(&h).await?;
    // The requests run concurrently, because the room waits for the other half of each.
    let tickets: Vec<_> = (1..=40).map(|n: u128| format!("{:032x}", n * 0x1234_5678_9abc_def0_1234)).collect();
    let headers: Vec<_> = tickets.iter().map(|ticket| [(TICKET, &**ticket)]).collect();
    let trying = headers.iter().map(|headers| victim.forward_upgrade("", headers));
    let (answers, ()) = futures_util::future::try_join(try_join_all(trying), async {
        // Meanwhile a peer that uses the client connects.
        let bob = victim.room.connect(guest("bob")).await?;
        bob.close().await
    })
    .await?;
    for response in answers {
        refused(&response, "a made-up ticket")?;
    }
    let (report, log) = Victim::look(&victim.room, &victim.alice).await?;
    same!(report, victim.before.0);
    holds!(log.iter().all(|line| ["alice", "bob"].iter().any(|id| line.contains(id))), "{log:?}");
    Ok(())
}

pub(super) async fn a_ticket_works_once(h: Workerd) -> Result<()> {
    let victim = Victim::new(&h).await?;
    let ticket = "00112233445566778899aabbccddeeff";
    victim.prepare(ticket, "mallory").await?;
    let (path, to) = ("/probe/forward", [("to", victim.room.id())]);
    let first = is!(h.open(path, &to, &[(TICKET, ticket)]).await?, Ok(client) => client);
    same!(victim.room.peer_ids().await?, ["alice", "mallory"]);
    // The ticket is tried again while it is in use, and afterwards.
    let again = is!(h.open(path, &to, &[(TICKET, ticket)]).await?, Err(response) => response);
    refused(&again, "the same ticket again")?;
    drop(first);
    let again = is!(h.open(path, &to, &[(TICKET, ticket)]).await?, Err(response) => response);
    refused(&again, "the same ticket once more")?;
    let log = victim.room.log().await?;
    same!(log.iter().filter(|line| *line == "connect mallory").count(), 1);
    Ok(())
}

pub(super) async fn a_forwarded_request_does_not_create_an_unused_room(h: Workerd) -> Result<()> {
    let room = room::<Probe, _>(&h, "unused");
    let to = [("to", room.id())];
    for command in commands() {
        refused(&h.fetch("POST", "/probe/forward/roomCall", &to, &[], &command).await?, &command)?;
    }
    same!(room.starts().await?, 0);
    same!(room.state().await?, None);
    Ok(())
}
