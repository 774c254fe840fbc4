//! The encoding of SQL values between wasm and JavaScript.
//!
//! Any number of values crosses in four flat parts. Bytes and numbers are copied unchanged, so every value is exact.

use std::borrow::Cow;

use super::{SqlRows, SqlValue, statement::Statement};

const NULL: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const BLOB: u8 = 3;

/// From this absolute value on, several integers round to the same `f64`.
const ROUNDED: u64 = 1 << 53;

/// Encoded values, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Crossing {
    /// The kind of each value.
    pub(crate) kinds: Vec<u8>,
    /// The numbers, and the length of each blob.
    pub(crate) numbers: Vec<f64>,
    /// The texts, as a JSON array. For rows the column names come first.
    pub(crate) texts: String,
    /// The blobs, concatenated.
    pub(crate) bytes: Vec<u8>,
}

impl Crossing {
    /// Encodes parameters. The statement of [`with_casts`](Statement::with_casts) casts the INTEGER ones back.
    pub(crate) fn of(parameters: &[SqlValue]) -> Crossing {
        let mut crossing = Crossing::default();
        let mut texts = Vec::new();
        for value in parameters {
            crossing.kinds.push(match value {
                SqlValue::Null => NULL,
                SqlValue::Integer(value) if value.unsigned_abs() < ROUNDED => {
                    crossing.numbers.push(*value as f64);
                    NUMBER
                }
                SqlValue::Integer(value) => {
                    texts.push(Cow::Owned(value.to_string()));
                    TEXT
                }
                SqlValue::Real(value) => {
                    crossing.numbers.push(*value);
                    NUMBER
                }
                SqlValue::Text(text) => {
                    texts.push(text.into());
                    TEXT
                }
                SqlValue::Blob(bytes) => {
                    crossing.numbers.push(bytes.len() as f64);
                    crossing.bytes.extend_from_slice(bytes);
                    BLOB
                }
            });
        }
        if !texts.is_empty() {
            // Serializing strings to JSON cannot fail.
            crossing.texts = serde_json::to_string(&texts).unwrap_or_default();
        }
        crossing
    }

    /// Decodes rows; with `is_exact`, the rows of [`Statement::exact`]. `None` if the encoding is invalid.
    pub(crate) fn into_rows(self, columns: Vec<String>, texts: Vec<String>, is_exact: bool) -> Option<SqlRows> {
        let (mut numbers, mut texts, mut bytes) = (self.numbers.into_iter(), texts.into_iter(), &*self.bytes);
        let mut values = Vec::with_capacity(self.kinds.len());
        for kind in self.kinds {
            values.push(match kind {
                NULL => SqlValue::Null,
                NUMBER => real(numbers.next()?),
                TEXT if is_exact => {
                    let text = texts.next()?;
                    match text.strip_prefix('i') {
                        Some(integer) => SqlValue::Integer(integer.parse().ok()?),
                        None => SqlValue::Text(text.strip_prefix('t')?.to_owned()),
                    }
                }
                TEXT => SqlValue::Text(texts.next()?),
                BLOB => {
                    let (blob, rest) = bytes.split_at_checked(numbers.next()? as usize)?;
                    bytes = rest;
                    SqlValue::Blob(blob.to_vec())
                }
                _ => return None,
            });
        }
        let mut rows = Vec::with_capacity(values.len() / columns.len().max(1));
        let mut values = values.into_iter();
        while values.len() > 0 {
            rows.push(values.by_ref().take(columns.len().max(1)).collect());
        }
        let columns = columns.into_iter().map(Statement::without_casts).collect();
        Some(SqlRows { columns, rows })
    }
}

/// Decodes a number of a row. Cloudflare reads every number as `f64`: a whole one below 2^53 becomes an INTEGER.
pub(crate) fn real(value: f64) -> SqlValue {
    let is_whole = value.fract() == 0.0 && value.abs() < ROUNDED as f64 && (value != 0.0 || value.is_sign_positive());
    if is_whole { SqlValue::Integer(value as i64) } else { SqlValue::Real(value) }
}

