//! The upgrade: who gets in, and as whom.

use anyhow::Result;
use conformance_rooms::{
    probe,
    script::{Broadcast, Step, UpgradeStep, Visa},
};
use room_runtime::{ErrorKind, OnDuplicate};

use super::steps::{fail, leave, open, refuse, report, sender};
use crate::{
    harness::{Harness, Refusal, anonymous, guest, room, until},
    workerd::Workerd,
};

type Probe = probe::Room;

pub(super) async fn a_refusal_of_on_upgrade_is_the_answer_unchanged<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let header = Some(("www-authenticate".to_owned(), "Bearer realm=\"rooms\"".to_owned()));
    let refuse = UpgradeStep::Refuse { status: 401, body: "wer bist du? ✨".to_owned(), header };
    let response = room.refused(guest("alice").on_upgrade([refuse])).await?;
    same!(response.status(), 401);
    same!(response.headers()["www-authenticate"], "Bearer realm=\"rooms\"");
    same!(std::str::from_utf8(response.body())?, "wer bist du? ✨");
    // Nothing was accepted.
    same!(room.peer_ids().await?.len(), 0);
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn on_upgrade_refuses_with_300_to_599_and_with_nothing_else<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    for status in [302, 403, 429, 503, 599] {
        same!(room.refused(guest("alice").on_upgrade([refuse(status, "no")])).await?.status(), status);
    }
    for status in [101, 200, 299, 600] {
        let response = room.refused(guest("alice").on_upgrade([refuse(status, "no")])).await?;
        same!(response.status(), 500);
    }
    let log = room.log().await?;
    same!(log.len(), 4);
    holds!(log.iter().all(|line| line.starts_with("error on_upgrade alice: encode ")), "{log:?}");
    Ok(())
}

pub(super) async fn on_upgrade_changes_data_id_and_tags<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let steps = [
        UpgradeStep::SetId("bert".to_owned()),
        UpgradeStep::SetName("Bert".to_owned()),
        UpgradeStep::AddTag("vip".to_owned()),
    ];
    let peer = room.connect(guest("alice").tags(["x"]).on_upgrade(steps)).await?;
    let sender = sender(peer.ask([Step::Report]).await?)?;
    same!((&*sender.id, &*sender.name), ("bert", "Bert"));
    same!(sender.tags, ["x", "vip"]);
    same!(room.peers(Some("vip")).await?.len(), 1);
    same!(room.peer_ids().await?, ["bert"]);
    same!(room.log().await?, ["connect bert"]);
    Ok(())
}

pub(super) async fn on_upgrade_sees_the_request_and_nothing_of_the_runtimes_own<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = guest("alice").token("t 1").header("x-token", "secret").on_upgrade([UpgradeStep::LogRequest]);
    room.connect(alice).await?;
    same!(room.log().await?, [r#"saw /probe/upgrade Some("t 1") Some("secret") []"#, "connect alice"]);
    Ok(())
}

pub(super) async fn a_ticket_in_the_clients_own_request_counts_for_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = guest("alice").header("room-ticket", &"0".repeat(32)).on_upgrade([UpgradeStep::LogRequest]);
    room.connect(alice).await?.fence().await?;
    same!(room.log().await?, ["saw /probe/upgrade None None []", "connect alice"]);
    Ok(())
}

pub(super) async fn what_on_upgrade_makes_beyond_the_limits_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let many = (0..10).map(|n| UpgradeStep::AddTag(n.to_string())).collect();
    let table = [
        (vec![UpgradeStep::SetId(String::new())], ErrorKind::InvalidPeerId),
        (vec![UpgradeStep::SetId("x".repeat(256))], ErrorKind::InvalidPeerId),
        (vec![UpgradeStep::AddTag("x".repeat(256))], ErrorKind::InvalidTag),
        (many, ErrorKind::InvalidTag),
        (vec![UpgradeStep::SetNameTo(20_000)], ErrorKind::AttachmentTooLarge),
    ];
    for (steps, kind) in table {
        same!(room.failed(guest("alice").on_upgrade(steps)).await?.kind, kind);
    }
    same!(room.peer_ids().await?.len(), 0);
    Ok(())
}

