//! Migrations of `ctx.sql()`: each runs once in the life of a room.

use anyhow::Result;
use conformance_rooms::{acts::Act, planner::Plan};
use room_runtime::ErrorKind;
use serde_json::{Value, json};

use super::planner::{Planner, ask, attempt, give, one, refused};
use crate::harness::{Harness, Room, room};

const FIRST: &str = "create table notes (id integer primary key, text text)";
const SECOND: &str = "alter table notes add column at_ms integer; create index notes_at on notes (at_ms)";
const THIRD: &str = "insert into notes (text, at_ms) values ('third', 3)";

fn migrate(migrations: &[&str]) -> Plan {
    Plan::Migrate(migrations.iter().map(|text| (*text).to_owned()).collect())
}

async fn notes<H: Harness>(room: &Room<H, Planner>) -> Result<Value> {
    ask(room, one("select count(*) from notes")).await
}

pub(super) async fn each_migration_runs_once_and_in_order<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    same!(ask(&room, migrate(&[])).await?, 0);
    same!(ask(&room, migrate(&[FIRST, SECOND])).await?, 2);
    same!(ask(&room, migrate(&[FIRST, SECOND])).await?, 0);
    room.restart().await?;
    same!(ask(&room, migrate(&[FIRST, SECOND, THIRD])).await?, 1);
    // After the restart, because a restart forgets how often the room has started.
    room.hibernate().await?;
    same!(ask(&room, migrate(&[FIRST, SECOND, THIRD])).await?, 0);
    same!(notes(&room).await?, 1);
    Ok(())
}

pub(super) async fn a_migration_that_fails_is_rolled_back_and_the_earlier_ones_stay<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let wrong = "insert into notes (text) values ('wrong'); create table more (a); insert into nowhere values (1)";
    let failed =
        refused(&room, migrate(&[FIRST, THIRD.replace(", at_ms", "").replace(", 3", "").as_str(), wrong])).await?;
    same!((failed.kind, failed.room.as_deref()), (ErrorKind::Sql, Some(room.id())));
    holds!(failed.message.starts_with("migration 3 of 3, `insert into notes (text) values ('wrong');"), "{failed:?}");
    holds!(failed.message.contains("no such table: nowhere"), "{failed:?}");
    same!(notes(&room).await?, 1);
    same!(ask(&room, one("select count(*) from sqlite_master where name = 'more'")).await?, 0);
    let right = [FIRST, "insert into notes (text) values ('third')", "create table more (a)"];
    same!(ask(&room, migrate(&right)).await?, 1);
    same!(notes(&room).await?, 1);
    for (text, words) in
        [("", "no statement"), ("insert into notes (text) values (?)", "has 1 parameters"), ("begin", "begin")]
    {
        let failed = refused(&room, migrate(&[right[0], right[1], right[2], text])).await?;
        same!(failed.kind, ErrorKind::Sql);
        holds!(failed.message.starts_with("migration 4 of 4") && failed.message.contains(words), "{failed:?}");
    }
    Ok(())
}

pub(super) async fn a_migration_that_is_missing_or_changed_is_a_typed_error_that_names_it<H: Harness>(
    h: H,
) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [migrate(&[FIRST, SECOND])]).await?;
    let changed = FIRST.replace("text text", "text blob");
    for (list, words) in [
        (vec![FIRST], "migration 2 has run in this room, but the list has only 1"),
        (vec![], "migration 1 has run in this room, but the list has only 0"),
        (vec![FIRST, THIRD], "migration 2 of 2 has run in this room with another text, now it is `insert into notes"),
        (vec![&changed, SECOND, THIRD], "migration 1 of 3 has run in this room with another text"),
        (vec![SECOND, FIRST], "migration 1 of 2"),
    ] {
        let failed = refused(&room, migrate(&list)).await?;
        same!((failed.kind, failed.room.as_deref()), (ErrorKind::Sql, Some(room.id())));
        holds!(failed.message.contains(words), "{failed:?}");
    }
    // None of them has run anything, and the right list goes on.
    same!(notes(&room).await?, 0);
    same!(ask(&room, migrate(&[FIRST, SECOND, THIRD])).await?, 1);
    Ok(())
}

pub(super) async fn a_purge_forgets_the_migrations<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [migrate(&[FIRST, SECOND, THIRD])]).await?;
    is!(attempt(&room, [Plan::Purge]).await?, Ok(_));
    same!(ask(&room, migrate(&[FIRST])).await?, 1);
    same!(notes(&room).await?, 0);
    Ok(())
}

pub(super) async fn migrations_of_a_transaction_that_fails_run_again<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    same!(ask(&room, migrate(&[FIRST])).await?, 1);
    let acts = vec![Act::Migrate(vec![FIRST.to_owned(), SECOND.to_owned()]), Act::Fail("no".to_owned())];
    let tried = ask(&room, Plan::Act(vec![Act::Try(Box::new(Act::Transact(acts)))])).await?;
    same!(tried, json!(["handler"]));
    same!(ask(&room, migrate(&[FIRST, SECOND])).await?, 1);
    Ok(())
}
