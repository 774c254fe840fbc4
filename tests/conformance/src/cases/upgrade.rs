//! The upgrade: which peers are accepted, and with which identity.

use anyhow::Result;
use conformance_rooms::{
    api::WORKER_HEADER,
    probe,
    script::{Broadcast, Step, UpgradeStep, Visa},
};
use hyper::{Request, body::Bytes};
use room_runtime::{ErrorKind, OnDuplicate, SUBPROTOCOL};

use super::{
    steps::{fail, leave, open, refuse, report, sender},
    v1,
};
use crate::{
    harness::{Harness, Refusal, anonymous, guest, room, until},
    workerd::Workerd,
};

type Probe = probe::Room;

pub(super) async fn a_refusal_of_on_upgrade_is_the_answer_unchanged<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let headers = [("www-authenticate".to_owned(), "Bearer realm=\"rooms\"".to_owned())].to_vec();
    let refuse = UpgradeStep::Refuse { status: 401, body: "wer bist du? ✨".to_owned(), headers };
    let response = room.refused(guest("alice").on_upgrade([refuse])).await?;
    same!(response.status(), 401);
    same!(response.headers()["www-authenticate"], "Bearer realm=\"rooms\"");
    same!(std::str::from_utf8(response.body())?, "wer bist du? ✨");
    // No connection was accepted.
    same!(room.peer_ids().await?.len(), 0);
    same!(room.state().await?, None);
    Ok(())
}

