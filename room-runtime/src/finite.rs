//! Numbers that JSON does not have are refused where they are written. serde_json writes `null` for them, which no `f64`
//! reads back: a state with one `NaN` in it would be lost.

use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value whose serialisation fails on a float that is infinite or not a number, wherever it is in it.
pub(crate) struct Finite<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Serialize for Finite<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Checked(serializer))
    }
}

/// A serialiser, or a part of one, that lets everything through but such floats.
struct Checked<S>(S);

macro_rules! pass {
    ($($method:ident($($name:ident: $ty:ty),*);)*) => {
        $(fn $method(self, $($name: $ty),*) -> Result<S::Ok, S::Error> {
            self.0.$method($($name),*)
        })*
    };
}

macro_rules! begin {
    ($($method:ident($($name:ident: $ty:ty),*) -> $part:ident;)*) => {
        $(
            type $part = Checked<S::$part>;

            fn $method(self, $($name: $ty),*) -> Result<Self::$part, S::Error> {
                self.0.$method($($name),*).map(Checked)
            }
        )*
    };
}

impl<S: Serializer> Serializer for Checked<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    pass! {
        serialize_bool(v: bool);
        serialize_i8(v: i8);
        serialize_i16(v: i16);
        serialize_i32(v: i32);
        serialize_i64(v: i64);
        serialize_i128(v: i128);
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_u128(v: u128);
        serialize_char(v: char);
        serialize_str(v: &str);
        serialize_bytes(v: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    begin! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        if v.is_finite() { self.0.serialize_f32(v) } else { Err(not_in_json(v)) }
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        if v.is_finite() { self.0.serialize_f64(v) } else { Err(not_in_json(v)) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Finite(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Finite(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Finite(value))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

fn not_in_json<E: Error>(v: impl Display) -> E {
    E::custom(format_args!("it contains the number {v}, which JSON does not have"))
}

macro_rules! elements {
    ($($part:ident: $method:ident;)*) => {
        $(impl<S: $part> $part for Checked<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&Finite(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! fields {
    ($($part:ident)*) => {
        $(impl<S: $part> $part for Checked<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), S::Error> {
                self.0.serialize_field(key, &Finite(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.0.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Checked<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(&Finite(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Finite(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Clone, Serialize)]
    struct Unit;
    #[derive(Clone, Serialize)]
    struct Newtype(f64);
    #[derive(Clone, Serialize)]
    struct Pair(u8, f64);

    #[derive(Clone, Serialize)]
    enum Shape {
        Unit,
        Newtype(f64),
        Tuple(i8, f64),
        Struct { small: f32, text: &'static str },
    }

    #[derive(Clone, Serialize)]
    struct All {
        flag: bool,
        letter: char,
        numbers: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128),
        list: Vec<f64>,
        map: BTreeMap<u8, f64>,
        some: Option<f64>,
        none: Option<f64>,
        unit: (),
        unit_struct: Unit,
        newtype: Newtype,
        pair: Pair,
        shapes: Vec<Shape>,
        raw: Box<RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped: Option<u8>,
    }

    fn all() -> All {
        All {
            flag: true,
            letter: 'ß',
            numbers: (-1, -2, -3, -4, -5, 1, 2, 3, 4, u128::MAX),
            list: vec![0.5, -0.0],
            map: BTreeMap::from([(1, 1.5)]),
            some: Some(2.5),
            none: None,
            unit: (),
            unit_struct: Unit,
            newtype: Newtype(3.5),
            pair: Pair(1, 4.5),
            shapes: vec![
                Shape::Unit,
                Shape::Newtype(5.5),
                Shape::Tuple(1, 6.5),
                Shape::Struct { small: 7.5, text: "a\"b" },
            ],
            raw: RawValue::from_string("[1,  2]".to_owned()).expect("it is JSON"),
            skipped: None,
        }
    }

    #[test]
    fn everything_else_is_written_as_it_was() {
        let plain = serde_json::to_string(&all()).expect("encodes");
        assert_eq!(serde_json::to_string(&Finite(&all())).expect("encodes"), plain);
        // For people to read, as serde_json says of itself.
        let address = std::net::Ipv4Addr::LOCALHOST;
        assert_eq!(serde_json::to_string(&Finite(&address)).expect("encodes"), "\"127.0.0.1\"");
    }

    #[test]
    fn such_a_number_is_found_wherever_it_is() {
        let poisons: [fn(&mut All); 9] = [
            |all| all.list[1] = f64::NAN,
            |all| *all.map.get_mut(&1).expect("it is there") = f64::INFINITY,
            |all| all.some = Some(f64::NEG_INFINITY),
            |all| all.newtype.0 = f64::NAN,
            |all| all.pair.1 = f64::NAN,
            |all| all.shapes[1] = Shape::Newtype(f64::NAN),
            |all| all.shapes[2] = Shape::Tuple(1, f64::NAN),
            |all| all.shapes[3] = Shape::Struct { small: f32::NAN, text: "" },
            |all| all.shapes.push(Shape::Struct { small: f32::INFINITY, text: "" }),
        ];
        for (n, poison) in poisons.into_iter().enumerate() {
            let mut all = all();
            poison(&mut all);
            assert!(serde_json::to_string(&all).is_ok(), "serde_json has no objection");
            let error = serde_json::to_string(&Finite(&all)).expect_err("it is refused");
            assert!(error.to_string().contains("which JSON does not have"), "{n}: {error}");
        }
    }
}
