//! A room for alarms, calls of other rooms, purges and the database.
//!
//! The body of a request is a list of [`Plan`]s, and the response is a list of their results. Plans in an event or an
//! alarm have no response, so their results are dropped.

use std::{fmt, time::Duration};

use room_runtime::{Room, RoomContext, ScheduleId, SqlValue, prelude::*};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json};

use crate::{
    acts::{Act, act_all, each, migrate, scan},
    probe,
    script::{self, Event, Step},
};

/// An alarm: it logs that it fired, with the time, and then runs its plans.
#[data]
pub struct Alarm {
    pub name: String,
    pub plans: Vec<Plan>,
}

/// One step of the planner.
#[data(externally_tagged)]
pub enum Plan {
    /// Runs a script; returns nothing.
    Run(Vec<Step>),

    /// Sets an alarm; returns its id.
    After { ms: u64, key: Option<String>, alarm: Alarm },
    /// Sets an alarm; returns its id.
    At { ms: u64, key: Option<String>, alarm: Alarm },
    /// Sets an alarm; returns its id.
    Every { ms: u64, key: Option<String>, alarm: Alarm },
    /// Cancels the alarm with that id; returns whether it existed.
    Cancel(String),
    /// Cancels the alarm with that key; returns whether it existed.
    CancelKeyed(String),
    /// Stores the id of a new alarm in the state.
    AfterKept { ms: u64, alarm: Alarm },
    /// Cancels the alarm whose id is in the state; returns whether it existed.
    CancelKept,
    /// Returns when the next alarm is due.
    Next,
    /// Returns the time.
    Now,
    /// Fails, or panics, at the first runs, `times` in number; each run is stored before.
    Trip { times: i64, panics: bool },

    /// Makes another planner run plans; returns nothing.
    Send { room: String, plans: Vec<Plan> },
    /// Makes a probe run a script; returns nothing.
    Tell { room: String, steps: Vec<Step> },
    /// Makes a probe run a script, durably; returns nothing.
    TellDurably { room: String, steps: Vec<Step> },
    /// Makes another planner run plans, durably; returns nothing.
    SendDurably { room: String, plans: Vec<Plan> },
    /// Returns the state of a probe.
    Ask { room: String },
    /// Makes several probes run a script; returns the number of those that did, and the failed ones with their errors.
    Federate { rooms: Vec<String>, steps: Vec<Step> },
    /// Broadcasts to all peers of a probe; returns their number.
    Announce { room: String, text: String },
    /// Runs the due alarm of another planner; returns whether there was one.
    Fire { room: String },
    /// Calls a room type without a binding in the Worker.
    CallHomeless,

    /// Sets an alarm inside the closure of an `update`; returns the kind of the error.
    NestSchedule,

    /// Ends the life of the room.
    Purge,
    /// Runs plans after the handler has ended.
    Spawn(Vec<Plan>),

    /// Runs a statement; returns nothing.
    Exec { statement: String, parameters: Vec<SqlValue> },
    /// Returns the rows as [`Line`]s.
    Lines { statement: String, parameters: Vec<SqlValue> },
    /// Returns the rows as pairs.
    Pairs { statement: String },
    /// Returns the rows as numbers.
    Numbers { statement: String },
    /// Returns the only value of the first row.
    One { statement: String },
    /// Returns the rows as text: the name of each column, and the value with its type.
    Rows { statement: String, parameters: Vec<Bound> },
    /// Returns the rows as integers.
    Integers { statement: String, parameters: Vec<SqlValue> },
    /// Returns the first row as a pair of its parameters' types.
    Sizes { statement: String, size: usize, number: Option<u64> },
    /// Stores a blob of that size; returns whether the blob that is read is equal.
    Large { size: usize },
    /// Stores a blob of that size as the only value of a row; returns whether the blob that is read is equal.
    Blob { size: usize },

