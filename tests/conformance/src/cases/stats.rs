//! The figures of a room, for the Worker.

use anyhow::Result;
use conformance_rooms::{
    lounge::lounge,
    planner::planner,
    probe,
    script::{Step, UpgradeStep},
    small,
};
use room_runtime::ErrorKind;

use super::{
    lounge::{enter, lose},
    planner::{at, give, time},
    steps::{fail, hold, open, say},
};
use crate::harness::{Arrival, Harness, guest, room, until};

type Probe = probe::Room;

pub(super) async fn the_stats_count_peers_frames_and_bytes<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let bob = room.connect(guest("bob")).await?;
    let before = room.stats().await?;
    same!((before.peers, before.away, before.queued, before.schedules), (2, 0, 0, 0));
    holds!(before.since > 0 && before.stored_bytes > 0, "{before:?}");
    let frame = r#"{"type":"Do","steps":[{"Say":"é"}]}"#;
    alice.send_raw(frame.to_owned()).await?;
    let mut received = 0;
    for peer in [&alice, &bob] {
        let frame = is!(peer.next_of_any_kind().await?, Arrival::Text(text) => text);
        holds!(frame.contains('é'), "{frame}");
        received += frame.len() as u64;
    }
    let after = room.stats().await?;
    same!((after.frames_in - before.frames_in, after.bytes_in - before.bytes_in), (1, frame.len() as u64));
    same!((after.frames_out - before.frames_out, after.bytes_out - before.bytes_out), (2, received));
    same!((after.since, &after.refused, after.handler_errors), (before.since, &before.refused, 0));
    Ok(())
}

pub(super) async fn the_stats_count_what_was_refused_by_its_kind_and_what_failed<H: Harness>(h: H) -> Result<()> {
    let room = room::<small::Room, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.run([Step::Refuse("no".to_owned())]).await?;
    alice.next_error().await?;
    for _ in 0..2 {
        alice.send_raw("x".to_owned()).await?;
        alice.next_error().await?;
    }
    alice.send_raw("x".repeat(100_000)).await?;
    alice.next_error().await?;
    alice.run([fail("oops")]).await?;
    alice.hears_of_a_failure().await?;
    // The second answer to one frame.
    room.script("on_decode_error", [Step::Refuse("no".to_owned())]).await?;
    alice.send_raw("x".to_owned()).await?;
    alice.next_error().await?;
    alice.next_error().await?;
    let mut stats = room.stats().await?;
    same!(stats.refused.remove(&ErrorKind::Refused), Some(1));
    same!(stats.refused.remove(&ErrorKind::Decode), Some(3));
    same!(stats.refused.remove(&ErrorKind::TooLarge), Some(1));
    holds!(stats.refused.is_empty(), "{stats:?}");
    same!(stats.handler_errors, 1);
    Ok(())
}

pub(super) async fn the_stats_count_waiting_frames_and_refused_upgrades<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    room.refused(guest("bob").on_upgrade([UpgradeStep::RefuseByFailure("go away".to_owned())])).await?;
    alice.run([hold("gate")]).await?;
    alice.holding("gate").await?;
    for _ in 0..3 {
        alice.run([say("late")]).await?;
    }
    // Neither a close nor a frame of somebody else is such a frame.
    let carol = room.connect(guest("carol")).await?;
    carol.run([hold("other")]).await?;
    for peer in [&alice, &carol] {
        peer.holding("other").await?;
    }
    carol.disconnect();
    let waiting = until(&h, "three waiting frames", || room.stats(), |stats| stats.queued == 3).await?;
    same!(waiting.refused.get(&ErrorKind::Refused), Some(&1));
    room.run([open("gate")]).await?;
    for _ in 0..3 {
        alice.hears(Some("alice"), "late").await?;
    }
    same!(room.stats().await?.queued, 0);
    Ok(())
}

pub(super) async fn the_stats_count_kept_places_schedules_and_stored_bytes<H: Harness>(h: H) -> Result<()> {
    let lounge = room::<lounge::Room, _>(&h, "r");
    let (alice, _) = enter(&lounge, guest("alice")).await?;
    same!(lounge.stats().await?.away, 0);
    lose(&lounge, &alice, "alice").await?;
    let figures = lounge.stats().await?;
    same!((figures.peers, figures.away, figures.schedules), (0, 1, 0));
    let planner = room::<planner::Room, _>(&h, "r");
    let now = time(&planner).await?;
    give(&planner, [at(now + 90_000, "second"), at(now + 80_000, "first")]).await?;
    same!(planner.stats().await?.schedules, 2);
    let probe = room::<Probe, _>(&h, "r");
    let before = probe.stats().await?.stored_bytes;
    probe.run([Step::Fill(100_000)]).await?;
    let after = probe.stats().await?.stored_bytes;
    holds!(after >= before + 100_000, "{before} to {after} bytes");
    Ok(())
}

pub(super) async fn the_counters_of_the_stats_begin_anew_after_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    alice.fence().await?;
    let before = room.stats().await?;
    holds!(before.frames_in > 0, "{before:?}");
    room.hibernate().await?;
    let after = room.stats().await?;
    same!((after.peers, after.frames_in, after.bytes_out), (1, 0, 0));
    // The figures alone do not start the room.
    alice.fence().await?;
    holds!(after.since > before.since, "{} to {}", before.since, after.since);
    Ok(())
}
