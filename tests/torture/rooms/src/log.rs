//! The log of a room: a table with one row for each thing that happened. The suite compares the whole log with its model.

use room_runtime::{Error, ErrorKind, Room, RoomContext, prelude::data};

const MIGRATIONS: [&str; 1] = ["create table log (seq integer primary key autoincrement, kind text not null, \
     who text not null, n integer not null, at_ms integer not null)"];

/// The most rows that one call returns.
const PAGE: u64 = 2_000;

/// Something that happened.
#[data]
pub struct Row {
    /// The position in the log, from 1.
    pub seq: u64,
    pub kind: String,
    /// The client, the peer or the schedule that it is about.
    pub who: String,
    pub n: u64,
    /// The time of the room, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Prepares the table, and logs that the room was loaded into memory.
pub fn start<R: Room>(ctx: &RoomContext<R>) -> Result<(), Error> {
    ctx.sql().migrate(&MIGRATIONS)?;
    append(ctx, "start", "", 0)?;
    Ok(())
}

/// Adds a row, and returns its position.
pub fn append<R: Room>(ctx: &RoomContext<R>, kind: &str, who: &str, n: u64) -> Result<u64, Error> {
    let seq = ctx.sql().query_one(
        "insert into log (kind, who, n, at_ms) values (?, ?, ?, ?) returning seq",
        (kind, who, n, ctx.now_ms()),
    )?;
    seq.ok_or_else(|| Error::new(ErrorKind::Sql, "the insertion returned no row"))
}

/// The rows after a position, as many as one call returns.
pub fn after<R: Room>(ctx: &RoomContext<R>, seq: u64) -> Result<Vec<Row>, Error> {
    ctx.sql().query("select seq, kind, who, n, at_ms from log where seq > ? order by seq limit ?", (seq, PAGE))
}
