//! The room's own database: typed rows out, bound parameters in.

pub(crate) mod crossing;
pub(crate) mod statement;

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use self::statement::Statement;
use crate::{
    Error, ErrorKind, Room, RoomContext,
    platform::{Platform, Refusal},
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

/// A value in the database. [`Sql`] says how values are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SqlValue {
    /// `NULL`.
    Null,
    /// `INTEGER`.
    Integer(i64),
    /// `REAL`.
    Real(f64),
    /// `TEXT`.
    Text(String),
    /// `BLOB`.
    Blob(Vec<u8>),
}

/// What a statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SqlRows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<SqlValue>>,
}

impl SqlRows {
    /// The rows as values of a type.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, String> {
        let typed = self.rows.iter().map(|row| T::deserialize(Row { columns: &self.columns, values: row }));
        typed.collect::<Result<_, _>>().map_err(|error| format!("a row is not what was asked for: {error}"))
    }
}

/// The error of rows that cannot be read again, and why they cannot.
pub(crate) fn rounded(why: &str) -> Refusal {
    Refusal(format!(
        "the rows have a number from 2^53 to 2^63, which only a `select` reads exactly ({why}); return it as text: \
         `cast(id as text)`"
    ))
}

macro_rules! values {
    ($($ty:ty => $variant:ident($convert:expr);)*) => {
        $(impl From<$ty> for SqlValue {
            fn from(value: $ty) -> Self {
                SqlValue::$variant($convert(value))
            }
        })*
    };
}

values! {
    bool => Integer(i64::from);
    i8 => Integer(i64::from);
    i16 => Integer(i64::from);
    i32 => Integer(i64::from);
    i64 => Integer(|value| value);
    u8 => Integer(i64::from);
    u16 => Integer(i64::from);
    u32 => Integer(i64::from);
    f32 => Real(f64::from);
    f64 => Real(|value| value);
    &str => Text(str::to_owned);
    &String => Text(String::clone);
    String => Text(|value| value);
    &[u8] => Blob(<[u8]>::to_vec);
    Vec<u8> => Blob(|value| value);
}

impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(SqlValue::Null, Into::into)
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

/// One row, to be read as a struct, a tuple, or a single value.
struct Row<'r> {
    columns: &'r [String],
    values: &'r [SqlValue],
}

type RowError = serde::de::value::Error;

impl<'r> Row<'r> {
    fn only(self) -> Result<Value<'r>, RowError> {
        match self.values {
            [value] => Ok(Value(value)),
            values => Err(RowError::custom(format_args!("it has {} columns, one value was asked for", values.len()))),
        }
    }
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.only()?.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.only()?.deserialize_option(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        self.only()?.deserialize_bool(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_map(Fields { row: self, next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_map(Fields { row: self, next: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, RowError> {
        visitor.visit_seq(Fields { row: self, next: 0 })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_seq(Fields { row: self, next: 0 })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq unit unit_struct identifier
        ignored_any
    }
}

struct Fields<'r> {
    row: Row<'r>,
    next: usize,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = RowError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, RowError> {
        let name = self.row.columns.get(self.next);
        name.map(|name| seed.deserialize::<StrDeserializer<'_, RowError>>(name.as_str().into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, RowError> {
        let (name, value) = (&self.row.columns[self.next], &self.row.values[self.next]);
        self.next += 1;
        seed.deserialize(Value(value)).map_err(|error| RowError::custom(format_args!("column `{name}`: {error}")))
    }
}

impl<'de> SeqAccess<'de> for Fields<'_> {
    type Error = RowError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, RowError> {
        let Some(value) = self.row.values.get(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize(Value(value)).map(Some)
    }
}

struct Value<'r>(&'r SqlValue);

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = RowError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            SqlValue::Null => visitor.visit_unit(),
            SqlValue::Integer(value) => visitor.visit_i64(*value),
            SqlValue::Real(value) => visitor.visit_f64(*value),
            SqlValue::Text(text) => visitor.visit_str(text),
            SqlValue::Blob(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            SqlValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, RowError> {
        match self.0 {
            // SQLite has no other.
            SqlValue::Integer(0) => visitor.visit_bool(false),
            SqlValue::Integer(1) => visitor.visit_bool(true),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, RowError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, RowError> {
        match self.0 {
            SqlValue::Text(text) => {
                let text: StrDeserializer<'_, RowError> = text.as_str().into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq tuple tuple_struct map struct
        unit unit_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(columns: &[&str], values: &[SqlValue]) -> Result<T, String> {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        T::deserialize(Row { columns: &columns, values }).map_err(|error| error.to_string())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        id: u32,
        text: String,
        sure: bool,
        weight: Option<f64>,
        raw: Vec<u8>,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        LoudOne,
    }

    #[test]
    fn a_row_is_a_struct_a_tuple_or_a_value() {
        let columns = ["id", "text", "sure", "weight", "raw", "kind", "more"];
        let values = [
            SqlValue::Integer(7),
            SqlValue::Text("a".to_owned()),
            SqlValue::Integer(1),
            SqlValue::Null,
            SqlValue::Blob(vec![1, 255]),
            SqlValue::Text("loud_one".to_owned()),
            SqlValue::Real(0.5),
        ];
        let line =
            Line { id: 7, text: "a".to_owned(), sure: true, weight: None, raw: vec![1, 255], kind: Kind::LoudOne };
        assert_eq!(read(&columns, &values), Ok(line));
        assert_eq!(read(&columns[..2], &values[..2]), Ok((7_u8, "a".to_owned())));
        assert_eq!(read(&columns[..1], &values[..1]), Ok(7_i64));
        assert_eq!(read::<Option<f64>>(&columns[3..4], &values[3..4]), Ok(None));
        assert_eq!(read(&columns[4..5], &values[4..5]), Ok(vec![1_u8, 255]));
        assert_eq!(read(&columns[2..3], &values[2..3]), Ok(true));
    }

    #[test]
    fn what_a_row_is_not_is_said() {
        let row = [SqlValue::Integer(-1), SqlValue::Text("a".to_owned())];
        let error = read::<(u8, String)>(&["a", "b"], &row).expect_err("negative");
        assert!(error.contains("invalid value: integer `-1`, expected u8"), "{error}");
        assert_eq!(read::<i64>(&["a", "b"], &row), Err("it has 2 columns, one value was asked for".to_owned()));
        let error = read::<Line>(&["id"], &row[1..]).expect_err("a text");
        assert!(error.starts_with("column `id`: invalid type: string \"a\", expected u32"), "{error}");
    }

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
