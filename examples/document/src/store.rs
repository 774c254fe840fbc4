//! The document in memory and in the room's database.
//!
//! The database has a snapshot of the document, in pieces, and the updates since. The document in memory is made of both, and is kept
//! until the room leaves memory or its last peer leaves it.

use room_runtime::Failure;
use serde_bytes::ByteBuf;
use yrs::{
    ClientID, Doc, Options, ReadTxn, StateVector, Transact, Update, WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::{
    check::check,
    room::document::{Ctx, MAX_DOCUMENT_BYTES, schedule_compaction},
    wire::Malformed,
};

/// The tables, for `ctx.sql().migrate`.
pub(crate) const MIGRATIONS: &[&str] = &["
    create table snapshot (part integer primary key, data blob not null);
    create table updates (number integer primary key, data blob not null);
"];

/// The bytes of a row of the snapshot. Cloudflare stores at most 2 MB in one.
const PART_BYTES: usize = 1 << 20;

/// The bytes of updates after which the room does not wait for its alarm: they bound what a start reads.
const COMPACT_AT_BYTES: usize = 1 << 20;

/// The most blocks of a document. A block is a run of characters that one user has written, or a format. In memory it takes some
/// hundred bytes, however few it has in an update.
const MAX_BLOCKS: usize = 100_000;

/// The reason why an update is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("the document is full: it has at most {MAX_DOCUMENT_BYTES} bytes and {MAX_BLOCKS} parts")]
    Full,
    /// The fault of the room.
    #[error("{0}")]
    Failed(Failure),
}

impl From<Malformed> for Rejected {
    fn from(malformed: Malformed) -> Self {
        Rejected::Malformed(malformed.0)
    }
}

impl From<Failure> for Rejected {
    fn from(failure: Failure) -> Self {
        Rejected::Failed(failure)
    }
}

/// The consequences of an update.
#[derive(Debug)]
pub(crate) struct Change {
    /// For the others, in the encoding of `yrs`: whatever a client sent, they get a well-formed update. `None` if nothing is new.
    pub(crate) update: Option<Vec<u8>>,
    /// A part of the update builds on others that the room does not have, and was left out. This happens between the tabs of one
    /// browser, which pass updates on to each other. The sender has them all.
    pub(crate) is_incomplete: bool,
}

/// The document in memory.
#[derive(Debug)]
pub(crate) struct Document {
    doc: Doc,
    snapshot_bytes: usize,
    updates_bytes: usize,
    /// The blocks of the snapshot and of the updates.
    blocks: usize,
    /// An update failed after it had changed the document in memory: it has to be read again.
    is_stale: bool,
    is_compaction_scheduled: bool,
}

impl Document {
    /// Reads the document from the database.
    pub(crate) fn load(ctx: &Ctx) -> Result<Document, Failure> {
        // The room itself never edits, so its client id is in no update. `cleanup_formatting` would make edits of its own.
        let options = Options::with_guid_and_client_id("".into(), ClientID::new(0));
        let doc = Doc::with_options(options);
        let mut snapshot = Vec::new();
        ctx.sql().for_each("select data from snapshot order by part", (), |part: ByteBuf| {
            snapshot.extend_from_slice(&part);
            Ok(())
        })?;
        let (mut updates_bytes, mut blocks) = (0, 0);
        {
            let mut transaction = doc.transact_mut();
            let mut apply = |stored: &[u8]| -> Result<(), Failure> {
                blocks += check(stored).map_err(|error| unreadable(&error.0))?;
                let update = Update::decode_v1(stored).map_err(|error| unreadable(&error))?;
                transaction.apply_update(update).map_err(|error| unreadable(&error))
            };
            if !snapshot.is_empty() {
                apply(&snapshot)?;
            }
            ctx.sql().for_each("select data from updates order by number", (), |update: ByteBuf| {
                updates_bytes += update.len();
                apply(&update)
            })?;
        }
        tracing::info!(snapshot_bytes = snapshot.len(), updates_bytes, "loaded the document");
        Ok(Document {
            doc,
            snapshot_bytes: snapshot.len(),
            updates_bytes,
            blocks,
            is_stale: false,
            // The incarnation that stored them has scheduled it.
            is_compaction_scheduled: updates_bytes > 0,
        })
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale
    }

    pub(crate) fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// Returns what a client with this state vector lacks.
    pub(crate) fn missing(&self, state_vector: &[u8]) -> Result<Vec<u8>, Rejected> {
        let vector = StateVector::decode_v1(state_vector).map_err(|_| Malformed("this is no state vector"))?;
        Ok(self.doc.transact().encode_state_as_update_v1(&vector))
    }

    /// Applies and stores an update.
    ///
    /// It is applied before it is stored. Should `yrs` fail at it, even by a panic, then nothing is stored that would fail again
    /// each time when the document is loaded.
    pub(crate) fn change(&mut self, ctx: &Ctx, update: &[u8]) -> Result<Change, Rejected> {
        let blocks = check(update)?;
        let decoded = Update::decode_v1(update).map_err(|_| Malformed("this is no update"))?;
        let is_full = |own: &Self| own.bytes() + update.len() > MAX_DOCUMENT_BYTES || own.blocks + blocks > MAX_BLOCKS;
        if is_full(self) {
            // Deleted text is in the updates until they are compacted, and so are the parts of what is one block now.
            self.compact(ctx)?;
            if is_full(self) {
                return Err(Rejected::Full);
            }
        }
        self.is_stale = true;
        let change = self.apply(decoded)?;
        if let Some(update) = &change.update {
            ctx.sql().exec("insert into updates (data) values (?)", (&update[..],)).map_err(Failure::from)?;
            self.updates_bytes += update.len();
            self.blocks += blocks;
        }
        self.is_stale = false;
        Ok(change)
    }

    fn apply(&self, update: Update) -> Result<Change, Malformed> {
        let mut transaction = self.doc.transact_mut();
        transaction.apply_update(update).map_err(|_| Malformed("this update does not fit into the document"))?;
        let is_incomplete = transaction.prune_pending().is_some();
        let is_new = !transaction.insert_set().is_empty() || !transaction.delete_set().is_empty();
        let update = is_new.then(|| transaction.encode_update_v1());
        Ok(Change { update, is_incomplete })
    }

    /// Compacts the updates if there are many, or sees to it that the alarm does so later.
    pub(crate) fn tidy(&mut self, ctx: &Ctx) -> Result<(), Failure> {
        if self.updates_bytes >= COMPACT_AT_BYTES {
            self.compact(ctx)?;
        } else if self.updates_bytes > 0 && !self.is_compaction_scheduled {
            schedule_compaction(ctx)?;
            self.is_compaction_scheduled = true;
        }
        Ok(())
    }

    /// Replaces the snapshot and the updates by a snapshot: both, or neither.
    pub(crate) fn compact(&mut self, ctx: &Ctx) -> Result<(), Failure> {
        if self.updates_bytes == 0 {
            self.is_compaction_scheduled = false;
            return Ok(());
        }
        let snapshot = self.doc.transact().encode_state_as_update_v1(&StateVector::default());
        ctx.sql().transaction(|sql| {
            sql.exec("delete from snapshot", ())?;
            for (part, data) in snapshot.chunks(PART_BYTES).enumerate() {
                sql.exec("insert into snapshot (part, data) values (?, ?)", (part, data))?;
            }
            sql.exec("delete from updates", ())?;
            Ok(())
        })?;
        tracing::info!(snapshot_bytes = snapshot.len(), updates_bytes = self.updates_bytes, "compacted the updates");
        (self.snapshot_bytes, self.updates_bytes) = (snapshot.len(), 0);
        self.blocks = check(&snapshot).map_err(|error| unreadable(&error.0))?;
        self.is_compaction_scheduled = false;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.snapshot_bytes + self.updates_bytes
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::msg(format!("the stored document cannot be read: {error}"))
}
