//! The database of a room in a test: real SQLite, with the feature `sqlite`.

use crate::platform::{
    PlatformError,
    sql::{SqlRows, SqlValue, statement::Statement},
};

#[cfg(feature = "sqlite")]
pub(crate) use self::sqlite::Database;
#[cfg(not(feature = "sqlite"))]
pub(crate) use self::without::Database;

#[cfg(not(feature = "sqlite"))]
mod without {
    use super::{PlatformError, SqlRows, SqlValue, Statement};

    #[derive(Debug, Default)]
    pub(crate) struct Database(());

    impl Database {
        pub(crate) fn run(
            &self,
            _statement: &Statement<'_>,
            _parameters: &[SqlValue],
            _may_write: bool,
        ) -> Result<SqlRows, PlatformError> {
            let message = "a test of a room that uses `ctx.sql()` needs the feature `sqlite` of room-runtime: \
                           `[dev-dependencies] room-runtime = { version = \"…\", features = [\"sqlite\"] }`";
            Err(PlatformError(message.to_owned()))
        }

        pub(crate) fn read(
            &self,
            statement: &Statement<'_>,
            parameters: &[SqlValue],
            may_write: bool,
            _batch: &mut dyn FnMut(SqlRows) -> bool,
        ) -> Result<(), PlatformError> {
            self.run(statement, parameters, may_write).map(drop)
        }

        // A transaction without statements still covers the stored values.
        #[allow(clippy::unnecessary_wraps, reason = "the database of the feature can fail")]
        pub(crate) fn begin(&self) -> Result<(), PlatformError> {
            Ok(())
        }

        #[allow(clippy::unnecessary_wraps, reason = "the database of the feature can fail")]
        pub(crate) fn commit(&self) -> Result<(), PlatformError> {
            Ok(())
        }

        pub(crate) fn roll_back(&self) {}

        pub(crate) fn clear(&self) {}
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::cell::{RefCell, RefMut};

    use rusqlite::{
        Connection,
        config::DbConfig,
        hooks::{AuthAction, AuthContext, Authorization},
        limits::Limit,
        types::{ToSqlOutput, Value, ValueRef},
    };

    use super::{PlatformError, SqlRows, SqlValue, Statement};
    use crate::platform::sql::{crossing, rounded};

    /// The most rows of one batch of `Platform::read`.
    const BATCH_ROWS: usize = 256;

    /// The size from which a batch of `Platform::read` ends, in bytes. The row that reaches it is the last one.
    const BATCH_BYTES: usize = 262_144;

    /// A database that is opened at its first use. It outlives the room's incarnations, like all storage.
    #[derive(Debug, Default)]
    pub(crate) struct Database(RefCell<Option<Connection>>);

    impl Database {
        /// Runs a statement. Without `may_write`, as on a full disk, the statement must only read.
        pub(crate) fn run(
            &self,
            statement: &Statement<'_>,
            parameters: &[SqlValue],
            may_write: bool,
        ) -> Result<SqlRows, PlatformError> {
            let connection = self.open()?;
            // Workerd wraps the object's writes in a transaction, so this does too.
            connection.execute_batch("savepoint room").map_err(refusal)?;
            let rows = run(&connection, statement, parameters, may_write);
            if rows.is_err() && statement.is_atomic() {
                connection.execute_batch("rollback to room").map_err(refusal)?;
            }
            if let Err(error) = connection.execute_batch("release room") {
                // A deferred foreign key is checked here and may fail.
                connection.execute_batch("rollback to room; release room").map_err(refusal)?;
                return Err(refusal(error));
            }
            rows
        }

        /// Runs one statement like [`run`](Database::run), and passes its rows on in batches.
        pub(crate) fn read(
            &self,
            statement: &Statement<'_>,
            parameters: &[SqlValue],
            may_write: bool,
            batch: &mut dyn FnMut(SqlRows) -> bool,
        ) -> Result<(), PlatformError> {
            let connection = self.open()?;
            let text = statement.parts().last().unwrap_or_default();
            let mut prepared = prepare(&connection, text, may_write)?;
            let columns: Vec<_> = prepared.column_names().map(str::to_owned).collect();
            let mut is_checked = false;
            let mut cursor =
                prepared.query(rusqlite::params_from_iter(parameters.iter().map(bound))).map_err(refusal)?;
            loop {
                let (mut rows, mut size, mut failed) = (Vec::new(), 0, None);
                while rows.len() < BATCH_ROWS && size < BATCH_BYTES {
                    match next_row(&mut cursor, columns.len()) {
                        Ok(Some(row)) => {
                            size += row.iter().map(size_of_value).sum::<usize>();
                            rows.push(row);
                        }
                        Ok(None) => break,
                        Err(error) => {
                            failed = Some(refusal(error));
                            break;
                        }
                    }
                }
                if !is_checked && rows.iter().flatten().any(crossing::may_be_rounded) {
                    is_checked = true;
                    check_exact(&connection, text, columns.len())?;
                }
                let is_last = rows.is_empty();
                if !is_last && !batch(SqlRows { columns: columns.clone(), rows }) {
                    return Ok(());
                }
                match failed {
                    Some(error) => return Err(error),
                    None if is_last => return Ok(()),
                    None => {}
                }
            }
        }

