//! The room's own database: SQL statements with bound parameters, and rows as typed values.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{
    Error, ErrorKind, Room, RoomContext, SqlValue,
    platform::{
        Platform,
        sql::{SqlRows, statement::Statement},
    },
};

/// The SQLite database of a room, from [`RoomContext::sql`].
///
/// The database belongs to the room and is a part of the same storage as its state. Use
/// [`on_start`](crate::Room::on_start) for `create table if not exists`. In native tests the database needs the feature
/// `sqlite` of this crate.
///
/// Statements run at once and in order. The changes of statements and the changes of the state become durable together,
/// if no await is between them: a crash loses both or neither. The changes of a successful statement stay if the
/// handler fails later, also if the state cannot be stored. A statement inside the closure of an `update` is an
/// [`ErrorKind::NestedUpdate`].
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

    fn run(&self, statement: &str, parameters: impl SqlParameters) -> Result<SqlRows, Error> {
        self.ctx.alive()?;
        self.ctx.host.not_updating()?;
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
