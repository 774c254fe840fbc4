//! The database of a room: each statement has the same result, or the same error, in memory and on workerd.

use anyhow::Result;
use conformance_rooms::planner::{Bound, Line, Plan};
use room_runtime::{ErrorKind, SqlValue};
use serde_json::{Value, json};

use super::planner::{Planner, ask, exec, give, lines, one, refused};
use crate::harness::{Harness, Room, room};

fn text(value: &str) -> SqlValue {
    SqlValue::Text(value.to_owned())
}

const INSERT: &str = "insert into lines (user, weight, raw) values (?, ?, ?)";

pub(super) async fn rows_are_structs_tuples_and_values<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let insert = |user, weight| exec(INSERT, [text(user), weight, SqlValue::Null]);
    give(&room, [insert("ann", SqlValue::Real(1.5)), insert("bob", SqlValue::Null)]).await?;
    let read = ask(&room, lines("select * from lines order by id", [])).await?;
    let read: Vec<Line> = serde_json::from_value(read)?;
    let line = |id, user: &str, weight| Line { id, user: user.to_owned(), weight, raw: None };
    same!(read, [line(1, "ann", Some(1.5)), line(2, "bob", None)]);
    let pairs = "select user, case user when 'ann' then 7 end from lines order by id".to_owned();
    same!(ask(&room, Plan::Pairs { statement: pairs }).await?, json!([["ann", 7], ["bob", null]]));
    let numbers = "select id from lines order by id desc".to_owned();
    same!(ask(&room, Plan::Numbers { statement: numbers }).await?, json!([2, 1]));
    same!(ask(&room, one("select user from lines where id = 2")).await?, "bob");
    same!(ask(&room, one("select user from lines where id = 9")).await?, Value::Null);
    Ok(())
}

pub(super) async fn parameters_are_bound_as_they_are<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let quoted = "'); drop table lines; -- \"ä\" \\ ? ✨";
    let blob: Vec<u8> = (0..=255).collect();
    give(
        &room,
        [
            exec(INSERT, [text(quoted), SqlValue::Real(-0.5), SqlValue::Blob(blob.clone())]),
            exec(INSERT, [text(""), SqlValue::Null, SqlValue::Null]),
        ],
    )
    .await?;
    let read = ask(&room, lines("select * from lines where user = ?", [text(quoted)])).await?;
    let read: Vec<Line> = serde_json::from_value(read)?;
    same!(read, [Line { id: 1, user: quoted.to_owned(), weight: Some(-0.5), raw: Some(blob) }]);
    let types = "select typeof(user) || typeof(weight) || typeof(raw) from lines order by id";
    same!(ask(&room, one(types)).await?, "textrealblob");
    same!(ask(&room, one("select count(*) from lines where user = '' and raw is null")).await?, 1);
    Ok(())
}

pub(super) async fn several_statements_run_in_order_and_the_last_takes_the_parameters<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let several = "insert into lines (user) values ('a'); insert into lines (user) values ('b;c'); \
                   insert into lines (user) values (?)";
    give(&room, [exec(several, [text("d")])]).await?;
    same!(
        ask(&room, one("select group_concat(user, '|') from (select user from lines order by id)")).await?,
        "a|b;c|d"
    );
    Ok(())
}

pub(super) async fn a_statement_that_the_database_rejects_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [exec("insert into lines (id, user) values (1, 'a')", [])]).await?;
    for plan in [
        exec("selct", []),
        exec("insert into nowhere values (1)", []),
        exec("insert into lines (id) values (1)", []),
        exec("insert into lines (user) values (?)", []),
        exec("insert into lines (user) values ('b')", [text("too many")]),
    ] {
        let what = format!("{plan:?}");
        let failed = refused(&room, plan).await.map_err(|error| error.context(what))?;
        same!((failed.kind, failed.room.as_deref()), (ErrorKind::Sql, Some(room.id())));
    }
    same!(ask(&room, one("select count(*) from lines")).await?, 1);
    Ok(())
}

pub(super) async fn rows_of_another_type_are_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let numbers = |statement: &str| Plan::Numbers { statement: statement.to_owned() };
    for plan in [
        numbers("select 'text'"),
        numbers("select -1"),
        numbers("select 256"),
        numbers("select null"),
        numbers("select 1, 2"),
        Plan::Pairs { statement: "select 'one'".to_owned() },
        lines("select 1 as id", []),
    ] {
        let what = format!("{plan:?}");
        let failed = refused(&room, plan).await.map_err(|error| error.context(what))?;
        same!(failed.kind, ErrorKind::Sql);
        holds!(failed.message.starts_with("a row is not what was asked for"), "{}", failed.message);
    }
    Ok(())
}

