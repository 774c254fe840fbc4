//! The object's database: values, statements and rows.

pub(crate) mod crossing;
mod rows;
pub(crate) mod statement;

use serde::{Deserialize, Serialize};

pub(crate) use self::rows::SqlRows;
use super::PlatformError;

/// A value in the database. [`Sql`](crate::Sql) documents how values are read.
///
/// SQLite has these five storage classes and no others, so a `match` of them is complete.
///
/// ```
/// use room_runtime::SqlValue;
///
/// /// A table with any columns, as text.
/// fn line(row: &[SqlValue]) -> String {
///     let cells = row.iter().map(|value| match value {
///         SqlValue::Null => "null".to_owned(),
///         SqlValue::Integer(number) => number.to_string(),
///         SqlValue::Real(number) => number.to_string(),
///         SqlValue::Text(text) => text.clone(),
///         SqlValue::Blob(bytes) => format!("{} bytes", bytes.len()),
///     });
///     cells.collect::<Vec<_>>().join(" | ")
/// }
///
/// let row = [SqlValue::from(7), "ada".into(), None::<f64>.into(), vec![1_u8, 2].into()];
/// assert_eq!(line(&row), "7 | ada | null | 2 bytes");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum SqlValue {
    /// An SQL `NULL`.
    Null,
    /// An SQL `INTEGER`.
    Integer(i64),
    /// An SQL `REAL`.
    Real(f64),
    /// An SQL `TEXT`.
    Text(String),
    /// An SQL `BLOB`.
    Blob(Vec<u8>),
}

/// Makes the error for rows with rounded numbers that cannot be read again, with the reason.
pub(crate) fn rounded(why: &str) -> PlatformError {
    PlatformError(format!(
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
