//! The Worker as a peer of a room: `connect()`.

use anyhow::{Context, Result};
use conformance_rooms::{
    api::{Failed, Line, Said},
    lounge::lounge,
    probe,
    script::{Broadcast, Connection, Event, Step, UpgradeStep},
    small,
};
use hyper::Request;
use room_runtime::{ErrorKind, SUBPROTOCOL, Upgrade};

use super::steps::{fail, leave, log, refuse, report, say};
use crate::{
    harness::{Harness, guest, room, until},
    memory::Memory,
};

type Probe = probe::Room;

fn ping(n: u32) -> Line<Event> {
    Line::Send(Event::Ping { n })
}

fn run(steps: impl Into<Vec<Step>>) -> Line<Event> {
    Line::Send(Event::Do { steps: steps.into() })
}

fn end(code: u16, reason: &str) -> Line<Event> {
    Line::Close { code, reason: reason.to_owned() }
}

fn pong(n: u32) -> Said<Broadcast> {
    Said::Message(Broadcast::Pong { n })
}

pub(super) async fn the_worker_can_be_a_peer<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bot = guest("bot").tags(["x"]).on_connect([say("the bot is here")]);
    let lines = vec![
        Line::Receive,
        ping(1),
        Line::Receive,
        run([Step::Report]),
        Line::Receive,
        end(3_000, "done"),
        Line::Receive,
    ];
    let mut said = is!(room.dialogue(bot, lines).await?, Ok(said) => said);
    let report = is!(said.remove(4), Said::Message(message) => report(message)?);
    let sender = report.sender.map(|sender| (sender.id, sender.tags));
    same!(sender, Some(("bot".to_owned(), vec!["x".to_owned()])));
    same!(report.peers, ["alice", "bot"]);
    let hello = Said::Message(Broadcast::Said { from: Some("bot".to_owned()), text: "the bot is here".to_owned() });
    let closed = Said::Closed { code: 3_000, reason: "done".to_owned() };
    same!(said, [hello, Said::Done, pong(1), Said::Done, Said::Done, closed]);
    alice.hears(Some("bot"), "the bot is here").await?;
    let gone = |log: &Vec<String>| log.iter().any(|line| line.starts_with("close bot 3000 \"done\" clean"));
    until(&h, "on_close of the bot", || room.log(), gone).await?;
    Ok(())
}

pub(super) async fn the_worker_may_resume_with_its_token_which_is_not_a_message<H: Harness>(h: H) -> Result<()> {
    let room = room::<lounge::Room, _>(&h, "r");
    let lines = || vec![ping(1), Line::Receive, Line::ResumeToken];
    let said = is!(room.dialogue(guest("bot"), lines()).await?, Ok(said) => said);
    same!(said[..2], [Said::Done, pong(1)]);
    let token = is!(&said[2], Said::ResumeToken(Some(token)) => token.clone());
    let said = is!(room.dialogue(guest("bot").resume(&token), lines()).await?, Ok(said) => said);
    same!(said, [Said::Done, pong(1), Said::ResumeToken(Some(token))]);
    same!(room.log().await?, ["connect bot", "resume bot"]);
    Ok(())
}