pub(super) async fn tables_survive_hibernation<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [exec("insert into lines (user) values ('a')", [])]).await?;
    room.hibernate().await?;
    same!(ask(&room, one("select user from lines")).await?, "a");
    Ok(())
}

pub(super) async fn tables_survive_the_process<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [exec("insert into lines (user) values ('a')", [])]).await?;
    room.restart().await?;
    same!(ask(&room, one("select user from lines")).await?, "a");
    Ok(())
}

// Both platforms: the expected results are written down, so neither platform defines them.

fn rows(statement: &str, parameters: impl Into<Vec<Bound>>) -> Plan {
    Plan::Rows { statement: statement.to_owned(), parameters: parameters.into() }
}

fn int(value: i64) -> Bound {
    Bound::Integer(value)
}

fn real(value: f64) -> Bound {
    Bound::Real(value.to_bits())
}

fn string(value: &str) -> Bound {
    Bound::Text(value.to_owned())
}

/// Runs each statement in turn in one room, and compares its result.
async fn give_the_same<H: Harness>(h: &H, statements: Vec<(&str, Vec<Bound>, &[&str])>) -> Result<()> {
    let room = room::<Planner, _>(h, "r");
    for (statement, parameters, expected) in statements {
        let given = ask(&room, rows(statement, parameters)).await;
        let given = given.map_err(|error| error.context(statement.to_owned()))?;
        holds!(given == json!(expected), "{statement}\n   gave {given}\n    not {}", json!(expected));
    }
    Ok(())
}

/// Runs each statement, and asserts that its error contains the given words.
async fn are_refused<H: Harness>(room: &Room<H, Planner>, statements: Vec<(&str, Vec<Bound>, &str)>) -> Result<()> {
    for (statement, parameters, words) in statements {
        let failed = refused(room, rows(statement, parameters)).await;
        let failed = failed.map_err(|error| error.context(statement.to_owned()))?;
        holds!(failed.kind == ErrorKind::Sql, "{statement}: {failed:?}");
        holds!(failed.message.contains(words), "{statement}\n   said {}\n    not {words}", failed.message);
        same!(failed.room.as_deref(), Some(room.id()));
    }
    Ok(())
}

pub(super) async fn integers_are_bound_as_integers<H: Harness>(h: H) -> Result<()> {
    let largest = i64::MAX;
    give_the_same(
        &h,
        vec![
            ("select ? / 2 as a", vec![int(5)], &["a: Integer(2)"]),
            ("select typeof(?1) as a, json_array(?1) as b", vec![int(5)], &["a: Text(\"integer\"), b: Text(\"[5]\")"]),
            // A bound value has no affinity, like a literal and unlike a cast.
            (
                "select ?1 = '5' as a, ?1 = 5 as b, ?1 = 5.0 as c, ?1 < 'a' as d, ?1 is ?2 as e, ?1 in ('5') as f",
                vec![int(5), int(5)],
                &["a: Integer(0), b: Integer(1), c: Integer(1), d: Integer(1), e: Integer(1), f: Integer(0)"],
            ),
            ("create table t (id integer primary key, x text, y, z real, w blob)", vec![], &[]),
            (
                "insert into t values (?1, ?1, ?1, ?1, ?1) returning *",
                vec![int(5)],
                &["id: Integer(5), x: Text(\"5\"), y: Integer(5), z: Integer(5), w: Integer(5)"],
            ),
            (
                "select typeof(y) as y, typeof(z) as z from t where x = '5'",
                vec![],
                &["y: Text(\"integer\"), z: Text(\"real\")"],
            ),
            ("select id from t where x = ?", vec![int(5)], &["id: Integer(5)"]),
            ("select id from t where id = ? and y in (?, ?)", vec![int(5), int(4), int(5)], &["id: Integer(5)"]),
            ("select 1 as a union all select 2 limit ? offset ?", vec![int(1), int(1)], &["a: Integer(2)"]),
            // As a literal, this number would name a column.
            (
                "select column1 as a from (values (2), (1)) order by ?",
                vec![int(1)],
                &["a: Integer(2)", "a: Integer(1)"],
            ),
            (
                "select -? as a, 5-? as b, ?-? as c",
                vec![int(-1), int(-2), int(3), int(-4)],
                &["a: Integer(1), b: Integer(7), c: Integer(7)"],
            ),
            (
                "select ?1 as a, typeof(?1) as b, ?1 is 9223372036854775807 as c",
                vec![int(largest)],
                &["a: Integer(9223372036854775807), b: Text(\"integer\"), c: Integer(1)"],
            ),
            (
                "select ?1 as a, ?1 + 1 as b",
                vec![int(i64::MIN)],
                &["a: Integer(-9223372036854775808), b: Integer(-9223372036854775807)"],
            ),
            (
                "select ? as a, ? as b, ? as c",
                vec![int(largest), real(0.5), Bound::Null],
                &["a: Integer(9223372036854775807), b: Real(0.5), c: Null"],
            ),
        ],
    )
    .await
}

