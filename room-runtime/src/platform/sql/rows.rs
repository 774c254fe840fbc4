//! Deserializes rows as structs, tuples or single values.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::SqlValue;

/// The result of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SqlRows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<SqlValue>>,
}

impl SqlRows {
    /// Deserializes the rows as values of a type.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, String> {
        self.read_each().collect()
    }

    /// Deserializes one row after the other.
    pub(crate) fn read_each<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, String>> {
        self.rows.iter().map(|row| {
            let row = Row { columns: &self.columns, values: row };
            T::deserialize(row).map_err(|error| format!("a row is not what was asked for: {error}"))
        })
    }
}

/// One row, deserialized as a struct, a tuple or a single value.
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
        let (Some(name), Some(value)) = (self.row.columns.get(self.next), self.row.values.get(self.next)) else {
            return Err(RowError::custom("the row has no more columns"));
        };
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
            // SQLite has no boolean type: 0 and 1 stand for false and true.
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
    use serde::Deserialize;

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
    fn an_error_names_the_mismatch_of_a_row() {
        let row = [SqlValue::Integer(-1), SqlValue::Text("a".to_owned())];
        let error = read::<(u8, String)>(&["a", "b"], &row).expect_err("negative");
        assert!(error.contains("invalid value: integer `-1`, expected u8"), "{error}");
        assert_eq!(read::<i64>(&["a", "b"], &row), Err("it has 2 columns, one value was asked for".to_owned()));
        let error = read::<Line>(&["id"], &row[1..]).expect_err("a text");
        assert!(error.starts_with("column `id`: invalid type: string \"a\", expected u32"), "{error}");
    }
}