        /// Begins a transaction, also inside of another.
        pub(crate) fn begin(&self) -> Result<(), PlatformError> {
            self.open()?.execute_batch("savepoint room").map_err(refusal)
        }

        /// Ends the innermost transaction. If this fails, it is still open.
        pub(crate) fn commit(&self) -> Result<(), PlatformError> {
            self.open()?.execute_batch("release room").map_err(refusal)
        }

        /// Rolls the innermost transaction back and ends it.
        pub(crate) fn roll_back(&self) {
            // This fails only if there is no transaction, and each one has begun.
            let _ = self.open().map(|connection| connection.execute_batch("rollback to room; release room"));
        }

        pub(crate) fn clear(&self) {
            self.0.take();
        }

        fn open(&self) -> Result<RefMut<'_, Connection>, PlatformError> {
            let mut connection = self.0.borrow_mut();
            if connection.is_none() {
                *connection = Some(open().map_err(refusal)?);
            }
            RefMut::filter_map(connection, Option::as_mut).map_err(|_| PlatformError("there is no database".to_owned()))
        }
    }

    fn refusal(error: rusqlite::Error) -> PlatformError {
        PlatformError(error.to_string())
    }

    /// Opens a database with workerd's limits that refuses the same statements as workerd.
    fn open() -> rusqlite::Result<Connection> {
        let mut connection = Connection::open_in_memory()?;
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, 2_200_000),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
            (Limit::SQLITE_LIMIT_COLUMN, 100),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
            (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
        ] {
            connection.set_limit(limit, value)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.authorizer(Some(|context: AuthContext<'_>| match allows(&context) {
            true => Authorization::Allow,
            false => Authorization::Deny,
        }))?;
        Ok(connection)
    }

    /// The functions that workerd allows. It refuses SQLite's other functions.
    const FUNCTIONS: &str = "abs changes char coalesce concat concat_ws format glob hex ifnull iif instr \
        last_insert_rowid length like likelihood likely lower ltrim max min nullif octet_length printf quote random \
        randomblob replace round rtrim sign substr substring total_changes trim typeof unhex unicode unlikely upper \
        zeroblob date time datetime julianday unixepoch strftime timediff current_date current_time current_timestamp \
        avg count group_concat string_agg sum total row_number rank dense_rank percent_rank cume_dist ntile lag lead \
        first_value last_value nth_value acos acosh asin asinh atan atan2 atanh ceil cos cosh degrees exp floor ln log \
        log2 mod pi pow radians sin sinh sqrt tan tanh trunc json jsonb json_array jsonb_array json_array_length \
        json_extract jsonb_extract -> ->> json_insert jsonb_insert json_object jsonb_object json_patch jsonb_patch \
        json_remove jsonb_remove json_replace jsonb_replace json_set jsonb_set json_type json_valid json_quote \
        json_group_array jsonb_group_array json_group_object jsonb_group_object json_each json_tree match highlight \
        bm25 snippet sqlite_rename_column sqlite_rename_table sqlite_rename_test sqlite_drop_column \
        sqlite_rename_quotefix";

    /// The pragmas without a value or with a boolean one.
    const SWITCHES: [&str; 7] = [
        "case_sensitive_like",
        "foreign_keys",
        "defer_foreign_keys",
        "ignore_check_constraints",
        "legacy_alter_table",
        "recursive_triggers",
        "reverse_unordered_selects",
    ];

    /// Returns whether workerd allows this action.
    fn allows(context: &AuthContext<'_>) -> bool {
        use AuthAction as Action;
        let in_main = match (&context.action, context.database_name) {
            (Action::AlterTable { database_name, .. }, _) => *database_name == "main",
            (Action::Read { .. } | Action::Update { .. }, Some("temp")) => true,
            (_, database) => database.is_none_or(|database| database == "main"),
        };
        in_main
            && match context.action {
                Action::Select | Action::Recursive | Action::Analyze { .. } => true,
                Action::CreateTable { table_name: name }
                | Action::DropTable { table_name: name }
                | Action::AlterTable { table_name: name, .. }
                | Action::Insert { table_name: name }
                | Action::Delete { table_name: name }
                | Action::Read { table_name: name, .. }
                | Action::Update { table_name: name, .. }
                | Action::CreateView { view_name: name }
                | Action::DropView { view_name: name }
                | Action::Reindex { index_name: name } => is_own(name),
                Action::CreateIndex { index_name: name, table_name }
                | Action::DropIndex { index_name: name, table_name }
                | Action::CreateTrigger { trigger_name: name, table_name }
                | Action::DropTrigger { trigger_name: name, table_name } => is_own(name) && is_own(table_name),
                Action::CreateVtable { table_name, module_name } | Action::DropVtable { table_name, module_name } => {
                    let is_known = ["fts5", "fts5vocab"].iter().any(|known| known.eq_ignore_ascii_case(module_name));
                    is_known && is_own(table_name)
                }
                Action::Function { function_name } => FUNCTIONS.split_whitespace().any(|known| known == function_name),
                Action::Pragma { pragma_name, pragma_value } => allows_pragma(pragma_name, pragma_value),
                // These are the savepoints of this file. Those of a room were refused by the parser.
                Action::Savepoint { savepoint_name, .. } => savepoint_name == "room",
                _ => false,
            }
    }

    /// True if the name is not reserved by Cloudflare.
    fn is_own(name: &str) -> bool {
        !name.starts_with("_cf_")
    }

    fn allows_pragma(name: &str, value: Option<&str>) -> bool {
        let is_number = |value: &str| value.parse::<i32>().is_ok();
        match name {
            "table_list" => true,
            "data_version" => value.is_none(),
            "table_info" | "table_xinfo" | "foreign_key_list" | "index_info" | "index_list" | "index_xinfo" => {
                value.is_some_and(is_own)
            }
            "foreign_key_check" => value.is_none_or(is_own),
            "quick_check" => value.is_none_or(|value| is_number(value) || is_own(value)),
            "optimize" => value.is_none_or(is_number),
            switch if SWITCHES.contains(&switch) => value.is_none_or(|value| {
                let value = value.trim_matches(['\'', '"']).to_ascii_lowercase();
                ["true", "false", "yes", "no", "on", "off", "1", "0"].iter().any(|known| value.starts_with(known))
            }),
            _ => false,
        }
    }

    /// Runs every statement of a text, binds the parameters to the last one, and returns its rows.
    fn run(
        connection: &Connection,
        statement: &Statement<'_>,
        parameters: &[SqlValue],
        may_write: bool,
    ) -> Result<SqlRows, PlatformError> {
        let mut rows = SqlRows::default();
        let mut parts = statement.parts().peekable();
        while let Some(part) = parts.next() {
            let bound = if parts.peek().is_none() { parameters } else { &[] };
            let mut prepared = prepare(connection, part, may_write)?;
            rows = run_one(&mut prepared, bound).map_err(refusal)?;
        }
        if rows.rows.iter().flatten().any(crossing::may_be_rounded) {
            check_exact(connection, statement.parts().last().unwrap_or_default(), rows.columns.len())?;
        }
        Ok(rows)
    }

    fn prepare<'c>(
        connection: &'c Connection,
        text: &str,
        may_write: bool,
    ) -> Result<rusqlite::Statement<'c>, PlatformError> {
        let prepared = connection.prepare(text).map_err(refusal)?;
        if !may_write && !prepared.readonly() {
            return Err(PlatformError("the disk is full".to_owned()));
        }
        Ok(prepared)
    }

    /// Checks that a statement can be read again. Cloudflare does that with rows that have large numbers, so the statement
    /// must allow it here too.
    fn check_exact(connection: &Connection, statement: &str, columns: usize) -> Result<(), PlatformError> {
        let exact = Statement::read_exactly(statement, columns, true);
        connection.prepare(&exact).map(drop).map_err(|error| rounded(&error.to_string()))
    }

    fn run_one(statement: &mut rusqlite::Statement<'_>, parameters: &[SqlValue]) -> rusqlite::Result<SqlRows> {
        let columns: Vec<_> = statement.column_names().map(str::to_owned).collect();
        let mut cursor = statement.query(rusqlite::params_from_iter(parameters.iter().map(bound)))?;
        let mut rows = Vec::new();
        while let Some(row) = next_row(&mut cursor, columns.len())? {
            rows.push(row);
        }
        Ok(SqlRows { columns, rows })
    }

    fn next_row(cursor: &mut rusqlite::Rows<'_>, columns: usize) -> rusqlite::Result<Option<Vec<SqlValue>>> {
        let Some(row) = cursor.next()? else { return Ok(None) };
        (0..columns).map(|column| row.get_ref(column).map(value_of)).collect::<Result<_, _>>().map(Some)
    }

    /// The size of a value in a batch. `room.js` counts a text in UTF-16.
    fn size_of_value(value: &SqlValue) -> usize {
        match value {
            SqlValue::Text(text) => 2 * text.len(),
            SqlValue::Blob(bytes) => bytes.len(),
            SqlValue::Null | SqlValue::Integer(_) | SqlValue::Real(_) => 8,
        }
    }

    fn value_of(value: ValueRef<'_>) -> SqlValue {
        match value {
            ValueRef::Null => SqlValue::Null,
            ValueRef::Integer(value) => SqlValue::Integer(value),
            ValueRef::Real(value) => crossing::real(value),
            ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
        }
    }

    /// The form in which a value is bound. An `impl ToSql` would make rusqlite a part of the public API.
    fn bound(value: &SqlValue) -> ToSqlOutput<'_> {
        match value {
            SqlValue::Null => ToSqlOutput::Owned(Value::Null),
            SqlValue::Integer(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            SqlValue::Real(value) => ToSqlOutput::Owned(Value::Real(*value)),
            SqlValue::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            SqlValue::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        }
    }
}
