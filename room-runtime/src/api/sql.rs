//! The room's own database: SQL statements with bound parameters, and rows as typed values.

use std::{fmt, ops::ControlFlow};

use serde::de::DeserializeOwned;

use crate::{
    Error, ErrorKind, Failure, Room, RoomContext, SqlValue,
    platform::{
        Platform,
        sql::{SqlRows, statement::Statement},
    },
};

/// The SQLite database of a room, from [`RoomContext::sql`].
///
/// The database belongs to the room and is a part of the same storage as its state. Create and change its tables in
/// [`on_start`](crate::Room::on_start), with [`migrate`](Sql::migrate). In native tests the database needs the feature
/// `sqlite` of this crate.
///
/// Statements run at once and in order. The changes of statements and the changes of the state become durable together,
/// if no await is between them: a crash loses both or neither. The changes of a successful statement stay if the
/// handler fails later, also if the state cannot be stored; [`transaction`](Sql::transaction) rolls them back. A
/// statement inside the closure of an `update` or of a [`for_each`](Sql::for_each) is an [`ErrorKind::NestedUpdate`].
///
/// ```
/// # use room_runtime::{Failure, Room, RoomContext};
/// #[derive(serde::Deserialize)]
/// struct Line { user: String, text: String }
///
/// # fn example<R: Room>(ctx: &RoomContext<R>) -> Result<(), Failure> {
/// ctx.sql().exec("insert into lines (user, text) values (?, ?)", ("alice", "hello"))?;
/// let lines: Vec<Line> = ctx.sql().query("select user, text from lines order by id desc limit ?", (100,))?;
/// let count: Option<u64> = ctx.sql().query_one("select count(*) from lines", ())?;
/// # Ok(())
/// # }
/// ```
///
/// # Statements
/// Parameters have SQLite's forms `?`, `?2`, `:name`, `@name` and `$name`. A statement has at most 100. The values are
/// given in the order of the parameters' numbers, and there must be one value for each parameter. A string of several
/// statements, separated by `;`, is atomic, and so is a statement with `returning`. Transactions and conflicts that end
/// in `rollback` are not available, and neither are temporary tables, `attach`, `vacuum` and most pragmas.
///
/// # Values
/// Integers are exact in both directions. Cloudflare reads each value as a JavaScript number, so two rules hold on
/// every platform:
/// - A REAL that is whole and below 2^53 is read as an INTEGER; a field of the type `f64` accepts both.
/// - A `select` runs a second time if a row has a number from 2^53 to 2^63. The rows of other statements, for example
///   of `insert … returning`, cannot be read again: such a number is an error there, and the statement changes nothing.
///   Return `cast(id as text)` instead.
///
/// SQLite stores `NaN` as NULL and keeps infinity. A text or a blob has at most 2 MB.
pub struct Sql<'a, R: Room> {
    ctx: &'a RoomContext<R>,
}

impl<'a, R: Room> Sql<'a, R> {
    pub(crate) fn new(ctx: &'a RoomContext<R>) -> Self {
        Sql { ctx }
    }

    /// Runs one statement, or several separated by `;`, and ignores the rows.
    ///
    /// The parameters belong to the last statement.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] if the database refuses a statement, or if a parameter does not fit.
    pub fn exec(&self, statement: &str, parameters: impl SqlParameters) -> Result<(), Error> {
        self.run(statement, parameters).map(drop)
    }

    /// Returns the rows of a statement.
    ///
    /// Each row is a struct with a field for each column, a tuple, or the value of the only column. Of several
    /// statements, the rows of the last one are returned.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] if the database refuses a statement, a parameter does not fit, or a row is not a `T`.
    pub fn query<T: DeserializeOwned>(&self, statement: &str, parameters: impl SqlParameters) -> Result<Vec<T>, Error> {
        let rows = self.run(statement, parameters)?;
        rows.read().map_err(|error| self.error(error))
    }