    /// Runs acts, outside of a transaction; returns their results.
    Act(Vec<Act>),
    /// Runs acts in a transaction; returns their results.
    Transact(Vec<Act>),
    /// Runs the migrations; returns the number of those that ran.
    Migrate(Vec<String>),
    /// Runs acts for each row; returns the rows as text, and the results for the last row, or the error of the statement.
    Each { statement: String, parameters: Vec<Bound>, acts: Vec<Act> },
    /// Reads rows of an integer and a text; returns their number, the sum of the integers, the bytes of the texts, and by
    /// how many bytes the memory has grown.
    Scan { statement: String, limit: u64 },
}

/// A value of the database that survives JSON.
#[data(externally_tagged)]
pub enum Bound {
    Null,
    Integer(i64),
    /// The bits of an `f64`.
    Real(u64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<Bound> for SqlValue {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Null => SqlValue::Null,
            Bound::Integer(value) => SqlValue::Integer(value),
            Bound::Real(bits) => SqlValue::Real(f64::from_bits(bits)),
            Bound::Text(text) => SqlValue::Text(text),
            Bound::Blob(bytes) => SqlValue::Blob(bytes),
        }
    }
}

/// A row as text.
pub(crate) struct Written(pub(crate) String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;

        impl<'de> Visitor<'de> for Columns {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<Written, A::Error> {
                let mut written = Vec::new();
                while let Some((name, value)) = row.next_entry::<String, SqlValue>()? {
                    written.push(format!("{name}: {value:?}"));
                }
                Ok(Written(written.join(", ")))
            }
        }

        deserializer.deserialize_map(Columns)
    }
}

/// A row of the table that `on_start` creates.
#[data]
pub struct Line {
    pub id: u32,
    pub user: String,
    pub weight: Option<f64>,
    pub raw: Option<Vec<u8>>,
}

/// Plans as an event. The rooms of this crate share one schema, so the plans are sent as the text of a log step.
pub fn event(plans: &[Plan]) -> Event {
    // Plans contain only strings, numbers and enums, so serialization cannot fail.
    Event::Do { steps: vec![Step::Log(serde_json::to_string(plans).unwrap_or_default())] }
}

fn plans(event: &Event) -> Option<Vec<Plan>> {
    match event {
        Event::Do { steps } => match &steps[..] {
            [Step::Log(text)] => serde_json::from_str(text).ok(),
            _ => None,
        },
        _ => None,
    }
}

type Ctx = RoomContext<planner::Room>;

async fn carry_out_all(ctx: &Ctx, plans: Vec<Plan>) -> Result<Vec<Value>, Failure> {
    let mut given = Vec::new();
    for plan in plans {
        given.push(Box::pin(carry_out(ctx, plan)).await?);
    }
    Ok(given)
}