pub(super) async fn a_refusal_keeps_its_cors_headers_its_cookies_and_its_content_type<H: Harness>(h: H) -> Result<()> {
    const HEADERS: [(&str, &str); 7] = [
        ("access-control-allow-origin", "https://example.com"),
        ("access-control-allow-credentials", "true"),
        ("vary", "origin"),
        ("set-cookie", "session=; Max-Age=0"),
        ("set-cookie", "seen=1; HttpOnly"),
        ("location", "https://example.com/sign-in"),
        ("retry-after", "30"),
    ];
    let room = room::<Probe, _>(&h, "r");
    let headers = HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let refuse = UpgradeStep::Refuse { status: 303, body: String::new(), headers };
    let response = room.refused(guest("alice").on_upgrade([refuse])).await?;
    same!(response.status(), 303);
    for (name, _) in HEADERS {
        let found: Vec<_> = response.headers().get_all(name).iter().map(|value| value.as_bytes()).collect();
        let expected: Vec<_> =
            HEADERS.iter().filter(|(other, _)| *other == name).map(|(_, value)| value.as_bytes()).collect();
        same!(found, expected);
    }
    same!(response.headers()["content-type"], "text/plain; charset=utf-8");
    same!(response.body().len(), 0);
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

pub(super) async fn values_of_on_upgrade_beyond_the_limits_are_a_typed_error<H: Harness>(h: H) -> Result<()> {
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
        // The id is made before `on_upgrade`, and the peer connects after it.
        let later = report.connected_at.checked_sub(ms);
        holds!(later.is_some_and(|later| later < 60_000), "{ms} and {}", report.connected_at);
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

pub(super) async fn replacing_closes_the_old_with_1012_after_the_on_connect_of_the_new<H: Harness>(h: H) -> Result<()> {
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
    // A closing peer counts as left.
    alice.run([leave(1000, "")]).await?;
    same!(alice.closed().await?.0, 1000);
    room.connect(reject()).await?.fence().await?;
    same!(room.refused(reject()).await?.status(), 409);
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_duplicate_that_connects_while_on_upgrade_waits_is_detected<H: Harness>(h: H) -> Result<()> {
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
    // Only `on_upgrade` knows the id.
    let steps = [UpgradeStep::SetId("alice".to_owned()), UpgradeStep::SetOnDuplicate(OnDuplicate::Reject)];
    same!(room.refused(anonymous().on_upgrade(steps)).await?.status(), 409);
    alice.fence().await?;
    let steps = [UpgradeStep::SetId("alice".to_owned()), UpgradeStep::SetOnDuplicate(OnDuplicate::Replace)];
    room.connect(guest("bob").on_upgrade(steps)).await?.fence().await?;
    same!(alice.closed().await?.0, 1012);
    Ok(())
}

pub(super) async fn a_request_that_is_not_an_upgrade_is_answered_426(h: Workerd) -> Result<()> {
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

pub(super) async fn an_invalid_handshake_is_refused_before_it_reaches_the_room(h: Workerd) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let with = serde_json::json!({
        "room": { "id": room.id(), "jurisdiction": null, "location_hint": null },
        "join": { "data": {}, "id": "alice", "tags": [], "meta": null, "on_duplicate": null },
    });
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    let (version, key) = ("sec-websocket-version", "sec-websocket-key");
    for (headers, status, expected) in [
        (&[(version, "13")][..], 400, None),
        (&[(version, "13"), (key, "short")], 400, None),
        (&[(version, "13"), (key, "dGhlIHNhbXBsZSBub25jZWQ=")], 400, None),
        (&[(key, KEY)], 426, Some((version, "13"))),
        (&[(version, "8"), (key, KEY)], 426, Some((version, "13"))),
        (&[], 426, Some((version, "13"))),
        // The platform removes `upgrade` from an answer other than 101.
        (&[(version, "13"), (key, KEY), ("upgrade", "h2c")], 426, None),
        (&[(version, "13"), (key, KEY), ("body", "Hello")], 400, None),
    ] {
        let mut all = vec![("connection", "upgrade"), ("upgrade", "websocket")];
        let mut body = "";
        for (name, value) in headers {
            match *name {
                "upgrade" => all[1].1 = value,
                "body" => body = value,
                name => all.push((name, value)),
            }
        }
        // The layer before the Worker turns it into a GET.
        let method = if body.is_empty() { "GET" } else { "POST" };
        let response = h.fetch(method, "/probe/upgrade", &[("with", &with.to_string())], &all, body).await?;
        same!((response.status().as_u16(), headers), (status, headers));
        if let Some((name, value)) = expected {
            same!(response.headers().get(name).and_then(|given| given.to_str().ok()), Some(value));
        }
        holds!(!response.body().is_empty(), "a {status} that does not say what to do");
    }
    same!(room.starts().await?, 0);
    Ok(())
}

pub(super) async fn the_worker_may_add_headers_to_the_answer_of_the_room(h: Workerd) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    let is_signed = |headers: &hyper::HeaderMap| headers.get(WORKER_HEADER).is_some_and(|value| value == "1");
    holds!(is_signed(&alice.socket().client().response().headers), "a 101 without it");
    alice.fence().await?;
    holds!(is_signed(room.refused(guest("bob").on_upgrade([refuse(403, "no")])).await?.headers()), "a 403 without it");
    let request = Request::get("https://room/").header("x-status", "200").body(Bytes::new())?;
    holds!(is_signed(room.request(request).await?.headers()), "an answer without it");
    Ok(())
}

pub(super) async fn the_handshake_is_answered_with_the_subprotocol_that_was_chosen<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let log = UpgradeStep::LogProtocols;
    let alice = guest("alice").offering("bearer, t0ken").protocol("bearer").on_upgrade([log.clone()]);
    let alice = room.connect(alice).await?;
    same!(alice.protocol().as_deref(), Some("bearer"));
    // The room may change the Worker's choice.
    let steps = [UpgradeStep::SetProtocol("chat".to_owned()), log];
    let bob = room.connect(guest("bob").offering("bearer,chat").protocol("bearer").on_upgrade(steps)).await?;
    same!(bob.protocol().as_deref(), Some("chat"));
    let expected = [
        r#"offers ["bearer", "t0ken"], chosen Some("bearer")"#,
        "connect alice",
        r#"offers ["bearer", "chat"], chosen Some("chat")"#,
        "connect bob",
    ];
    same!(room.log().await?, expected);
    alice.fence().await?;
    bob.fence().await?;
    Ok(())
}

pub(super) async fn a_client_that_is_answered_with_another_subprotocol_is_a_plain_one<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let both = format!("{SUBPROTOCOL}, bearer");
    let alice = room.connect(guest("alice").offering(&both).protocol("bearer")).await?;
    same!(alice.protocol().as_deref(), Some("bearer"));
    alice.fence().await?;
    room.hibernate().await?;
    alice.fence().await?;
    let bob = v1::join(&room, guest("bob").offering(&both).protocol(SUBPROTOCOL)).await?;
    bob.fence().await
}