    /// Returns the first row of a statement; `None` if there is none.
    ///
    /// # Errors
    /// The errors of [`query`](Sql::query).
    pub fn query_one<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: impl SqlParameters,
    ) -> Result<Option<T>, Error> {
        Ok(self.query(statement, parameters)?.into_iter().next())
    }

    /// Calls a closure for each row of a `select`, without all rows in memory.
    ///
    /// At most 256 rows, or rows of 256 KiB and the row that exceeds them, are in memory at a time. Each row has the
    /// forms of [`query`](Sql::query). An `Ok(())` of the closure continues, and so does an `Ok` of
    /// [`ControlFlow::Continue`]; `Ok(ControlFlow::Break(()))` ends the reading with success.
    ///
    /// The closure cannot await, and it cannot use the database, because SQLite does not define the rows of a table that
    /// changes while it is read. Each statement, transaction and purge inside it is an [`ErrorKind::NestedUpdate`]. It
    /// can change the state, send and schedule.
    ///
    /// The statement runs a second time, from its start, if a row has a [large number](Sql#values). Give it an `order by`
    /// if the table can have such numbers: a statement with another order in its second run is an error.
    ///
    /// ```
    /// # use room_runtime::{Failure, Room, RoomContext};
    /// # fn example<R: Room>(ctx: &RoomContext<R>) -> Result<(), Failure> {
    /// let mut letters = 0;
    /// ctx.sql().for_each("select text from lines order by id", (), |text: String| {
    ///     letters += text.len();
    ///     Ok(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error of the closure, which ends the reading.
    /// - The errors of [`query`](Sql::query). An error in a later row comes after the closure has seen the rows before it, on Cloudflare without the last of them.
    /// - [`ErrorKind::Sql`] for several statements, and for a statement with `returning`.
    pub fn for_each<T: DeserializeOwned, O: RowOutcome>(
        &self,
        statement: &str,
        parameters: impl SqlParameters,
        mut each: impl FnMut(T) -> O,
    ) -> Result<(), Failure> {
        self.usable()?;
        let mut failure = None;
        let mut batch = |rows: SqlRows| {
            let outcome = rows.read_each().try_for_each(|row| {
                let row = row.map_err(|message| Some(self.error(message).into()))?;
                match each(row).into_flow() {
                    Ok(ControlFlow::Continue(())) => Ok(()),
                    Ok(ControlFlow::Break(())) => Err(None),
                    Err(failure) => Err(Some(failure)),
                }
            });
            outcome.map_err(|ended| failure = ended).is_ok()
        };
        let done = read(self.ctx, statement, parameters, &mut batch);
        match failure {
            Some(failure) => Err(failure),
            None => Ok(done.map_err(|message| self.error(message))?),
        }
    }

    /// Runs a closure in a transaction: if it fails, everything that it stored is rolled back.
    ///
    /// A rollback undoes the statements, the changes of the state, the alarms that the closure has set or cancelled, and
    /// its [durable calls](crate::SiblingCall::durably).
    /// If the closure succeeds, its changes of the state are stored together with its statements. A statement that fails
    /// has no effect; if the closure handles the error and returns `Ok`, its other changes stay. A crash inside the
    /// closure rolls back too.
    ///
    /// Changes of the state before the transaction are stored first, and stay. The closure cannot await. It cannot do
    /// what a rollback could not undo: to send, to close a connection, to purge the room and to change a peer's data is
    /// an [`ErrorKind::NestedUpdate`]. Do that after the transaction. Work that the closure
    /// [spawns](RoomContext::spawn) runs also after a rollback.
    ///
    /// Transactions nest: the failure of an inner one rolls back only the changes of the inner one, if the outer closure
    /// handles the error.
    ///
    /// ```
    /// # use room_runtime::{Failure, Room, RoomContext};
    /// # fn example<R: Room<State = i64>>(ctx: &RoomContext<R>, from: &str, to: &str, amount: i64) -> Result<(), Failure> {
    /// ctx.sql().transaction(|sql| {
    ///     sql.exec("update accounts set money = money - ? where name = ?", (amount, from))?;
    ///     sql.exec("update accounts set money = money + ? where name = ?", (amount, to))?;
    ///     ctx.update(|transfers| *transfers += 1)?;
    ///     if sql.query_one("select money from accounts where name = ?", (from,))? < Some(0) {
    ///         return Err(ctx.refuse("there is not enough money"));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error of the closure.
    /// - The errors of storing changed state, before the closure and after it.
    /// - [`ErrorKind::NestedUpdate`] inside the closure of an `update` or of a [`for_each`](Sql::for_each).
    /// - [`ErrorKind::Storage`] if the transaction could not be stored.
    pub fn transaction<T>(&self, work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.ctx.alive()?;
        let (mut work, mut value) = (Some(work), None);
        self.ctx.host.transaction(&mut || {
            // The platform runs it once.
            if let Some(work) = work.take() {
                value = Some(work(self)?);
            }
            Ok(())
        })?;
        value
            .ok_or_else(|| Error::new(ErrorKind::Platform, "the transaction did not run").in_room(self.ctx.id()).into())
    }

    /// Runs the migrations of the database that have not run in this room. Returns their number.
    ///
    /// Each entry of the list runs once in the life of a room, in order, and is stored together with the record that it
    /// ran. An entry is one statement or several, separated by `;`, without parameters. Call this in
    /// [`on_start`](crate::Room::on_start). It reads one value from storage if there is nothing to do.
    ///
    /// Add new entries at the end, and keep the text of each entry that was deployed. A room has one list. A purge
    /// deletes the tables and the record.
    ///
    /// ```
    /// # use room_runtime::{Failure, Room, RoomContext};
    /// # fn on_start<R: Room>(ctx: &RoomContext<R>) -> Result<(), Failure> {
    /// ctx.sql().migrate(&[
    ///     "create table lines (id integer primary key, user text not null, text text not null)",
    ///     "alter table lines add column at_ms integer; create index lines_by_user on lines (user)",
    /// ])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Sql`] if the database refuses an entry. The entry is rolled back, and the entries before it stay.
    /// - [`ErrorKind::Sql`] if an entry that has run in this room is missing or has another text; then nothing runs. This
    ///   also refuses an older deploy, whose code may not fit the newer tables.
    /// - [`ErrorKind::Storage`] and [`ErrorKind::Decode`] if the record cannot be read or stored.
    /// - [`ErrorKind::NestedUpdate`] inside the closure of an `update` or of a [`for_each`](Sql::for_each).
    ///
    /// The error names the entry.
    pub fn migrate(&self, migrations: &[&str]) -> Result<usize, Error> {
        self.ctx.alive()?;
        self.ctx.host.migrate_database(migrations)
    }

    fn usable(&self) -> Result<(), Error> {
        self.ctx.alive()?;
        self.ctx.host.not_updating()?;
        self.ctx.host.not_reading()
    }

    fn run(&self, statement: &str, parameters: impl SqlParameters) -> Result<SqlRows, Error> {
        self.usable()?;
        run(&*self.ctx.host.platform, statement, parameters).map_err(|error| self.error(error))
    }

    fn error(&self, message: String) -> Error {
        Error::new(ErrorKind::Sql, message).in_room(self.ctx.id())
    }
}