pub(super) async fn a_test_peer_gets_messages_errors_and_its_token_separately(h: Memory) -> Result<()> {
    for offered in ["", SUBPROTOCOL] {
        let room = h.room::<lounge::Room>(&format!("r{offered}"));
        let connect = |id: &str, token: Option<String>| {
            let mut upgrade = Upgrade::new(Connection::default()).id(id);
            if let Some(token) = token {
                upgrade = upgrade.resume(token);
            }
            let mut request = Request::get("https://room/");
            if !offered.is_empty() {
                request = request.header("sec-websocket-protocol", offered);
            }
            room.try_connect_with(request.body(())?, upgrade).context("the room did not admit it")
        };
        let alice = connect("alice", None)?;
        let token = alice.resume_token();
        holds!(token.is_some(), "there is no token before anything is received");
        same!(alice.receive(), None);
        same!(alice.resume_token(), token);
        same!(alice.receive_error().is_none(), true);

        alice.send(&Event::Ping { n: 1 });
        alice.send_raw("{");
        alice.send(&Event::Ping { n: 2 });
        alice.send_binary([1]);
        let errors = [alice.receive_error(), alice.receive_error(), alice.receive_error()];
        let kinds = errors.map(|error| error.map(|error| error.kind()));
        same!(kinds, [Some(ErrorKind::Decode), Some(ErrorKind::Decode), None]);
        same!(alice.received(), [Broadcast::Pong { n: 1 }, Broadcast::Pong { n: 2 }]);

        alice.disconnect();
        let again = connect("alice", token)?;
        again.send(&Event::Ping { n: 3 });
        // After `receive_raw` has taken the token's frame, `resume_token` still returns the token.
        holds!(again.receive_raw().is_some_and(|frame| frame.contains("resume")), "the token comes first");
        same!(again.received(), [Broadcast::Pong { n: 3 }]);
        holds!(again.resume_token().is_some(), "the token of a frame that was taken");
        same!(room.state()?.unwrap_or_default().log, ["connect alice", "resume alice"]);
    }
    Ok(())
}

pub(super) async fn the_worker_gets_an_error_for_an_event_that_the_room_rejects<H: Harness>(h: H) -> Result<()> {
    let room = room::<small::Room, _>(&h, "r");
    let lines = vec![run([log(&"x".repeat(1_000))]), Line::Receive, ping(1), Line::Receive];
    let said = is!(room.dialogue(guest("bot"), lines).await?, Ok(said) => said);
    is!(&said[1], Said::Failed(Failed { kind: ErrorKind::TooLarge, .. }));
    same!(said[2..], [Said::Done, pong(1)]);
    Ok(())
}

pub(super) async fn the_worker_gets_the_close_code_and_reason_of_the_room<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let lines = vec![run([leave(4_000, "out")]), Line::Receive, Line::Receive, ping(1)];
    let said = is!(room.dialogue(guest("bot"), lines).await?, Ok(said) => said);
    let closed = Said::Closed { code: 4_000, reason: "out".to_owned() };
    same!(said[..3], [Said::Done, closed.clone(), closed]);
    is!(&said[3], Said::Failed(Failed { kind: ErrorKind::PeerGone, .. }));
    Ok(())
}

pub(super) async fn the_worker_gets_1011_when_on_connect_fails<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let said = is!(room.dialogue(guest("bot").on_connect([fail("no")]), vec![Line::Receive]).await?, Ok(said) => said);
    is!(&said[0], Said::Closed { code: 1011, .. });
    Ok(())
}

pub(super) async fn a_refused_connection_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bot = guest("bot").on_upgrade([refuse(401, "who are you?")]);
    let error = is!(room.dialogue(bot, vec![Line::Receive]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::Refused);
    holds!(error.message.contains("401") && error.message.contains("who are you?"), "{error:?}");
    same!(error.room.as_deref(), Some(room.id()));
    let error = is!(room.dialogue(guest(""), vec![]).await?, Err(error) => error);
    same!(error.kind, ErrorKind::InvalidPeerId);
    Ok(())
}

pub(super) async fn a_close_of_the_worker_that_cannot_be_sent_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let lines = vec![end(1005, ""), end(1000, &"x".repeat(124)), ping(1), Line::Receive];
    let said = is!(room.dialogue(guest("bot"), lines).await?, Ok(said) => said);
    for said in &said[..2] {
        is!(said, Said::Failed(Failed { kind: ErrorKind::InvalidClose, .. }));
    }
    same!(said[2..], [Said::Done, pong(1)]);
    Ok(())
}

pub(super) async fn on_upgrade_sees_connections_of_the_worker<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bot = guest("bot").on_upgrade([UpgradeStep::SetName("Bot".to_owned()), UpgradeStep::Log("seen".to_owned())]);
    let said = is!(room.dialogue(bot, vec![ping(1), Line::Receive]).await?, Ok(said) => said);
    same!(said, [Said::Done, pong(1)]);
    same!(room.log().await?[..2], ["seen", "connect bot"]);
    Ok(())
}
