//! `for_each` of `ctx.sql()`: rows one by one, without all of them in memory.

use anyhow::Result;
use conformance_rooms::{
    acts::Act,
    planner::{Bound, Plan},
};
use room_runtime::ErrorKind;
use serde_json::{Value, json};

use super::planner::{Planner, ask, exec, give, one, refused};
use crate::harness::{Harness, Room, guest, room};

/// The growth of memory that a scan of any size may cause: some batches, and their copies on the way.
const GROWTH: u64 = 6 << 20;

fn each(statement: &str, parameters: impl Into<Vec<Bound>>, acts: impl Into<Vec<Act>>) -> Plan {
    Plan::Each { statement: statement.to_owned(), parameters: parameters.into(), acts: acts.into() }
}

async fn rows<H: Harness>(room: &Room<H, Planner>, statement: &str, parameters: Vec<Bound>) -> Result<Vec<String>> {
    let both = ask(room, each(statement, parameters, [])).await?;
    holds!(!both[1].is_string(), "the statement failed: {}", both[1]);
    Ok(serde_json::from_value(both[0].clone())?)
}

async fn scan<H: Harness>(room: &Room<H, Planner>, statement: &str, limit: u64) -> Result<(u64, i64, u64)> {
    let all = ask(room, Plan::Scan { statement: statement.to_owned(), limit }).await?;
    let (rows, sum, bytes, grown): (u64, i64, u64, u64) = serde_json::from_value(all)?;
    holds!(grown < GROWTH, "the memory has grown by {grown} bytes");
    Ok((rows, sum, bytes))
}

/// Statements of numbers from 1, with a column for each.
fn numbers(count: u64, columns: &str) -> String {
    format!("with recursive n(x) as (select 1 union all select x + 1 from n where x < {count}) select {columns} from n")
}

pub(super) async fn each_row_reaches_the_closure_in_order<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    same!(rows(&room, "select 1 as a where 0", vec![]).await?, [""; 0]);
    let parameters = vec![Bound::Integer(5), Bound::Text("ä".to_owned()), Bound::Blob(vec![0, 255])];
    same!(
        rows(&room, "select ?1 as a, ?2 as b, ?3 as c, null as d, 0.5 as e", parameters).await?,
        ["a: Integer(5), b: Text(\"ä\"), c: Blob([0, 255]), d: Null, e: Real(0.5)"]
    );
    for count in [255, 256, 257, 600] {
        let all = rows(&room, &numbers(count, "x"), vec![]).await?;
        same!(all, (1..=count).map(|x| format!("x: Integer({x})")).collect::<Vec<_>>());
    }
    let large =
        rows(&room, &numbers(20, "x, length(zeroblob(100000)) as n, zeroblob(100000) = x'' as same"), vec![]).await?;
    same!((large.len(), &*large[19]), (20, "x: Integer(20), n: Integer(100000), same: Integer(0)"));
    Ok(())
}

pub(super) async fn a_hundred_thousand_rows_take_the_memory_of_a_batch<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let all = scan(&room, &numbers(100_000, "x, printf('%0400d', x)"), u64::MAX).await?;
    same!(all, (100_000, 5_000_050_000, 40_000_000));
    Ok(())
}

pub(super) async fn rows_that_are_large_share_no_batch<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let all = scan(&room, &numbers(256, "x, printf('%0100000d', x)"), u64::MAX).await?;
    same!(all, (256, 32_896, 25_600_000));
    Ok(())
}

pub(super) async fn the_closure_ends_the_reading_with_a_break_or_an_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    for limit in [1, 256, 300] {
        let (rows, ..) = scan(&room, &numbers(1_000_000_000, "x, 'text'"), limit).await?;
        same!(rows, limit);
    }
    let failed =
        refused(&room, each(&numbers(1_000_000_000, "x"), [], [Act::Add(1), Act::Fail("no".to_owned())])).await?;
    same!(failed.kind, ErrorKind::Handler);
    same!(room.count().await?, 1);
    // The database is free again.
    give(&room, [exec("insert into lines (user) values ('a')", [])]).await?;
    same!(ask(&room, one("select count(*) from lines")).await?, 1);
    Ok(())
}