/// Runs a statement on the database of an object. The error is the message of an error of the kind `sql`.
pub(crate) fn run(
    platform: &(impl Platform + ?Sized),
    statement: &str,
    parameters: impl SqlParameters,
) -> Result<SqlRows, String> {
    let mut values = Vec::new();
    parameters.append_to(&mut values).map_err(|error| error.0)?;
    let statement = Statement::read(statement, values.len())?;
    Platform::sql(platform, &statement, &values).map_err(|refusal| refusal.0)
}

/// Runs a statement and passes its rows on in batches, until the closure returns false.
fn read<R: Room>(
    ctx: &RoomContext<R>,
    statement: &str,
    parameters: impl SqlParameters,
    batch: &mut dyn FnMut(SqlRows) -> bool,
) -> Result<(), String> {
    let mut values = Vec::new();
    parameters.append_to(&mut values).map_err(|error| error.0)?;
    let statement = Statement::read(statement, values.len())?;
    if statement.is_atomic() {
        return Err(
            "the rows of one `select` are read one by one; use `query` for several statements, and for `returning`"
                .to_owned(),
        );
    }
    let done = ctx.host.read_rows(|platform| Platform::read(platform, &statement, &values, batch));
    done.map_err(|refusal| refusal.0)
}

/// The result of the closure of a [`for_each`](Sql::for_each): `Result<(), Failure>`, or
/// `Result<ControlFlow<()>, Failure>` if it can end the reading early.
///
/// ```
/// use room_runtime::prelude::*;
/// use std::ops::ControlFlow;
///
/// #[room]
/// pub mod chat {
///     # use room_runtime::prelude::*;
///     # #[derive(Default)]
///     # pub struct State {}
///     # pub struct Connection {}
///     # pub enum Event { Find { word: String } }
///     # pub enum Broadcast { Found { text: Option<String> } }
///     // The room's schemas are here.
///     # use std::ops::ControlFlow;
///     # pub fn on_start(ctx: &Ctx) -> Result {
///     #     ctx.sql().migrate(&["create table lines (text text); insert into lines values ('a cat'), ('a dog')"])?;
///     #     Ok(())
///     # }
///     pub fn on_event(ctx: &Ctx, event: Event) -> Result {
///         let Event::Find { word } = event;
///         let mut found = None;
///         ctx.sql().for_each("select text from lines", (), |text: String| {
///             if text.contains(&word) {
///                 found = Some(text);
///                 return Ok(ControlFlow::Break(()));
///             }
///             Ok(ControlFlow::Continue(()))
///         })?;
///         ctx.broadcast(&Broadcast::Found { text: found })?;
///         Ok(())
///     }
/// }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// # #[cfg(feature = "sqlite")]
/// # fn main() {
/// #     let ada = room_runtime::testing::TestRoom::<chat::Room>::new("main").connect(Upgrade::new(chat::Connection {}));
/// #     ada.send(&chat::Event::Find { word: "cat".into() });
/// #     assert_eq!(ada.receive(), Some(chat::Broadcast::Found { text: Some("a cat".into()) }));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "the closure of a `for_each` cannot return `{Self}`",
    label = "expected `Result<(), Failure>` or `Result<ControlFlow<()>, Failure>`",
    note = "end the closure with `Ok(())`, or with `Ok(ControlFlow::Break(()))` to end the reading"
)]
pub trait RowOutcome {
    #[doc(hidden)]
    fn into_flow(self) -> Result<ControlFlow<()>, Failure>;
}

