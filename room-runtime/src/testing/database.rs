//! The database of a room in a test: SQLite itself, with the feature `sqlite`.

use crate::{
    platform::Refusal,
    sql::{SqlRows, SqlValue},
};

#[cfg(feature = "sqlite")]
pub(crate) use self::sqlite::Database;
#[cfg(not(feature = "sqlite"))]
pub(crate) use self::without::Database;

#[cfg(not(feature = "sqlite"))]
mod without {
    use super::{Refusal, SqlRows, SqlValue};

    #[derive(Debug, Default)]
    pub(crate) struct Database(());

    impl Database {
        pub(crate) fn run(&self, _statement: &str, _parameters: &[SqlValue]) -> Result<SqlRows, Refusal> {
            let message = "a test of a room that uses `ctx.sql()` needs the feature `sqlite` of room-runtime: \
                           `[dev-dependencies] room-runtime = { version = \"…\", features = [\"sqlite\"] }`";
            Err(Refusal(message.to_owned()))
        }

        pub(crate) fn clear(&self) {}
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::cell::RefCell;

    use rusqlite::{
        Batch, Connection,
        fallible_iterator::FallibleIterator,
        types::{ToSqlOutput, Value, ValueRef},
    };

    use super::{Refusal, SqlRows, SqlValue};

    /// Made when it is first used; it outlives the room, like all storage.
    #[derive(Debug, Default)]
    pub(crate) struct Database(RefCell<Option<Connection>>);

    impl Database {
        pub(crate) fn run(&self, statement: &str, parameters: &[SqlValue]) -> Result<SqlRows, Refusal> {
            let mut connection = self.0.borrow_mut();
            let connection = match &mut *connection {
                Some(connection) => connection,
                empty => empty.insert(Connection::open_in_memory().map_err(refusal)?),
            };
            run(connection, statement, parameters).map_err(refusal)
        }

        pub(crate) fn clear(&self) {
            self.0.take();
        }
    }

    fn refusal(error: rusqlite::Error) -> Refusal {
        Refusal(error.to_string())
    }

    /// Like the platform, it runs every statement of the text, binds to the last, and gives the rows of the last.
    fn run(connection: &Connection, text: &str, parameters: &[SqlValue]) -> Result<SqlRows, rusqlite::Error> {
        let mut batch = Batch::new(connection, text);
        let mut next = batch.next()?;
        let mut rows = SqlRows::default();
        while let Some(mut statement) = next {
            next = batch.next()?;
            let bound: &[SqlValue] = if next.is_none() { parameters } else { &[] };
            rows.columns = statement.column_names().map(str::to_owned).collect();
            let width = rows.columns.len();
            let mut cursor = statement.query(rusqlite::params_from_iter(bound))?;
            rows.rows.clear();
            while let Some(row) = cursor.next()? {
                let values = (0..width).map(|column| row.get_ref(column).map(value_of));
                rows.rows.push(values.collect::<Result<_, _>>()?);
            }
        }
        Ok(rows)
    }

    fn value_of(value: ValueRef<'_>) -> SqlValue {
        match value {
            ValueRef::Null => SqlValue::Null,
            ValueRef::Integer(value) => SqlValue::Integer(value),
            ValueRef::Real(value) => SqlValue::Real(value),
            ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
        }
    }

    impl rusqlite::ToSql for SqlValue {
        fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
            Ok(ToSqlOutput::Owned(match self {
                SqlValue::Null => Value::Null,
                SqlValue::Integer(value) => Value::Integer(*value),
                SqlValue::Real(value) => Value::Real(*value),
                SqlValue::Text(text) => Value::Text(text.clone()),
                SqlValue::Blob(bytes) => Value::Blob(bytes.clone()),
            }))
        }
    }
}