pub(super) async fn parameters_are_found_wherever_they_are<H: Harness>(h: H) -> Result<()> {
    give_the_same(
        &h,
        vec![
            (
                "select ?2 as a, ? as b, :c as c, ?1 as d, @e as e, $f as f, :c as g",
                vec![int(1), int(2), int(3), int(4), int(5), int(6)],
                &["a: Integer(2), b: Integer(3), c: Integer(4), d: Integer(1), e: Integer(5), f: Integer(6), g: Integer(4)"],
            ),
            (
                "select '?''', \"?\", [?], `?`, ? as a /* ? ' */ from (select 1 as \"?\") -- ?",
                vec![int(7)],
                &["'?''': Text(\"?'\"), ?: Integer(1), ?: Integer(1), ?: Integer(1), a: Integer(7)"],
            ),
            ("select ?, ?2 + :x, ?", vec![int(1), int(2), int(3), int(4)], &["?: Integer(1), ?2 + :x: Integer(5), ?: Integer(4)"]),
            ("select $a::b(c) as a", vec![int(1)], &["a: Integer(1)"]),
            ("select 1 as a, 2 as a", vec![], &["a: Integer(1), a: Integer(2)"]),
        ],
    )
    .await
}

pub(super) async fn large_integers_are_exact_in_both_directions<H: Harness>(h: H) -> Result<()> {
    let edge = (1_i64 << 53) + 1;
    give_the_same(
        &h,
        vec![
            ("create table t (id integer primary key, name text, raw blob)", vec![], &[]),
            (
                "insert into t values (?, 'i5', x'00ff'), (?, 't', null), (3, null, x'')",
                vec![int(edge), int(i64::MAX)],
                &[],
            ),
            (
                "select * from t order by id desc",
                vec![],
                &[
                    "id: Integer(9223372036854775807), name: Text(\"t\"), raw: Null",
                    "id: Integer(9007199254740993), name: Text(\"i5\"), raw: Blob([0, 255])",
                    "id: Integer(3), name: Null, raw: Blob([])",
                ],
            ),
            ("select name from t where id = ?", vec![int(edge)], &["name: Text(\"i5\")"]),
            ("select name from t where id = ?", vec![int(edge - 1)], &[]),
            (
                "with a(x) as (select id from t where id > ?) select x, x as x from a order by x limit ?",
                vec![int(5), int(1)],
                &["x: Integer(9007199254740993), x: Integer(9007199254740993)"],
            ),
            ("values (?), (0.5)", vec![int(-edge)], &["column1: Integer(-9007199254740993)", "column1: Real(0.5)"]),
        ],
    )
    .await?;
    let room = room::<Planner, _>(&h, "r");
    let several = "insert into t (id) values (1); select count(*) as n, max(id) as most from t";
    same!(ask(&room, rows(several, [])).await?, json!(["n: Integer(4), most: Integer(9223372036854775807)"]));
    let integers = Plan::Integers { statement: "select id from t order by id".to_owned(), parameters: Vec::new() };
    same!(ask(&room, integers).await?, json!([1, 3, edge, i64::MAX]));
    Ok(())
}

pub(super) async fn a_large_number_that_cannot_be_read_exactly_is_a_typed_error<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [exec("create table t (id integer primary key, x)", [])]).await?;
    let (large, words) = (vec![int(i64::MAX)], "cast(id as text)");
    are_refused(
        &room,
        vec![
            ("insert into t (id) values (?) returning id", large.clone(), words),
            ("insert into t (id) values (1); insert into t (id) values (?) returning id", large.clone(), words),
            ("insert into t (x) values (?) returning x", vec![real(1e17)], words),
        ],
    )
    .await?;
    same!(ask(&room, one("select count(*) from t")).await?, 0);
    let inserted = rows("insert into t (id) values (?) returning cast(id as text) as id, 'returning' as a", large);
    same!(ask(&room, inserted).await?, json!(["id: Text(\"9223372036854775807\"), a: Text(\"returning\")"]));
    Ok(())
}