pub(super) async fn a_client_is_refused_with_400_if_none_of_its_subprotocols_is_chosen<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let alice = || guest("alice").offering("chat, t0ken").on_upgrade([UpgradeStep::LogProtocols]);
    let response = room.refused(alice()).await?;
    same!(response.status(), 400);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    holds!(text.contains("`chat`, `t0ken`") && text.contains("Upgrade::protocol"), "{text}");
    // The refused connection never became a peer.
    same!(room.log().await?, [r#"offers ["chat", "t0ken"], chosen None"#]);
    same!(room.peer_ids().await?.len(), 0);
    room.connect(alice().protocol("chat")).await?.fence().await?;
    Ok(())
}

pub(super) async fn a_bearer_token_is_read_from_the_header_or_from_the_subprotocols<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let log = || guest("alice").on_upgrade([UpgradeStep::LogBearer]);
    let expected = [
        (log(), r#"bearer None, chosen None"#),
        (log().header("authorization", "Basic abc"), r#"bearer None, chosen None"#),
        (log().header("authorization", "Bearer t0ken"), r#"bearer Some("t0ken"), chosen None"#),
        (
            log().header("authorization", "bearer  t0ken").offering("bearer, other, room.v1"),
            r#"bearer Some("t0ken"), chosen None"#,
        ),
        (log().offering("bearer, t0ken"), r#"bearer Some("t0ken"), chosen Some("bearer")"#),
        (log().offering("room.v1, bearer, t0ken"), r#"bearer Some("t0ken"), chosen None"#),
        (log().offering("chat, bearer, t0ken").protocol("chat"), r#"bearer Some("t0ken"), chosen Some("chat")"#),
        (log().offering("room.v1, bearer"), r#"bearer None, chosen None"#),
    ];
    for (guest, line) in expected {
        let before = room.log().await?.len();
        room.connect(guest).await?;
        same!(room.log().await?[before], line);
    }
    Ok(())
}

pub(super) async fn a_subprotocol_that_was_not_offered_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let set = |protocol: &str| [UpgradeStep::SetProtocol(protocol.to_owned())];
    for guest in [
        guest("alice").protocol("bearer"),
        guest("alice").offering("chat").protocol("bearer"),
        guest("alice").offering(SUBPROTOCOL).protocol("bearer"),
        guest("alice").offering("bearer").on_upgrade(set("")),
        guest("alice").offering("bearer").protocol("bearer").on_upgrade(set("x\r\ny: z")),
    ] {
        let failed = room.failed(guest).await?;
        same!(failed.kind, ErrorKind::InvalidProtocol);
        same!(failed.room, Some(room.id().to_owned()));
    }
    same!(room.log().await?.len(), 0);
    same!(room.peer_ids().await?.len(), 0);
    Ok(())
}

pub(super) async fn a_peer_that_on_connect_closes_sees_the_code_of_the_application<H: Harness>(h: H) -> Result<()> {
    let room = room::<Probe, _>(&h, "r");
    let bob = room.connect(guest("bob")).await?;
    // A browser cannot read the answer to a refused upgrade, so the room accepts the peer and then closes it.
    let stranger = room.connect(guest("stranger").on_connect([leave(4_401, "sign in")])).await?;
    bob.run([super::steps::say("to all")]).await?;
    bob.hears(Some("bob"), "to all").await?;
    same!(stranger.closed().await?, (4_401, "sign in".to_owned()));
    let gone = |log: &Vec<String>| log.iter().any(|line| line.starts_with("close stranger 4401 "));
    until(&h, "on_close of the stranger", || room.log(), gone).await?;
    same!(room.peer_ids().await?, ["bob"]);
    Ok(())
}