impl RowOutcome for Result<(), Failure> {
    fn into_flow(self) -> Result<ControlFlow<()>, Failure> {
        self.map(ControlFlow::Continue)
    }
}

impl RowOutcome for Result<ControlFlow<()>, Failure> {
    fn into_flow(self) -> Result<ControlFlow<()>, Failure> {
        self
    }
}

impl<R: Room> fmt::Debug for Sql<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql").finish_non_exhaustive()
    }
}

macro_rules! checked_values {
    ($($ty:ty)*) => {
        $(
            impl TryFrom<$ty> for SqlValue {
                type Error = std::num::TryFromIntError;

                fn try_from(value: $ty) -> Result<Self, Self::Error> {
                    i64::try_from(value).map(SqlValue::Integer)
                }
            }

            impl SqlParameter for $ty {
                fn into_value(self) -> Result<SqlValue, NoValue> {
                    SqlValue::try_from(self).map_err(|_| NoValue(format!(
                        "{self}: an INTEGER is from {} to {}", i64::MIN, i64::MAX
                    )))
                }
            }

            impl SqlParameter for Option<$ty> {
                fn into_value(self) -> Result<SqlValue, NoValue> {
                    self.map_or(Ok(SqlValue::Null), SqlParameter::into_value)
                }
            }
        )*
    };
}

checked_values! { isize u64 usize }

/// The reason why a value is not a value of the database.
#[doc(hidden)]
#[derive(Debug)]
pub struct NoValue(String);

/// A parameter of a statement.
///
/// It is any type that is `Into<SqlValue>`, such as numbers, strings, bytes and options of them, or `u64`, `usize` or
/// `isize`. A number of these three types that does not fit an `i64` is an error of the kind [`Sql`](ErrorKind::Sql).
///
/// A type of your own becomes a parameter by `Into<SqlValue>`:
///
/// ```
/// use room_runtime::{Error, Room, RoomContext, SqlValue};
///
/// struct UserId(u32);
///
/// impl From<UserId> for SqlValue {
///     fn from(id: UserId) -> Self {
///         id.0.into()
///     }
/// }
///
/// /// Deletes the lines of a user that are older than this time.
/// fn forget<R: Room>(ctx: &RoomContext<R>, user: UserId, before_ms: u64) -> Result<(), Error> {
///     ctx.sql().exec("delete from lines where user = ? and at_ms < ?", (user, before_ms))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of a statement",
    note = "a parameter is a number, a string, bytes, or an `Option` of one; for a type of your own, implement \
            `From<{Self}> for SqlValue`"
)]
pub trait SqlParameter {
    #[doc(hidden)]
    fn into_value(self) -> Result<SqlValue, NoValue>;
}

