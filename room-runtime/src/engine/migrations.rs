//! Migrations: the changes of the tables of a room's database. Each runs once in a life of the room.

use std::iter;

use super::{RoomHost, idempotency::digest};
use crate::{
    Error, ErrorKind, Failure,
    platform::{Platform, sql::statement::Statement},
    types::brief::brief,
    wire::{self, keys},
};

impl RoomHost {
    /// Runs the migrations that have not run. Each is stored together with the record that it ran. Returns their number.
    pub(crate) fn migrate_database(&self, migrations: &[&str]) -> Result<usize, Error> {
        self.not_reading()?;
        self.not_updating()?;
        let ran = self.migrated().map_err(|error| error.in_room(&self.id))?;
        let place = |index: usize| format!("migration {} of {}", index + 1, migrations.len());
        let sql_error = |message: String| Error::new(ErrorKind::Sql, message).in_room(&self.id);
        if ran.len() > migrations.len() {
            let message = format!(
                "migration {} has run in this room, but the list has only {}; keep each migration that was deployed",
                migrations.len() + 1,
                migrations.len()
            );
            return Err(sql_error(message));
        }
        let changed = iter::zip(&ran, migrations).enumerate().find(|(_, (then, now))| **then != digest(now));
        if let Some((index, (_, now))) = changed {
            let message = format!(
                "{} has run in this room with another text, now it is `{}`; add a migration instead of changing one",
                place(index),
                brief(now)
            );
            return Err(sql_error(message));
        }
        let (first, mut digests) = (ran.len(), ran);
        for (index, migration) in migrations.iter().enumerate().skip(first) {
            digests.push(digest(migration));
            let done = self.transaction(&mut || {
                let statement = Statement::read(migration, 0).map_err(sql_error)?;
                Platform::sql(&*self.platform, &statement, &[]).map_err(|refusal| sql_error(refusal.0))?;
                let bytes = wire::encode_value(&digests, "the record of the migrations")?;
                Platform::put(&*self.platform, keys::MIGRATIONS, &bytes).map_err(|refusal| {
                    Error::new(
                        ErrorKind::Storage,
                        format!("the record of the migrations could not be stored: {refusal}"),
                    )
                })?;
                Ok(())
            });
            done.map_err(|failure| self.migration_error(&place(index), migration, &failure))?;
        }
        Ok(migrations.len() - first)
    }

    fn migrated(&self) -> Result<Vec<u64>, Error> {
        let stored = Platform::get(&*self.platform, keys::MIGRATIONS).map_err(|refusal| {
            Error::new(ErrorKind::Storage, format!("the record of the migrations could not be read: {refusal}"))
        })?;
        stored.map_or(Ok(Vec::new()), |bytes| wire::decode_value(&bytes, "the record of the migrations"))
    }

    fn migration_error(&self, place: &str, migration: &str, failure: &Failure) -> Error {
        let error = failure.downcast_ref::<Error>();
        let (kind, why) = error.map_or((ErrorKind::Sql, failure.to_string()), |e| (e.kind(), e.message().to_owned()));
        Error::new(kind, format!("{place}, `{}`: {why}", brief(migration))).in_room(&self.id)
    }
}
