//! Transactions of `ctx.sql()`: everything that the closure stored is kept, or nothing.

use anyhow::Result;
use conformance_rooms::{
    acts::Act,
    planner::Plan,
    script::{Crash, Step},
};
use room_runtime::ErrorKind;
use serde_json::{Value, json};

use super::planner::{Planner, alarm, ask, give, names, next, one, refused, until_fired};
use crate::harness::{Harness, Room, guest, room};

fn insert(id: u32) -> Act {
    Act::Exec(format!("insert into lines (id) values ({id})"))
}

fn fail() -> Act {
    Act::Fail("changed my mind".to_owned())
}

fn attempt(act: Act) -> Act {
    Act::Try(Box::new(act))
}

/// The ids in the table, and the count in the state.
async fn stored<H: Harness>(room: &Room<H, Planner>) -> Result<Value> {
    let ids = "select group_concat(id) from (select id from lines order by id)";
    Ok(json!([ask(room, one(ids)).await?, room.count().await?]))
}

pub(super) async fn a_transaction_keeps_statements_and_state_together<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let count = Act::One("select count(*) from lines".to_owned());
    let results = ask(&room, Plan::Transact(vec![insert(1), Act::Add(2), insert(2), Act::TryAdd(3), count])).await?;
    same!(results, json!([null, 2, null, 5, 2]));
    room.hibernate().await?;
    same!(stored(&room).await?, json!(["1,2", 5]));
    Ok(())
}

pub(super) async fn a_transaction_that_fails_rolls_statements_and_state_back<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [Plan::Transact(vec![insert(1), Act::Add(1)])]).await?;
    for ending in [fail(), Act::Refuse("no".to_owned()), Act::Exec("selct".to_owned()), insert(7)] {
        let kind = match &ending {
            Act::Fail(_) => ErrorKind::Handler,
            Act::Refuse(_) => ErrorKind::Refused,
            _ => ErrorKind::Sql,
        };
        let acts = vec![
            Act::Exec("delete from lines; create table t (a)".to_owned()),
            Act::Add(10),
            insert(7),
            Act::TryAdd(100),
            ending,
        ];
        let handled = Plan::Act(vec![attempt(Act::Transact(acts.clone())), Act::Count]);
        // The state is the old one at once, and not only in the next handler.
        same!(ask(&room, handled).await?, json!([kind.as_str(), 1]));
        // A refusal is no error of the request.
        if kind != ErrorKind::Refused {
            same!(refused(&room, Plan::Transact(acts)).await?.kind, kind);
        }
        same!(stored(&room).await?, json!(["1", 1]));
        same!(ask(&room, one("select count(*) from sqlite_master where name = 't'")).await?, 0);
    }
    room.hibernate().await?;
    same!(stored(&room).await?, json!(["1", 1]));
    Ok(())
}

pub(super) async fn a_change_before_a_transaction_that_fails_stays<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let acts = vec![
        Act::Add(1),
        insert(1),
        attempt(Act::Transact(vec![Act::Add(10), insert(2), fail()])),
        Act::Count,
        attempt(Act::Transact(vec![insert(3), fail()])),
        Act::Add(2),
    ];
    same!(ask(&room, Plan::Act(acts)).await?, json!([1, null, "handler", 1, "handler", 3]));
    same!(stored(&room).await?, json!(["1", 3]));
    room.hibernate().await?;
    same!(stored(&room).await?, json!(["1", 3]));
    Ok(())
}

pub(super) async fn a_room_stays_uninitialized_if_the_transaction_of_its_first_change_fails<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    refused(&room, Plan::Transact(vec![Act::Add(1), fail()])).await?;
    same!(room.state().await?, None);
    give(&room, [Plan::Transact(vec![Act::Add(1)])]).await?;
    same!(room.count().await?, 1);
    Ok(())
}

pub(super) async fn a_failed_statement_that_the_closure_handles_leaves_the_others<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let acts = vec![
        insert(1),
        attempt(insert(1)),
        attempt(Act::Exec("insert into lines (id) values (5); insert into lines (id) values (1)".to_owned())),
        Act::Add(1),
        attempt(Act::Exec("selct".to_owned())),
        insert(2),
    ];
    same!(ask(&room, Plan::Transact(acts)).await?, json!([null, "sql", "sql", 1, "sql", null]));
    same!(stored(&room).await?, json!(["1,2", 1]));
    Ok(())
}

pub(super) async fn an_inner_transaction_that_fails_leaves_the_outer_one<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let innermost = vec![insert(4), Act::Add(1000), Act::After { ms: 500_000, name: "late".to_owned() }];
    let inner = vec![insert(2), Act::Add(10), Act::Transact(innermost), fail()];
    let acts = vec![
        insert(1),
        Act::Add(1),
        attempt(Act::Transact(inner)),
        Act::Count,
        Act::Transact(vec![insert(3), Act::Add(100)]),
        Act::Next,
    ];
    same!(ask(&room, Plan::Transact(acts)).await?, json!([null, 1, "handler", 1, [null, 101], null]));
    same!(stored(&room).await?, json!(["1,3", 101]));
    // The failure of the outer one also rolls back an inner one that succeeded.
    refused(&room, Plan::Transact(vec![Act::Transact(vec![insert(9), Act::Add(9)]), fail()])).await?;
    same!(stored(&room).await?, json!(["1,3", 101]));
    room.hibernate().await?;
    same!(stored(&room).await?, json!(["1,3", 101]));
    Ok(())
}

