//! The acts of a handler that waits for nothing: in a transaction, for each row of a statement, and to the tables.

use std::{ops::ControlFlow, time::Duration};

use room_runtime::{RoomContext, SqlValue, prelude::*};
use serde_json::{Value, json};

use crate::{
    crash,
    planner::{Alarm, Bound, Written, planner},
    probe,
    script::{Broadcast, Crash, Event, Step},
};

/// One step that cannot wait.
#[data(externally_tagged)]
pub enum Act {
    /// Runs a statement; returns nothing.
    Exec(String),
    /// Returns the only value of the first row.
    One(String),
    /// Adds to the count; returns it.
    Add(i64),
    /// Adds to the count in a `try_update`; returns it.
    TryAdd(i64),
    /// Returns the count.
    Count,
    /// Makes the state this long.
    Fill(usize),
    /// Sets an alarm; returns nothing.
    After {
        ms: u64,
        name: String,
    },
    /// Cancels the alarm with that key; returns whether it existed.
    Cancel(String),
    /// Returns when the next alarm is due.
    Next,
    /// Says a text to all peers; returns their number.
    Say(String),
    /// Makes a probe log a text, durably; returns nothing.
    TellDurably {
        to: String,
        text: String,
    },
    /// Tries what a rollback could not undo, for the only peer; returns the kinds of the errors.
    Effects,
    /// Tries what the rows of a statement exclude; returns the kinds of the errors.
    UseDatabase,
    /// Begins a transaction inside the closure of an `update`; returns the kind of the error.
    NestInUpdate,
    /// Spawns work that adds to the count.
    SpawnAdd(i64),
    /// Fails with this text.
    Fail(String),
    /// Refuses with this reason.
    Refuse(String),
    /// Runs acts in a transaction; returns their results.
    Transact(Vec<Act>),
    /// Runs acts for each row; returns nothing.
    Each(String, Vec<Act>),
    /// Runs the migrations; returns the number of those that ran.
    Migrate(Vec<String>),
    /// Runs an act; returns the kind of its error.
    Try(Box<Act>),
    Crash(Crash),
}

type Ctx = RoomContext<planner::Room>;

pub(crate) fn act_all(ctx: &Ctx, acts: &[Act]) -> Result<Vec<Value>, Failure> {
    acts.iter().map(|act| carry_out(ctx, act)).collect()
}

fn kind<T>(outcome: Result<T, impl Into<Failure>>) -> String {
    outcome.map_or_else(|error| error.into().kind().to_string(), |_| "ok".to_owned())
}