pub(super) async fn reals_are_read_as_they_are_and_whole_ones_as_integers<H: Harness>(h: H) -> Result<()> {
    let tricky = 1.0e23_f64.next_down();
    give_the_same(
        &h,
        vec![
            ("select ? as a, ? as b", vec![real(0.1), real(tricky)], &["a: Real(0.1), b: Real(9.999999999999997e22)"]),
            ("select ? as a", vec![real(2.225073858507201e-308)], &["a: Real(2.225073858507201e-308)"]),
            (
                "select ?1 as a, typeof(?1) as b, 1.0 as c",
                vec![real(5.0)],
                &["a: Integer(5), b: Text(\"real\"), c: Integer(1)"],
            ),
            (
                "select ? / 2 as a, json_array(?2) as b",
                vec![real(5.0), real(5.0)],
                &["a: Real(2.5), b: Text(\"[5.0]\")"],
            ),
            ("select ? as a, typeof(?1) as b", vec![real(f64::NAN)], &["a: Null, b: Text(\"null\")"]),
            (
                "select ?1 as a, ?2 as b, typeof(?1) as c",
                vec![real(f64::INFINITY), real(f64::NEG_INFINITY)],
                &["a: Real(inf), b: Real(-inf), c: Text(\"real\")"],
            ),
            ("select ? as a, 0.0 as b", vec![real(-0.0)], &["a: Real(-0.0), b: Integer(0)"]),
            (
                "select ? as a, ? as b",
                vec![real(9007199254740991.0), real(9007199254740992.0)],
                &["a: Integer(9007199254740991), b: Real(9007199254740992.0)"],
            ),
            (
                "select ? as a, ? as b",
                vec![real(1e17), int(100_000_000_000_000_000)],
                &["a: Real(1e17), b: Integer(100000000000000000)"],
            ),
            ("select ? as a", vec![real(1e300)], &["a: Real(1e300)"]),
        ],
    )
    .await?;
    let room = room::<Planner, _>(&h, "r");
    let integers = |statement: &str| Plan::Integers { statement: statement.to_owned(), parameters: Vec::new() };
    same!(ask(&room, integers("select 7.0")).await?, json!([7]));
    for statement in ["select 7.5", "select 1e17"] {
        let failed = refused(&room, integers(statement)).await?;
        holds!(failed.message.starts_with("a row is not what was asked for"), "{}", failed.message);
    }
    Ok(())
}

pub(super) async fn texts_and_blobs_read_back_as_they_were_bound<H: Harness>(h: H) -> Result<()> {
    give_the_same(
        &h,
        vec![
            (
                "select ?1 as a, hex(?1) as b, length(?1) as c",
                vec![string("a\0b")],
                &["a: Text(\"a\\0b\"), b: Text(\"610062\"), c: Integer(1)"],
            ),
            (
                "select ?1 as a, typeof(?1) as b, length(?1) as c",
                vec![Bound::Blob(Vec::new())],
                &["a: Blob([]), b: Text(\"blob\"), c: Integer(0)"],
            ),
            (
                "select ? as a, ? as b, ? as c",
                vec![string(""), Bound::Null, Bound::Blob(vec![0, 255])],
                &["a: Text(\"\"), b: Null, c: Blob([0, 255])"],
            ),
            ("select ? as a", vec![string("ä✨\"\\\n")], &["a: Text(\"ä✨\\\"\\\\\\n\")"]),
            (
                "select cast(x'6100ff' as text) as a, char(55296) as b",
                vec![],
                &["a: Text(\"a\\0\u{fffd}\"), b: Text(\"\u{fffd}\u{fffd}\u{fffd}\")"],
            ),
        ],
    )
    .await?;
    let room = room::<Planner, _>(&h, "r");
    same!(ask(&room, Plan::Large { size: 1 << 20 }).await?, true);
    Ok(())
}