pub(super) async fn alarms_of_a_transaction_that_fails_are_neither_set_nor_cancelled<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let soon = |ms, name: &str| Plan::After { ms, key: Some(name.to_owned()), alarm: alarm(name, []) };
    give(&room, [soon(12_000, "kept"), soon(900_000, "late")]).await?;
    let before = next(&room).await?;
    let acts = vec![
        Act::Cancel("kept".to_owned()),
        Act::After { ms: 1, name: "never".to_owned() },
        Act::After { ms: 2, name: "late".to_owned() },
        fail(),
    ];
    let after = ask(&room, Plan::Act(vec![attempt(Act::Transact(acts.clone())), Act::Next])).await?;
    same!(after, json!(["handler", before]));
    refused(&room, Plan::Transact(acts)).await?;
    same!(next(&room).await?, before);
    same!(names(&until_fired(&room, 1).await?), ["kept"]);
    Ok(())
}

pub(super) async fn the_first_alarm_of_a_room_is_not_set_by_a_transaction_that_fails<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    refused(&room, Plan::Transact(vec![Act::After { ms: 1, name: "never".to_owned() }, fail()])).await?;
    same!(next(&room).await?, None);
    give(&room, [Plan::Transact(vec![Act::After { ms: 50, name: "set".to_owned() }])]).await?;
    room.hibernate().await?;
    same!(names(&until_fired(&room, 1).await?), ["set"]);
    Ok(())
}

pub(super) async fn an_alarm_of_a_transaction_fires<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let set = |name: &str| Act::After { ms: 1, name: name.to_owned() };
    let cancelled = vec![set("cancelled"), set("fires"), Act::Cancel("cancelled".to_owned())];
    give(&room, [Plan::Transact(cancelled)]).await?;
    same!(names(&until_fired(&room, 1).await?), ["fires"]);
    same!(next(&room).await?, None);
    Ok(())
}

pub(super) async fn what_a_rollback_cannot_undo_is_a_typed_error_in_a_transaction<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let alice = room.connect(guest("alice").name("Alice")).await?;
    let nested = [(); 10].map(|()| "nested_update");
    same!(ask(&room, Plan::Transact(vec![Act::Effects, insert(1), Act::Add(1)])).await?, json!([nested, null, 1]));
    let inner = Act::Transact(vec![attempt(fail()), Act::Effects]);
    same!(ask(&room, Plan::Transact(vec![inner, Act::Effects])).await?, json!([["handler", nested], nested]));
    let failed = refused(&room, Plan::Transact(vec![Act::Say("hello".to_owned())])).await?;
    same!(failed.kind, ErrorKind::NestedUpdate);
    holds!(failed.message.contains("inside a transaction"), "{}", failed.message);
    // After it, they are possible again.
    same!(ask(&room, Plan::Act(vec![Act::Say("after".to_owned())])).await?, json!([1]));
    alice.hears(None, "after").await?;
    same!(room.peers(None).await?[0].data.name, "Alice");
    same!(stored(&room).await?, json!(["1", 1]));
    Ok(())
}

pub(super) async fn a_transaction_inside_an_update_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    same!(ask(&room, Plan::Act(vec![Act::NestInUpdate])).await?, json!(["nested_update"]));
    Ok(())
}

pub(super) async fn a_state_that_cannot_be_stored_rolls_its_transaction_back<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [Plan::Transact(vec![insert(1), Act::Add(1)])]).await?;
    let acts = vec![insert(2), Act::Add(10), Act::Fill(2_000_001)];
    let after = ask(&room, Plan::Act(vec![attempt(Act::Transact(acts)), Act::Count, Act::Add(1)])).await?;
    same!(after, json!(["value_too_large", 1, 2]));
    same!(stored(&room).await?, json!(["1", 2]));
    // Before a transaction, it ends the attempt to begin one.
    let acts = vec![Act::Fill(2_000_001), attempt(Act::Transact(vec![insert(3)])), Act::Count];
    same!(ask(&room, Plan::Act(acts)).await?, json!([null, "value_too_large", 2]));
    same!(stored(&room).await?, json!(["1", 2]));
    Ok(())
}

pub(super) async fn work_that_a_transaction_spawned_runs_also_after_a_rollback<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    refused(&room, Plan::Transact(vec![Act::Add(1), Act::SpawnAdd(10), fail()])).await?;
    crate::harness::until(
        &h,
        "the spawned work",
        || room.state(),
        |state| state.as_ref().is_some_and(|s| s.count == 10),
    )
    .await?;
    Ok(())
}

pub(super) async fn a_crash_in_a_transaction_stores_nothing_of_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [Plan::Transact(vec![insert(1), Act::Add(1)])]).await?;
    for how in Crash::ALL {
        let acts = vec![
            insert(2),
            Act::Add(10),
            Act::After { ms: 1, name: "never".to_owned() },
            Act::Transact(vec![insert(3), Act::Crash(how)]),
        ];
        // The error of the closure's own handling must not hide the crash.
        let failed = refused(&room, Plan::Act(vec![Act::Add(1), attempt(Act::Transact(acts))])).await?;
        holds!(failed.kind == ErrorKind::Restarted, "{how:?}: {failed:?}");
        // The change before the transaction was stored when it began.
        let count = room.count().await?;
        holds!(stored(&room).await? == json!(["1", 2]), "{how:?}: {:?}, {count}", stored(&room).await?);
        same!(next(&room).await?, None);
        room.run([Step::Add(-1)]).await?;
    }
    room.restart().await?;
    same!(stored(&room).await?, json!(["1", 1]));
    same!(room.log().await?, [""; 0]);
    Ok(())
}