/// Returns whether Cloudflare may round this value, or round another value to it. `room.js` has the same rule.
#[cfg(any(test, feature = "sqlite"))]
pub(crate) fn may_be_rounded(value: &SqlValue) -> bool {
    match value {
        SqlValue::Integer(value) => value.unsigned_abs() >= ROUNDED,
        SqlValue::Real(value) => (ROUNDED as f64..=(1_u64 << 63) as f64).contains(&value.abs()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_cross_in_four_parts() {
        let text = |text: &str| SqlValue::Text(text.to_owned());
        let values = [
            SqlValue::Null,
            SqlValue::Integer(-5),
            SqlValue::Integer(i64::MIN),
            SqlValue::Integer(1 << 53),
            SqlValue::Real(f64::INFINITY),
            text("a\0\"ä"),
            SqlValue::Blob(vec![]),
            SqlValue::Blob(vec![0, 255]),
        ];
        let crossing = Crossing::of(&values);
        assert_eq!(crossing.kinds, [0, 1, 2, 2, 1, 2, 3, 3]);
        assert_eq!(crossing.numbers, [-5.0, f64::INFINITY, 0.0, 2.0]);
        assert_eq!(crossing.texts, r#"["-9223372036854775808","9007199254740992","a\u0000\"ä"]"#);
        assert_eq!(crossing.bytes, [0, 255]);
        assert_eq!(Crossing::of(&[SqlValue::Null]).texts, "");
    }

    #[test]
    fn rows_cross_in_four_parts() {
        let crossing = Crossing {
            kinds: vec![0, 1, 2, 3, 1, 2],
            numbers: vec![0.5, 2.0, 7.0],
            texts: String::new(),
            bytes: vec![1, 2],
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (columns, texts) =
            (names(&["a", "(+cast(?/**/as integer))", "c"]), names(&["t1", "i-9223372036854775808"]));
        let first = [SqlValue::Null, SqlValue::Real(0.5), SqlValue::Text("t1".to_owned())];
        let blob = SqlValue::Blob(vec![1, 2]);
        let rows = crossing.clone().into_rows(columns.clone(), texts.clone(), false).expect("rows");
        assert_eq!(rows.columns, ["a", "?", "c"]);
        let second = [blob.clone(), SqlValue::Integer(7), SqlValue::Text("i-9223372036854775808".to_owned())];
        assert_eq!(rows.rows, [first, second]);
        let exact = crossing.clone().into_rows(columns.clone(), texts, true).expect("rows");
        assert_eq!(
            (&exact.rows[0][2], &exact.rows[1][2]),
            (&SqlValue::Text("1".to_owned()), &SqlValue::Integer(i64::MIN))
        );
        assert_eq!(crossing.into_rows(columns, Vec::new(), false), None);
        assert_eq!(Crossing::default().into_rows(Vec::new(), Vec::new(), false), Some(SqlRows::default()));
    }

    #[test]
    fn whole_numbers_below_2_53_are_integers() {
        let large = (1_u64 << 53) as f64;
        assert_eq!([real(1.0), real(-1.0), real(0.0)], [1, -1, 0].map(SqlValue::Integer));
        assert_eq!(
            [real(large - 1.0), real(1.0 - large)],
            [1, -1].map(|sign| SqlValue::Integer(sign * ((1 << 53) - 1)))
        );
        for value in [0.5, -0.0, large, -large, 1e300, f64::INFINITY] {
            assert!(matches!(real(value), SqlValue::Real(same) if same.to_bits() == value.to_bits()), "{value}");
        }
    }

    #[test]
    fn integers_that_may_be_rounded_are_detected() {
        let (edge, large) = (1_i64 << 53, (1_u64 << 53) as f64);
        let rounded = |value| may_be_rounded(&value);
        assert_eq!(
            [edge - 1, 1 - edge, edge, -edge, i64::MAX, i64::MIN].map(|value| rounded(SqlValue::Integer(value))),
            [false, false, true, true, true, true]
        );
        let reals = [large - 1.0, large, -large, i64::MAX as f64, 1e19, f64::INFINITY];
        assert_eq!(reals.map(|value| rounded(SqlValue::Real(value))), [false, true, true, true, false, false]);
    }
}