pub(super) async fn the_extremes_of_integers_blobs_and_texts_are_stored_exactly<H: Harness>(h: H) -> Result<()> {
    let edge = 1_i64 << 53;
    let numbers = [i64::MIN, i64::MIN + 1, -edge - 1, -edge, 1 - edge, -1, 0, edge - 1, edge, edge + 1, i64::MAX];
    let values = numbers.map(|_| "(?)").join(", ");
    let all: Vec<_> = numbers.iter().map(|number| format!("id: Integer({number})")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    give_the_same(
        &h,
        vec![
            ("create table t (id integer primary key, b blob, c text)", vec![], &[]),
            (&format!("insert into t (id) values {values}"), numbers.map(int).to_vec(), &[]),
            ("select id from t order by id", vec![], &all),
            ("select count(*) as n from t where typeof(id) = 'integer'", vec![], &["n: Integer(11)"]),
            ("update t set b = ?, c = ? where id = ?", vec![Bound::Blob(Vec::new()), string(""), int(i64::MIN)], &[]),
            ("update t set b = ?, c = ? where id = ?", vec![Bound::Blob(vec![0]), string("\0a\0"), int(i64::MAX)], &[]),
            (
                "select id, b, c from t where b is not null order by id",
                vec![],
                &[
                    "id: Integer(-9223372036854775808), b: Blob([]), c: Text(\"\")",
                    "id: Integer(9223372036854775807), b: Blob([0]), c: Text(\"\\0a\\0\")",
                ],
            ),
        ],
    )
    .await?;
    let room = room::<Planner, _>(&h, "r");
    for size in [0, 1, 2_000_000] {
        holds!(ask(&room, Plan::Blob { size }).await? == true, "a blob of {size} bytes");
    }
    Ok(())
}

pub(super) async fn large_types_are_parameters_as_far_as_their_values_fit<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let sizes = |number| Plan::Sizes { statement: "select ?, ?".to_owned(), size: 7, number };
    same!(ask(&room, sizes(Some(i64::MAX as u64))).await?, json!([7, i64::MAX]));
    same!(ask(&room, sizes(None)).await?, json!([7, null]));
    let failed = refused(&room, sizes(Some(u64::MAX))).await?;
    same!(failed.kind, ErrorKind::Sql);
    holds!(failed.message.contains("parameter 2 is 18446744073709551615"), "{}", failed.message);
    Ok(())
}

pub(super) async fn a_text_may_end_in_comments_and_empty_statements<H: Harness>(h: H) -> Result<()> {
    give_the_same(
        &h,
        vec![
            ("select 1 as a;", vec![], &["a: Integer(1)"]),
            ("select ? as a; -- done", vec![int(1)], &["a: Integer(1)"]),
            (";; select ? as a;; /* done ; */ ;\n", vec![int(1)], &["a: Integer(1)"]),
            // A statement that uses a table of an earlier one, and a trigger, which contains statements.
            ("create table t (a, b); create index i on t (a); insert into t (a) values (?)", vec![int(1)], &[]),
            (
                "create trigger tr after insert on t begin update t set b = case when a > 1 then 'x' end; select 1; end; \
                 insert into t (a) values (2); select * from t where a = ?",
                vec![int(2)],
                &["a: Integer(2), b: Text(\"x\")"],
            ),
            ("select 1 as a; select 2 as b, 3 as c", vec![], &["b: Integer(2), c: Integer(3)"]),
            ("select 1 as a; select 2 as a where 0", vec![], &[]),
        ],
    )
    .await?;
    let room = room::<Planner, _>(&h, "r");
    same!(ask(&room, exec("select 1", [])).await?, Value::Null);
    are_refused(
        &room,
        ["", " \n", ";;", "-- select 1", "/* select 1 */;"].map(|text| (text, vec![], "no statement")).to_vec(),
    )
    .await
}

pub(super) async fn several_statements_are_atomic<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let twice = "insert into lines (id) values (1); insert into lines (id) values (1)";
    let made = "create table t (a); insert into t values (1); selct";
    are_refused(&room, vec![(twice, vec![], "UNIQUE constraint failed"), (made, vec![], "syntax error")]).await?;
    same!(ask(&room, one("select count(*) from lines")).await?, 0);
    same!(ask(&room, one("select count(*) from sqlite_master where name = 't'")).await?, 0);
    let some = "insert or fail into lines (id) values (3), (3)";
    are_refused(&room, vec![(some, vec![], "UNIQUE constraint failed")]).await?;
    same!(ask(&room, one("select count(*) from lines where id = 3")).await?, 1);
    Ok(())
}