pub(super) async fn ids_tags_and_data_over_the_limits_are_typed_errors<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let table = [
        (guest(""), ErrorKind::InvalidPeerId, "empty"),
        (guest(&"x".repeat(256)), ErrorKind::InvalidPeerId, "255"),
        (guest(&"ä".repeat(128)), ErrorKind::InvalidPeerId, "255"),
        (guest("a").tags((0..10).map(|n| n.to_string())), ErrorKind::InvalidTag, "9"),
        (guest("a").tags(["x".repeat(256)]), ErrorKind::InvalidTag, "255"),
        (guest("a").name(&"x".repeat(16_384)), ErrorKind::AttachmentTooLarge, "14336"),
    ];
    for (guest, kind, limit) in table {
        let failed = room.failed(guest).await?;
        same!(failed.kind, kind);
        holds!(failed.message.contains(limit), "{limit} is missing in {failed:?}");
        same!(failed.room, Some(room.id().to_owned()));
    }
    same!(room.peer_ids().await?.len(), 0);
    Ok(())
}

pub(super) async fn ids_and_tags_may_be_as_long_as_the_limits<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let id = format!("{}x", "ä".repeat(127));
    let tags: Vec<_> = (0..9).map(|n| format!("{n}{}", "x".repeat(254))).collect();
    let alice = room.connect(guest(&id).tags(tags.clone())).await?;
    let sender = sender(alice.ask([Step::Report]).await?)?;
    same!((sender.id, sender.tags), (id, tags.clone()));
    same!(room.peers(Some(&tags[8])).await?.len(), 1);
    Ok(())
}

pub(super) async fn the_same_tag_twice_counts_once<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice").tags(["x", "y", "x", "x", "x", "x", "x", "x", "x", "x", "x"])).await?;
    same!(sender(alice.ask([Step::Report]).await?)?.tags, ["x", "y"]);
    Ok(())
}

pub(super) async fn without_an_id_a_peer_gets_a_uuid_version_7<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let peer = room.connect(anonymous()).await?;
        let report = sender(peer.ask([Step::Report]).await?)?;
        let id = report.id;
        let groups: Vec<_> = id.split('-').map(str::len).collect();
        same!(groups, [8, 4, 4, 4, 12]);
        holds!(id.chars().all(|c| c == '-' || (c.is_ascii_hexdigit() && !c.is_ascii_uppercase())), "{id}");
        holds!(&id[14..15] == "7" && ["8", "9", "a", "b"].contains(&&id[19..20]), "{id} is not of version 7");
        let ms = u64::from_str_radix(&id[..13].replace('-', ""), 16)?;
        same!(ms, report.connected_at);
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    same!(ids.len(), 3);
    Ok(())
}

pub(super) async fn meta_is_readable_in_on_upgrade_and_on_connect_and_nowhere_else<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let visa = Visa { on_upgrade: vec![UpgradeStep::LogMeta], note: "once".to_owned() };
    let alice = room.connect(guest("alice").visa(&visa).on_connect([Step::Meta])).await?;
    alice.expect(Broadcast::Meta { meta: Some(visa) }).await?;
    same!(room.log().await?, ["meta once", "connect alice"]);
    same!(alice.ask([Step::Meta]).await?, Broadcast::Meta { meta: None });
    Ok(())
}

pub(super) async fn without_a_meta_there_is_none<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice").on_connect([Step::Meta])).await?;
    alice.expect(Broadcast::Meta { meta: None }).await?;
    Ok(())
}

pub(super) async fn peers_may_share_an_id<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let one = room.connect(guest("alice").on_duplicate(OnDuplicate::Allow)).await?;
    let other = room.connect(guest("alice")).await?;
    same!(report(one.ask([Step::Report]).await?)?.peers, ["alice", "alice"]);
    other.fence().await?;
    Ok(())
}