#[diagnostic::do_not_recommend]
impl<T: Into<SqlValue>> SqlParameter for T {
    fn into_value(self) -> Result<SqlValue, NoValue> {
        Ok(self.into())
    }
}

/// The parameters of a statement: `()`, a tuple of up to eight [`SqlParameter`]s, or a `Vec<SqlValue>`.
///
/// ```
/// use room_runtime::{Error, Room, RoomContext, SqlParameters, SqlValue};
///
/// /// Counts the lines that satisfy a condition.
/// fn count<R: Room>(ctx: &RoomContext<R>, condition: &str, parameters: impl SqlParameters) -> Result<u64, Error> {
///     let count = ctx.sql().query_one(&format!("select count(*) from lines where {condition}"), parameters)?;
///     Ok(count.unwrap_or_default())
/// }
///
/// # fn example<R: Room>(ctx: &RoomContext<R>, users: Vec<SqlValue>) -> Result<(), Error> {
/// let all = count(ctx, "true", ())?;
/// let of_ada = count(ctx, "user = ? and at_ms > ?", ("ada", 1_700_000_000_000_u64))?;
/// // As many parameters as there are users:
/// let marks = vec!["?"; users.len()].join(", ");
/// let of_these = count(ctx, &format!("user in ({marks})"), users)?;
/// # Ok(())
/// # }
/// ```
pub trait SqlParameters {
    #[doc(hidden)]
    fn append_to(self, values: &mut Vec<SqlValue>) -> Result<(), NoValue>;
}

impl SqlParameters for Vec<SqlValue> {
    fn append_to(self, values: &mut Vec<SqlValue>) -> Result<(), NoValue> {
        values.extend(self);
        Ok(())
    }
}

macro_rules! tuples {
    ($(($($name:ident)*))*) => {
        $(impl<$($name: SqlParameter),*> SqlParameters for ($($name,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn append_to(self, values: &mut Vec<SqlValue>) -> Result<(), NoValue> {
                let ($($name,)*) = self;
                $(
                    let value = $name.into_value();
                    values.push(value.map_err(|NoValue(why)| NoValue(format!("parameter {} is {why}", values.len() + 1)))?);
                )*
                Ok(())
            }
        })*
    };
}

tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_types_of_their_values() {
        let mut values = Vec::new();
        let parameters = (true, -1_i8, 7_u32, 0.5, "a", Some(String::from("b")), None::<i64>, vec![1_u8]);
        parameters.append_to(&mut values).expect("values");
        let text = |text: &str| SqlValue::Text(text.to_owned());
        let expected = [
            SqlValue::Integer(1),
            SqlValue::Integer(-1),
            SqlValue::Integer(7),
            SqlValue::Real(0.5),
            text("a"),
            text("b"),
            SqlValue::Null,
            SqlValue::Blob(vec![1]),
        ];
        assert_eq!(values, expected);
        let json = serde_json::to_string(&values).expect("encodes");
        assert_eq!(serde_json::from_str::<Vec<SqlValue>>(&json).expect("decodes"), expected);
    }

    #[test]
    fn large_types_fit_when_their_value_does() {
        let mut values = Vec::new();
        let parameters = (5_u64, 7_usize, -9_isize, Some(1_u64), None::<usize>, i64::MAX as u64);
        parameters.append_to(&mut values).expect("values");
        let expected = [5, 7, -9, 1].map(SqlValue::Integer);
        assert_eq!((&values[..4], &values[4..]), (&expected[..], &[SqlValue::Null, SqlValue::Integer(i64::MAX)][..]));
        let NoValue(why) = (1, i64::MAX as u64 + 1).append_to(&mut Vec::new()).expect_err("too large");
        let expected =
            "parameter 2 is 9223372036854775808: an INTEGER is from -9223372036854775808 to 9223372036854775807";
        assert_eq!(why, expected);
        assert!(SqlValue::try_from(u64::MAX).is_err());
        assert_eq!(SqlValue::try_from(3_usize), Ok(SqlValue::Integer(3)));
    }
}
