//! The room's own database: typed rows out, bound parameters in.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{
    Error, ErrorKind, Room, RoomContext, SqlValue,
    platform::{
        Platform,
        sql::{SqlRows, statement::Statement},
    },
};

/// The database of a room: SQLite, of its own, in the same storage as its state. From [`RoomContext::sql`].
///
/// Statements run at once and in order. What they change is durable together with the state that is changed in the same
/// stretch of a handler: a crash loses both or neither. A statement that has succeeded stands when the handler fails later, also
/// when its state cannot be stored. Inside the closure of an `update` a statement is
/// [`ErrorKind::NestedUpdate`]. In native tests it needs the feature `sqlite` of this crate. [`on_start`](crate::Room::on_start) is the place for `create table if not exists`.
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
/// The parameters are SQLite's: `?`, `?2`, `:name`, `@name` and `$name`, at most 100; values are given in the order of their
/// numbers, and there are as many as parameters. A text with several statements, divided by `;`, and a statement with
/// `returning` change everything or nothing. Transactions and conflicts that end in `rollback` are not available, and
/// neither are temporary tables, `attach`, `vacuum` and most pragmas.
///
/// # Values
/// Integers are exact in both directions. Cloudflare reads each value as a JavaScript number, so two rules hold everywhere:
/// - A REAL that is whole and below 2^53 is read as an INTEGER; a field of the type `f64` takes both.
/// - Rows with a number from 2^53 to 2^63 are read by a second run of the `select`. Rows of other statements, as of
///   `insert … returning`, cannot be read again: there such a number is an error, and the statement changes nothing. Return
///   `cast(id as text)` instead.
///
/// SQLite stores `NaN` as NULL, and keeps infinity. A text or a blob has at most 2 MB.
pub struct Sql<'a, R: Room> {
    ctx: &'a RoomContext<R>,
}

impl<'a, R: Room> Sql<'a, R> {
    pub(crate) fn new(ctx: &'a RoomContext<R>) -> Self {
        Sql { ctx }
    }

    /// Runs a statement, or several that are divided by `;`; of those, the last takes the parameters. Rows are dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] when the database refuses it, or when a parameter does not fit.
    pub fn exec(&self, statement: &str, parameters: impl SqlParameters) -> Result<(), Error> {
        self.run(statement, parameters).map(drop)
    }

    /// Returns the rows of a statement: each a struct with a field for each column, a tuple, or, for a single column, its
    /// value. Of several statements, these are the rows of the last.
    ///
    /// # Errors
    /// [`ErrorKind::Sql`] when the database refuses it, a parameter does not fit, or a row is not a `T`.
    pub fn query<T: DeserializeOwned>(&self, statement: &str, parameters: impl SqlParameters) -> Result<Vec<T>, Error> {
        let rows = self.run(statement, parameters)?;
        rows.read().map_err(|error| self.error(error))
    }

    /// The first row; `None` when there is none.
    ///
    /// # Errors
    /// Those of [`query`](Sql::query).
    pub fn query_one<T: DeserializeOwned>(
        &self,
        statement: &str,
        parameters: impl SqlParameters,
    ) -> Result<Option<T>, Error> {
        Ok(self.query(statement, parameters)?.into_iter().next())
    }

    fn run(&self, statement: &str, parameters: impl SqlParameters) -> Result<SqlRows, Error> {
        self.ctx.alive()?;
        self.ctx.host.not_updating()?;
        run(&*self.ctx.host.platform, statement, parameters).map_err(|error| self.error(error))
    }

    fn error(&self, message: String) -> Error {
        Error::new(ErrorKind::Sql, message).in_room(self.ctx.id())
    }
}

/// Runs a statement on the database of an object; the error is the text of one of the kind `sql`.
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

/// Says why a value is none for the database.
#[doc(hidden)]
#[derive(Debug)]
pub struct NoValue(String);

/// A parameter of a statement: everything that is `Into<SqlValue>`, as numbers, strings, bytes and options of them are, and
/// `u64`, `usize` and `isize`, of which a number that does not fit an `i64` is an error of the kind
/// [`Sql`](ErrorKind::Sql).
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
    fn parameters_are_what_they_look_like() {
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