pub(super) async fn the_number_of_parameters_is_checked<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    are_refused(
        &room,
        vec![
            ("select ?", vec![], "has 1 parameters, but 0 values"),
            ("select 1", vec![int(1)], "has 0 parameters, but 1 values"),
            ("select ?2", vec![int(1)], "has 2 parameters, but 1 values"),
            ("select :a, :a", vec![int(1), int(2)], "has 1 parameters, but 2 values"),
            ("select '?' -- ?", vec![int(1)], "has 0 parameters, but 1 values"),
            ("select ?; select ?", vec![int(1)], "only the last"),
            ("select ?; select 1", vec![int(1)], "only the last"),
            ("select ?0", vec![], ""),
        ],
    )
    .await?;
    let many = |count: usize| (format!("select max({})", vec!["?"; count].join(",")), vec![int(1); count]);
    let (text, parameters) = many(100);
    same!(ask(&room, rows(&text, parameters)).await?.as_array().map(Vec::len), Some(1));
    let (text, parameters) = many(101);
    are_refused(&room, vec![(&text, parameters, "too many SQL variables")]).await
}

pub(super) async fn transactions_are_refused_and_lose_nothing<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    give(&room, [exec("insert into lines (id) values (1)", [])]).await?;
    let texts = [
        "begin",
        "BEGIN immediate",
        "commit",
        "end",
        "rollback",
        "savepoint a",
        "release a",
        "select 1; begin",
        "explain begin",
    ];
    are_refused(&room, texts.map(|text| (text, vec![], "is not available")).to_vec()).await?;
    let texts = [
        "insert or rollback into lines (id) values (1)",
        "create table t (a unique on conflict rollback)",
        "create trigger tr after insert on lines begin select raise(rollback, 'no'); end",
    ];
    are_refused(&room, texts.map(|text| (text, vec![], "use `abort`")).to_vec()).await?;
    same!(ask(&room, one("select count(*) from lines")).await?, 1);
    Ok(())
}

pub(super) async fn statements_that_cloudflare_forbids_are_refused_everywhere<H: Harness>(h: H) -> Result<()> {
    let room = room::<Planner, _>(&h, "r");
    let texts = [
        "pragma user_version",
        "pragma user_version = 3",
        "pragma journal_mode",
        "pragma page_count",
        "pragma nonsense",
        "select * from pragma_database_list",
        "attach ':memory:' as x",
        "detach x",
        "create temp table x (a)",
        "create temporary view x as select 1",
        "create virtual table x using fts4 (a)",
        "create virtual table x using dbstat",
        "create table _cf_x (a)",
        "select sqlite_version()",
        "select json_pretty('{}')",
    ];
    are_refused(&room, texts.map(|text| (text, vec![], "not authorized")).to_vec()).await?;
    are_refused(
        &room,
        vec![
            ("vacuum", vec![], "transaction"),
            ("select '\0'", vec![], "a NUL"),
            ("update sqlite_master set name = 'a'", vec![], "may not be modified"),
            ("select 1 union select 1 union select 1 union select 1 union select 1 union select 1", vec![], "compound"),
            ("select 'a' like ?", vec![string(&"a".repeat(51))], "too complex"),
            // Cloudflare documents 2 MB; a local workerd accepts 8 MiB.
            ("select length(?)", vec![string(&"x".repeat(8_400_000))], "too big"),
            (
                &format!("create table x ({})", (0..101).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",")),
                vec![],
                "too many columns",
            ),
            (&format!("select 1{}", " + 1".repeat(100)), vec![], "too large"),
        ],
    )
    .await?;
    give_the_same(
        &h,
        vec![
            ("pragma foreign_keys", vec![], &["foreign_keys: Integer(1)"]),
            ("pragma recursive_triggers = 1", vec![], &[]),
            ("select name from pragma_table_info('lines') limit 1", vec![], &["name: Text(\"id\")"]),
            ("select count(*) > 0 as a from sqlite_master", vec![], &["a: Integer(1)"]),
            ("create virtual table f using fts5(a)", vec![], &[]),
            ("insert into f values (?)", vec![string("hello world")], &[]),
            (
                "select highlight(f, 0, '<', '>') as a from f where f match ?",
                vec![string("hello")],
                &["a: Text(\"<hello> world\")"],
            ),
            ("alter table lines add column more", vec![], &[]),
            ("alter table lines rename column more to most", vec![], &[]),
            ("alter table lines drop column most", vec![], &[]),
            ("alter table lines rename to others", vec![], &[]),
            ("create view v as select 1 as a; drop view v; analyze; reindex", vec![], &[]),
        ],
    )
    .await
}