pub(super) async fn replacing_closes_the_old_with_1012_behind_the_on_connect_of_the_new<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let old = [room.connect(guest("alice").name("old")).await?, room.connect(guest("alice").name("older")).await?];
    let new = room.connect(guest("alice").name("new").on_duplicate(OnDuplicate::Replace)).await?;
    for old in &old {
        same!(old.closed().await?.0, 1012);
    }
    new.fence().await?;
    bob.fence().await?;
    let log = until(&h, "on_close of both", || room.log(), |log| log.len() >= 6).await?;
    same!(log[..4], ["connect bob", "connect alice", "connect alice", "connect alice"]);
    holds!(log[4..].iter().all(|line| line.starts_with("close alice 1012 ")), "{log:?}");
    same!(log.len(), 6);
    let peers = room.peers(None).await?;
    same!(peers.iter().map(|peer| &*peer.data.name).collect::<Vec<_>>(), ["new", "bob"]);
    Ok(())
}

pub(super) async fn a_failing_on_connect_of_the_new_leaves_the_old<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let old = room.connect(guest("alice").name("old")).await?;
    let new = guest("alice").on_duplicate(OnDuplicate::Replace).on_connect([fail("not today")]);
    same!(room.connect(new).await?.closed().await?.0, 1011);
    old.fence().await?;
    same!(room.peers(None).await?.iter().map(|peer| &*peer.data.name).collect::<Vec<_>>(), ["old"]);
    Ok(())
}

pub(super) async fn replacing_works_for_peers_that_sleep<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let old = room.connect(guest("alice")).await?;
    room.hibernate().await?;
    let new = room.connect(guest("alice").on_duplicate(OnDuplicate::Replace)).await?;
    same!(old.closed().await?.0, 1012);
    new.fence().await?;
    same!(room.peer_ids().await?, ["alice"]);
    Ok(())
}

pub(super) async fn a_rejected_duplicate_is_answered_409_until_the_other_has_left<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let reject = || guest("alice").on_duplicate(OnDuplicate::Reject);
    let alice = room.connect(reject()).await?;
    let bob = room.connect(guest("bob").on_duplicate(OnDuplicate::Reject)).await?;
    let response = room.refused(reject()).await?;
    same!(response.status(), 409);
    same!(room.log().await?, ["connect alice", "connect bob"]);
    alice.fence().await?;
    // Closing counts as left.
    alice.run([leave(1000, "")]).await?;
    same!(alice.closed().await?.0, 1000);
    room.connect(reject()).await?.fence().await?;
    same!(room.refused(reject()).await?.status(), 409);
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_duplicate_that_comes_while_on_upgrade_waits_is_seen<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    let late = guest("alice").on_duplicate(OnDuplicate::Reject).on_upgrade([UpgradeStep::Hold("door".to_owned())]);
    let late = room.begin_connect(late);
    bob.holding("door").await?;
    let alice = room.connect(guest("alice")).await?;
    bob.run([open("door")]).await?;
    let response = is!(late.await?, Err(Refusal::Response(response)) => response);
    same!(response.status(), 409);
    alice.fence().await?;
    same!(room.peer_ids().await?, ["alice", "bob"]);
    Ok(())
}

pub(super) async fn on_upgrade_decides_over_duplicates<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    // Under an id that only on_upgrade knows.
    let steps = [UpgradeStep::SetId("alice".to_owned()), UpgradeStep::SetOnDuplicate(OnDuplicate::Reject)];
    same!(room.refused(anonymous().on_upgrade(steps)).await?.status(), 409);
    alice.fence().await?;
    let steps = [UpgradeStep::SetId("alice".to_owned()), UpgradeStep::SetOnDuplicate(OnDuplicate::Replace)];
    room.connect(guest("bob").on_upgrade(steps)).await?.fence().await?;
    same!(alice.closed().await?.0, 1012);
    Ok(())
}

pub(super) async fn what_is_no_upgrade_is_answered_426(h: Workerd) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let with = serde_json::json!({
        "room": { "id": room.id(), "jurisdiction": null, "location_hint": null },
        "join": { "data": {}, "id": "alice", "tags": [], "meta": null, "on_duplicate": null },
    });
    let response = h.fetch("GET", "/probe/upgrade", &[("with", &with.to_string())], &[], "").await?;
    same!(response.status(), 426);
    holds!(!response.body().is_empty(), "a 426 that does not say what to do");
    same!(room.starts().await?, 0);
    Ok(())
}