async fn carry_out(ctx: &Ctx, plan: Plan) -> Result<Value, Failure> {
    let set = |alarm, key: Option<String>| match key {
        Some(key) => ctx.schedule(alarm).key(key),
        None => ctx.schedule(alarm),
    };
    let ms = Duration::from_millis;
    Ok(match plan {
        Plan::Run(steps) => json!(script::run(ctx, ctx.sender(), &steps).await?),

        Plan::After { ms: delay, key, alarm } => json!(set(alarm, key).after(ms(delay))?),
        Plan::At { ms: due_ms, key, alarm } => json!(set(alarm, key).at(due_ms)?),
        Plan::Every { ms: period, key, alarm } => json!(set(alarm, key).every(ms(period))?),
        Plan::Cancel(id) => json!(ctx.cancel(id.parse()?)?),
        Plan::CancelKeyed(key) => json!(ctx.cancel_keyed(&key)?),
        Plan::AfterKept { ms: delay, alarm } => {
            let id = set(alarm, None).after(ms(delay))?;
            let kept = serde_json::to_string(&id)?;
            json!(ctx.update(|state| state.blob = kept)?)
        }
        Plan::CancelKept => {
            let id: ScheduleId = serde_json::from_str(&ctx.state()?.blob)?;
            json!(ctx.cancel(id)?)
        }
        Plan::Next => json!(ctx.next_alarm()?),
        Plan::Now => json!(ctx.now_ms()),
        Plan::Trip { times, panics } => {
            let count = ctx.update(|state| {
                state.count += 1;
                state.count
            })?;
            if count <= times {
                ctx.sleep(ms(1)).await;
                assert!(!panics, "{}", crate::PANIC);
                return Err(Failure::msg(format!("tripped {count}")));
            }
            Value::Null
        }

        Plan::Send { room, plans } => json!(ctx.room::<planner::Room>(room)?.send(&event(&plans)).await?),
        Plan::Tell { room, steps } => json!(ctx.room::<probe::Room>(room)?.send(&Event::Do { steps }).await?),
        Plan::TellDurably { room, steps } => {
            json!(ctx.room::<probe::Room>(room)?.send(&Event::Do { steps }).durably()?)
        }
        Plan::SendDurably { room, plans } => json!(ctx.room::<planner::Room>(room)?.send(&event(&plans)).durably()?),
        Plan::Ask { room } => json!(ctx.room::<probe::Room>(room)?.state().await?),
        Plan::Federate { rooms, steps } => {
            let event = Event::Do { steps };
            let told = ctx.rooms::<probe::Room>()?.federate(rooms, |room| room.send(&event)).await;
            let failed: Vec<_> = told.failed().map(|(id, error)| (id.to_string(), error.kind())).collect();
            json!((told.succeeded().count(), failed))
        }
        Plan::Announce { room, text } => {
            let said = script::Broadcast::Said { from: None, text };
            json!(ctx.room::<probe::Room>(room)?.broadcast(&said).await?.sent)
        }
        Plan::Fire { room } => json!(ctx.room::<planner::Room>(room)?.fire_alarm().await?),
        Plan::CallHomeless => json!(ctx.room::<homeless::Room>("r")?.state().await?),

        Plan::NestSchedule => {
            let alarm = Alarm { name: "nested".to_owned(), plans: Vec::new() };
            let scheduled = ctx.update(|_| ctx.schedule(alarm).after(ms(1)))?;
            json!(scheduled.map_or_else(|error| error.kind().to_string(), |_| "ok".to_owned()))
        }

        Plan::Purge => return ctx.purge(),
        Plan::Spawn(plans) => {
            ctx.spawn(async move |ctx| carry_out_all(&ctx, plans).await.map(drop));
            Value::Null
        }

        Plan::Exec { statement, parameters } => json!(ctx.sql().exec(&statement, parameters)?),
        Plan::Lines { statement, parameters } => json!(ctx.sql().query::<Line>(&statement, parameters)?),
        Plan::Pairs { statement } => json!(ctx.sql().query::<(String, Option<i64>)>(&statement, ())?),
        Plan::Numbers { statement } => json!(ctx.sql().query::<u8>(&statement, ())?),
        Plan::Rows { statement, parameters } => {
            let parameters: Vec<SqlValue> = parameters.into_iter().map(Into::into).collect();
            let rows = ctx.sql().query::<Written>(&statement, parameters)?;
            json!(rows.into_iter().map(|row| row.0).collect::<Vec<_>>())
        }
        Plan::Integers { statement, parameters } => json!(ctx.sql().query::<i64>(&statement, parameters)?),
        Plan::Sizes { statement, size, number } => {
            json!(ctx.sql().query_one::<(usize, Option<u64>)>(&statement, (size, number))?)
        }
        Plan::Large { size } => {
            let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let text: String = bytes.iter().map(|byte| char::from(*byte)).take(size / 2).collect();
            let statement = "insert into lines (user, raw) values (?, ?)";
            ctx.sql().exec(statement, (text.as_str(), bytes.as_slice()))?;
            let read = ctx.sql().query_one::<(String, Vec<u8>)>("select user, raw from lines", ())?;
            json!(read == Some((text, bytes)))
        }
        Plan::Blob { size } => {
            let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            ctx.sql().exec("insert into lines (raw) values (?)", (bytes.as_slice(),))?;
            let read = ctx.sql().query_one::<Vec<u8>>("select raw from lines order by id desc", ())?;
            json!(read == Some(bytes))
        }
        Plan::Act(acts) => json!(act_all(ctx, &acts)?),
        Plan::Transact(acts) => json!(ctx.sql().transaction(|_| act_all(ctx, &acts))?),
        Plan::Migrate(migrations) => migrate(ctx, &migrations)?,
        Plan::Each { statement, parameters, acts } => each(ctx, &statement, parameters, &acts)?,
        Plan::Scan { statement, limit } => scan(ctx, &statement, limit)?,
        Plan::One { statement } => json!(ctx.sql().query_one::<SqlValue>(&statement, ())?),
    })
}

