//! The services of rooms.

use anyhow::Result;
use conformance_rooms::{
    equipped, keyed,
    script::{Broadcast, Event, Step},
};
use hyper::{Request, body::Bytes};
use room_runtime::ErrorKind;

use super::steps::report;
use crate::{
    harness::{Harness, Peer, Refusal, fail_services, guest, room},
    workerd::Workerd,
};

type Equipped = equipped::Room;

/// The number of the room's services: each run of `services` has a new number.
async fn number<H: Harness>(peer: &Peer<H, Equipped>, n: u32) -> Result<u32> {
    peer.send(&Event::Ping { n }).await?;
    let text = is!(peer.next().await?, Broadcast::Said { text, .. } => text);
    let number = text.strip_prefix(&format!("hello {n} from ")).map(str::parse);
    Ok(is!(number, Some(Ok(number)) => number))
}

pub(super) async fn services_are_made_once_each_time_the_room_comes_into_memory<H: Harness>(h: H) -> Result<()> {
    let room = room::<Equipped, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let first = number(&alice, 1).await?;
    same!(number(&bob, 2).await?, first);
    room.hibernate().await?;
    let second = number(&alice, 3).await?;
    holds!(second > first, "{second} are the services from before it slept");
    same!(number(&bob, 4).await?, second);
    Ok(())
}

pub(super) async fn without_its_services_a_room_refuses_everything_and_recovers<H: Harness>(h: H) -> Result<()> {
    let room = room::<Equipped, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    alice.run([Step::Add(1)]).await?;
    same!(report(alice.ask([Step::Report]).await?)?.count, 1);
    room.hibernate().await?;
    fail_services(&h, true).await?;

    // Calls.
    let errors = [
        is!(room.try_run([Step::Add(1)]).await?, Err(error) => error),
        is!(room.try_state().await?, Err(error) => error),
        is!(room.try_peers(None).await?, Err(error) => error),
        is!(room.try_broadcast(Broadcast::Pong { n: 1 }, None).await?, Err(error) => error),
        is!(room.try_request(Request::get("https://room/").body(Bytes::new())?).await?, Err(error) => error),
    ];
    for error in errors {
        same!(error.kind, ErrorKind::Services);
        holds!(!error.display.contains("secret"), "what is for the log is told: {error:?}");
    }
    // Frames.
    alice.run([Step::Add(1)]).await?;
    let error = alice.next_error().await?;
    same!(error.code, ErrorKind::Services);
    holds!(!error.message.contains("secret"), "what is for the log is told: {error:?}");
    // Upgrades.
    match room.try_connect(guest("carol")).await? {
        Err(Refusal::Failed(error)) => same!(error.kind, ErrorKind::Services),
        Err(Refusal::Response(response)) => same!(response.status(), 503),
        Ok(_) => anyhow::bail!("a room without services let a peer in"),
    }
    // The handshake of a close still completes.
    bob.begin_close(1000, "bye").await?;
    same!(bob.closed().await?, (1000, "bye".to_owned()));

    fail_services(&h, false).await?;
    room.run([Step::Add(1)]).await?;
    alice.run([Step::Add(1), Step::Report]).await?;
    let report = report(alice.next().await?)?;
    same!((report.count, report.peers), (3, vec!["alice".to_owned()]));
    // `on_close` has waited for the services.
    let closes = room.log().await?.into_iter().filter(|line| line.starts_with("close bob"));
    same!(closes.collect::<Vec<_>>(), [r#"close bob 1000 "bye" clean, ["alice"] left, send is Err(PeerGone)"#]);
    number(&room.connect(guest("carol")).await?, 1).await?;
    Ok(())
}

pub(super) async fn a_class_without_sqlite_is_a_typed_error_that_says_how_to_declare_it(h: Workerd) -> Result<()> {
    let room = room::<keyed::Room, _>(&h, "r");
    for failed in [
        is!(room.try_run([Step::Add(1)]).await?, Err(failed) => failed),
        is!(room.try_state().await?, Err(failed) => failed),
        is!(room.try_peers(None).await?, Err(failed) => failed),
        room.failed(guest("alice")).await?,
    ] {
        same!(failed.kind, ErrorKind::Storage);
        holds!(failed.message.contains("new_sqlite_classes = [\"KeyedRoom\"]"), "{failed:?}");
    }
    Ok(())
}
