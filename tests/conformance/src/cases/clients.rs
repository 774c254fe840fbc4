//! The Rust client, `room-client`.

use anyhow::Result;
use conformance_rooms::{
    archive::archive,
    desk::desk::{self, DeskError},
    probe,
    script::{Event, Step},
};
use room_client::{CallError, ErrorKind, Incoming, Status};
use serde_json::json;

use super::steps::{log, refuse, say};
use crate::{
    bridge::Client,
    harness::{Harness, guest, room},
};

type Archive = archive::Room;
type Desk = desk::Room;

fn event(steps: impl Into<Vec<Step>>) -> Event {
    Event::Do { steps: steps.into() }
}

pub(super) async fn the_rust_client_has_the_outcome_of_each_event_and_call<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = Client::connect(&room, || guest("alice"));
    alice.outcome(alice.handle.send(&event([Step::Add(2), say("two")]))).await??;
    let add = |amount: i64| alice.handle.call::<i64, DeskError>("add", &json!({ "amount": amount }));
    same!(alice.outcome(add(3)).await??, 5);
    holds!(matches!(alice.outcome(add(0)).await?, Err(CallError::Returned(DeskError::Nothing))), "another error");
    let Err(CallError::Failed(error)) = alice.outcome(alice.handle.call::<i64, DeskError>("reset", &json!({}))).await?
    else {
        anyhow::bail!("a peer can call a function for Workers");
    };
    same!((error.kind(), error.code()), (ErrorKind::Room, "decode"));
    let refused = alice.outcome(alice.handle.send(&event([Step::Refuse("not now".to_owned())]))).await?;
    same!(refused.map_err(|error| error.code().to_owned()), Err("refused".to_owned()));
    same!(alice.texts_until("two").await?.0, ["two"]);
    alice.handle.close(1000, "bye")?;
    same!(alice.outcome(alice.handle.closed()).await?.code, 1000);
    Ok(())
}

pub(super) async fn the_rust_client_is_handled_once_over_cuts_and_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Desk, _>(&h, "r");
    let alice = Client::connect(&room, || guest("alice"));
    let mut sum = 0;
    for amount in 1..=6 {
        let pending = alice.handle.call::<i64, DeskError>("add", &json!({ "amount": amount }));
        alice.cut();
        sum += amount;
        same!(alice.outcome(pending).await??, sum);
        if amount == 3 {
            room.hibernate().await?;
        }
    }
    same!(room.count().await?, sum);
    Ok(())
}

pub(super) async fn the_rust_client_misses_nothing_while_it_is_cut_off<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = Client::connect(&room, || guest("alice"));
    alice.outcome(alice.handle.wait_for_open()).await??;
    room.run([say("one")]).await?;
    // A new client begins with a gap, because it may have had messages from a page that was reloaded.
    let (texts, first_gaps) = alice.texts_until("one").await?;
    same!((texts, first_gaps <= 1), (vec!["one".to_owned()], true));
    alice.without_connection(room.run([say("two"), say("three")])).await?;
    alice.cut();
    room.run([say("four")]).await?;
    same!(alice.texts_until("four").await?, (["two", "three", "four"].map(str::to_owned).to_vec(), 0));
    Ok(())
}

pub(super) async fn the_rust_client_resumes_after_a_restart<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = Client::connect(&room, || guest("alice"));
    alice.outcome(alice.handle.send(&event([log("before"), say("one")]))).await??;
    alice.texts_until("one").await?;
    room.restart().await?;
    alice.outcome(alice.handle.send(&event([log("after"), say("two")]))).await??;
    same!(alice.texts_until("two").await?, (vec!["two".to_owned()], 0));
    let log = room.log().await?;
    let of = |text: &str| log.iter().filter(|line| *line == text).count();
    same!((of("before"), of("after")), (1, 1));
    holds!(log.contains(&"resume alice, gap: false".to_owned()), "{log:?}");
    Ok(())
}

pub(super) async fn the_rust_client_learns_of_a_gap<H: Harness>(h: H) -> Result<()> {
    let room = room::<Archive, _>(&h, "r");
    let alice = Client::connect(&room, || guest("alice"));
    alice.outcome(alice.handle.send(&event([say("one")]))).await??;
    alice.texts_until("one").await?;
    alice
        .without_connection(async {
            room.run([Step::Purge]).await?;
            room.run([say("lost")]).await
        })
        .await?;
    while !matches!(alice.next().await?, Incoming::Gap { .. }) {}
    room.run([say("two")]).await?;
    same!(alice.texts_until("two").await?, (vec!["two".to_owned()], 0));
    Ok(())
}

pub(super) async fn a_refusal_of_the_room_ends_the_rust_client<H: Harness>(h: H) -> Result<()> {
    let room = room::<probe::Room, _>(&h, "r");
    let alice = Client::connect(&room, || guest("alice").on_upgrade([refuse(403, "not you")]));
    let error = alice.outcome(alice.handle.wait_for_open()).await?.expect_err("refused");
    same!((error.kind(), error.status()), (ErrorKind::UpgradeRefused, Some(403)));
    loop {
        if let Incoming::Status(Status::Closed(_)) = alice.next().await? {
            return Ok(());
        }
    }
}