/// Logs `name@ms`, or `name!attempt@ms` if the object crashed during the previous attempt.
fn note_alarm(ctx: &Ctx, name: &str) -> Result<(), Failure> {
    let attempt = ctx.system_failure().map(|failure| format!("!{}", failure.attempt)).unwrap_or_default();
    let note = format!("{name}{attempt}@{}", ctx.now_ms());
    Ok(ctx.update(|state| state.log.push(note))?)
}

/// Logs the target, the kind of the error, and the script that was not delivered.
fn note_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result<(), Failure> {
    let script = match undelivered.event::<probe::Room>()? {
        Some(Event::Do { steps }) => serde_json::to_string(&steps)?,
        _ => undelivered.event_json().to_owned(),
    };
    let is_late = undelivered.age() >= Duration::from_millis(planner::Room::OUTBOX_TIMEOUT_MS);
    let when = if is_late { "late" } else { "at once" };
    let (name, id, kind) = (undelivered.room_name(), undelivered.room_id(), undelivered.error().kind());
    let note = format!("undelivered {when} to {name}/{id}: {kind} {script}");
    Ok(ctx.update(|state| state.log.push(note))?)
}

/// A room that runs plans.
#[room(outbox_timeout = "5s")]
pub mod planner {
    pub use super::Alarm;
    use super::{carry_out_all, note_alarm, note_undelivered, plans};
    pub use crate::script::{Broadcast, Connection, Event, State};
    use crate::{backstage, script};
    use room_runtime::prelude::*;

    pub fn on_start(ctx: &Ctx) -> Result {
        backstage::note_start(ctx.name(), ctx.id());
        let table = "create table if not exists lines (id integer primary key, user text, weight real, raw blob)";
        Ok(ctx.sql().exec(table, ())?)
    }

    pub async fn on_event(ctx: &Ctx, event: Event) -> Result {
        match plans(&event) {
            Some(plans) => carry_out_all(ctx, plans).await.map(drop),
            None => script::on_event(ctx, event).await,
        }
    }

    pub async fn on_close(ctx: &Ctx, peer: &Peer, close: Close) -> Result {
        script::on_close(ctx, peer, close).await
    }

    pub async fn on_alarm(ctx: &Ctx, alarm: Alarm) -> Result {
        note_alarm(ctx, &alarm.name)?;
        carry_out_all(ctx, alarm.plans).await.map(drop)
    }

    pub fn on_undelivered(ctx: &Ctx, undelivered: &Undelivered) -> Result {
        note_undelivered(ctx, undelivered)
    }

    pub async fn on_request(ctx: &Ctx, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        let given = carry_out_all(ctx, serde_json::from_slice(request.body())?).await?;
        Ok(http::Response::new(Bytes::from(serde_json::to_vec(&given)?)))
    }
}

/// A room without a binding, so it is unreachable.
#[room]
pub mod homeless {
    pub use crate::script::{Broadcast, Connection, Event, State};
}