fn carry_out(ctx: &Ctx, act: &Act) -> Result<Value, Failure> {
    Ok(match act {
        Act::Exec(statement) => json!(ctx.sql().exec(statement, ())?),
        Act::One(statement) => json!(ctx.sql().query_one::<SqlValue>(statement, ())?),
        Act::Add(amount) => json!(ctx.update(|state| {
            state.count += amount;
            state.count
        })?),
        Act::TryAdd(amount) => json!(ctx.try_update(|state| {
            state.count += amount;
            Ok(state.count)
        })?),
        Act::Count => json!(ctx.state()?.count),
        Act::Fill(bytes) => json!(ctx.update(|state| state.blob = "x".repeat(*bytes))?),
        Act::After { ms, name } => {
            let alarm = Alarm { name: name.clone(), plans: Vec::new() };
            ctx.schedule(alarm).key(name).after(Duration::from_millis(*ms))?;
            Value::Null
        }
        Act::Cancel(key) => json!(ctx.cancel_keyed(key)?),
        Act::Next => json!(ctx.next_alarm()?),
        Act::Say(text) => json!(ctx.broadcast(&Broadcast::Said { from: None, text: text.clone() })?.sent),
        Act::TellDurably { to, text } => {
            let event = Event::Do { steps: vec![Step::Log(text.clone())] };
            json!(ctx.room::<probe::Room>(to.as_str())?.send(&event).durably()?)
        }
        Act::Effects => {
            let peer = ctx.peers().iter().next().ok_or_else(|| Failure::msg("there is no peer"))?;
            let pong = Broadcast::Pong { n: 0 };
            json!([
                kind(ctx.broadcast(&pong)),
                kind(ctx.peers().filter(|_| true).send(&pong)),
                kind(peer.send(&pong)),
                kind(peer.close(CloseCode::NORMAL, "")),
                kind(ctx.peers().close(CloseCode::NORMAL, "")),
                kind(peer.update_data(|data| data.name.push('x'))),
                kind(peer.send_bytes(&[0])),
                kind(peer.subscribe("x")),
                kind(peer.unsubscribe("x")),
                kind(ctx.purge::<(), Failure>()),
            ])
        }
        Act::UseDatabase => json!([
            kind(ctx.sql().exec("delete from lines", ())),
            kind(ctx.sql().query::<i64>("select 1", ())),
            kind(ctx.sql().transaction(|_| Ok(()))),
            kind(ctx.sql().migrate(&[])),
            kind(ctx.sql().for_each("select 1", (), |_: i64| Ok(()))),
            kind(ctx.purge::<(), Failure>()),
        ]),
        Act::NestInUpdate => json!(ctx.update(|_| kind(ctx.sql().transaction(|_| Ok(()))))?),
        Act::SpawnAdd(amount) => {
            let amount = *amount;
            ctx.spawn(async move |ctx| Ok(ctx.update(|state| state.count += amount)?));
            Value::Null
        }
        Act::Fail(text) => return Err(Failure::msg(text.clone())),
        Act::Refuse(reason) => return Err(ctx.refuse(reason)),
        Act::Transact(acts) => json!(ctx.sql().transaction(|_| act_all(ctx, acts))?),
        Act::Each(statement, acts) => {
            ctx.sql().for_each(statement, (), |_: SqlValue| act_all(ctx, acts).map(drop))?;
            Value::Null
        }
        Act::Migrate(migrations) => migrate(ctx, migrations)?,
        Act::Try(act) => json!(kind(carry_out(ctx, act))),
        Act::Crash(how) => {
            crash::crash(*how);
            Value::Null
        }
    })
}

pub(crate) fn migrate(ctx: &Ctx, migrations: &[String]) -> Result<Value, Failure> {
    Ok(json!(ctx.sql().migrate(&migrations.iter().map(String::as_str).collect::<Vec<_>>())?))
}

/// Runs acts for each row; returns the rows as text, and the results of the last run.
pub(crate) fn each(ctx: &Ctx, statement: &str, parameters: Vec<Bound>, acts: &[Act]) -> Result<Value, Failure> {
    let parameters: Vec<SqlValue> = parameters.into_iter().map(Into::into).collect();
    let (mut rows, mut results) = (Vec::new(), Vec::new());
    let read = ctx.sql().for_each(statement, parameters, |row: Written| {
        rows.push(row.0);
        results = act_all(ctx, acts)?;
        Ok(())
    });
    match read {
        Ok(()) => Ok(json!([rows, results])),
        Err(failure) if failure.kind() == ErrorKind::Sql => Ok(json!([rows, failure.to_string()])),
        Err(failure) => Err(failure),
    }
}

/// Reads `limit` rows of an integer and a text; returns their number, the sum of the integers, the bytes of the texts, and
/// by how many bytes the memory has grown.
pub(crate) fn scan(ctx: &Ctx, statement: &str, limit: u64) -> Result<Value, Failure> {
    let (mut rows, mut sum, mut bytes) = (0_u64, 0_i64, 0);
    let before = memory_bytes();
    ctx.sql().for_each(statement, (), |(number, text): (i64, String)| {
        rows += 1;
        sum = sum.wrapping_add(number);
        bytes += text.len();
        Ok(if rows == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(json!([rows, sum, bytes, memory_bytes() - before]))
}

/// The bytes of the WebAssembly memory, which never shrinks; 0 natively.
fn memory_bytes() -> usize {
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_size(0) * 65_536;
    #[cfg(not(target_arch = "wasm32"))]
    0
}