pub(super) async fn large_numbers_are_exact_wherever_they_are<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let edge = 1_i64 << 53;
    for at in [1, 256, 257, 300, 700] {
        let statement = numbers(700, &format!("case x when {at} then ?1 else x end as a, 'i' || x as b, x'00' as c"));
        let all = rows(&room, &format!("{statement} order by x desc"), vec![Bound::Integer(edge + 1)]).await?;
        let row = |x: i64| {
            let a = if x == at { edge + 1 } else { x };
            format!("a: Integer({a}), b: Text(\"i{x}\"), c: Blob([0])")
        };
        same!(all, (1..=700).rev().map(row).collect::<Vec<_>>());
    }
    let extremes = "values (?1), (?2), (0.5), (1e17), ('i7'), ('t')";
    let all = rows(&room, extremes, vec![Bound::Integer(i64::MIN), Bound::Integer(i64::MAX)]).await?;
    let expected = [
        "Integer(-9223372036854775808)",
        "Integer(9223372036854775807)",
        "Real(0.5)",
        "Real(1e17)",
        "Text(\"i7\")",
        "Text(\"t\")",
    ];
    same!(all, expected.map(|value| format!("column1: {value}")));
    let sum = scan(&room, &numbers(100_000, &format!("x + {edge}, printf('%0400d', x)")), u64::MAX).await?;
    same!(sum, (100_000, edge.wrapping_mul(100_000).wrapping_add(5_000_050_000), 40_000_000));
    Ok(())
}

pub(super) async fn an_error_in_a_later_row_follows_the_rows_before_it<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    for at in [1, 200, 256, 257, 300] {
        let statement = numbers(1_000, &format!("case x when {at} then abs(-9223372036854775807 - 1) else x end as a"));
        let both = ask(&room, each(&statement, [], [])).await?;
        let (all, error): (Vec<String>, String) = serde_json::from_value(both)?;
        // workerd steps to the next row before it returns one, so an error can hide the row before it.
        holds!(all.len() + 2 >= at, "{} rows before the error at {at}", all.len());
        same!(all, (1..=all.len()).map(|x| format!("a: Integer({x})")).collect::<Vec<_>>());
        holds!(error.contains("integer overflow"), "{error}");
    }
    let failed =
        refused(&room, Plan::Scan { statement: numbers(300, "x, iif(x = 280, 1, 'a')"), limit: 1_000 }).await?;
    same!(failed.kind, ErrorKind::Sql);
    holds!(failed.message.starts_with("a row is not what was asked for"), "{failed:?}");
    Ok(())
}

pub(super) async fn inside_for_each_the_database_is_a_typed_error_and_the_rest_works<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let alice = room.connect(guest("alice")).await?;
    give(&room, [exec("insert into lines (id) values (1), (2)", [])]).await?;
    let acts = [
        Act::UseDatabase,
        Act::Add(1),
        Act::Say("row".to_owned()),
        Act::After { ms: 3_600_000, name: "later".to_owned() },
        Act::Cancel("later".to_owned()),
    ];
    let nested = [(); 6].map(|()| "nested_update");
    let both = ask(&room, each("select id from lines order by id", [], acts.clone())).await?;
    same!(both, json!([["id: Integer(1)", "id: Integer(2)"], [nested, 2, 1, null, true]]));
    alice.hears(None, "row").await?;
    alice.hears(None, "row").await?;
    same!(ask(&room, Plan::Act(vec![Act::One("select count(*) from lines".to_owned())])).await?, json!([2]));
    // In a transaction it reads the rows of that transaction.
    let inside = Act::Each("select id from lines order by id".to_owned(), vec![Act::Add(10)]);
    let transaction =
        vec![Act::Exec("insert into lines (id) values (3)".to_owned()), inside, Act::Fail("no".to_owned())];
    let tried = ask(&room, Plan::Act(vec![Act::Try(Box::new(Act::Transact(transaction))), Act::Count])).await?;
    same!(tried, json!(["handler", 2]));
    Ok(())
}

pub(super) async fn for_each_takes_one_statement_without_returning<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    for (statement, words) in [
        ("insert into lines (user) values ('a') returning id", "use `query`"),
        ("insert into lines (user) values ('a'); select 1", "use `query`"),
        ("", "no statement"),
        ("select ?", "has 1 parameters"),
        ("selct", "syntax error"),
        ("begin", "is not available"),
        ("pragma page_count", "not authorized"),
    ] {
        let both = ask(&room, each(statement, [], [])).await?;
        holds!(both[1].as_str().is_some_and(|error| error.contains(words)), "{statement}: {both}");
    }
    same!(ask(&room, one("select count(*) from lines")).await?, 0);
    same!(ask(&room, each("insert into lines (user) values ('a')", [], [])).await?, json!([[], Value::Array(vec![])]));
    same!(ask(&room, one("select count(*) from lines")).await?, 1);
    Ok(())
}
