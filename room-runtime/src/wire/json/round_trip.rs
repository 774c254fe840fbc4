//! A serializer that writes only values that read back from JSON unchanged, and refuses every other value.
//!
//! serde_json writes more than it reads. It writes a number that JSON does not have as `null`, `Some(None)` like
//! `None`, any depth although it reads 127 levels, and a key twice. A room that stored such a state could never read it
//! again, and no later deploy could repair it.
//!
//! Two faults are not detected, because serde does not show them to a serializer. The first is a type that does not
//! read back for any value, for example a type with a field that is skipped and has no default. The second is a map
//! with numbers as keys in a type that serde buffers (`untagged` and serde's own tagged enums).

use std::{any::type_name, collections::HashSet, fmt::Display, hash::BuildHasher};

use serde::ser::{
    Error, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::{Limits, types::brief::brief, wire::json::depth};

/// The name that serde_json gives to its `RawValue` in a serializer: the text inside is written unchanged.
pub(crate) const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A value that is written only if it reads back unchanged.
pub(crate) struct RoundTrip<'a, T: ?Sized> {
    value: &'a T,
    at: At,
}

/// The position of a value in the text.
#[derive(Clone, Copy)]
struct At {
    /// The number of levels that can still begin.
    left: u8,
    limit: u8,
    /// True inside a `Some`, where `null` would read back as `None`.
    in_some: bool,
    /// True if the next string is the text of a `RawValue`.
    is_raw: bool,
}

impl<'a, T: ?Sized> RoundTrip<'a, T> {
    pub(crate) const fn new(value: &'a T) -> Self {
        RoundTrip::within(value, Limits::MAX_DEPTH)
    }

    /// Limits the nesting of a value to this number of levels.
    pub(crate) const fn within(value: &'a T, limit: u8) -> Self {
        RoundTrip { value, at: At { left: limit, limit, in_some: false, is_raw: false } }
    }
}

impl<T: Serialize + ?Sized> Serialize for RoundTrip<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checked { inner: serializer, at: self.at })
    }
}

impl At {
    fn of<T: ?Sized>(self, value: &T) -> RoundTrip<'_, T> {
        RoundTrip { value, at: self }
    }

    /// Moves this number of levels further in.
    fn inside<E: Error>(self, levels: u8) -> Result<At, E> {
        match self.left.checked_sub(levels) {
            Some(left) => Ok(At { left, limit: self.limit, in_some: false, is_raw: false }),
            None => Err(self.too_deep()),
        }
    }

    #[cold]
    fn too_deep<E: Error>(self) -> E {
        E::custom(format_args!("it is nested more than {} levels deep", self.limit))
    }

    /// Checks that `null` can be written here.
    fn null<E: Error>(self) -> Result<(), E> {
        if self.in_some { Err(lost_some()) } else { Ok(()) }
    }

    fn raw<E: Error>(self, text: &str) -> Result<(), E> {
        if self.in_some && text.trim() == "null" {
            return Err(lost_some());
        }
        if depth::exceeds(text, self.left.into()) { Err(self.too_deep()) } else { Ok(()) }
    }
}

#[cold]
fn lost_some<E: Error>() -> E {
    E::custom(
        "it contains a `Some` of something that JSON writes as `null`, like `Some(None)` or `Some(())`, which would be \
         read as `None`: use an enum, or a `Vec`",
    )
}

#[cold]
fn not_in_json<E: Error>(v: impl Display) -> E {
    E::custom(format_args!("it contains the number {v}, which JSON does not have"))
}

#[cold]
fn too_large<E: Error>(v: impl Display) -> E {
    E::custom(format_args!("it contains the number {v}, of more than 64 bits: store it as text"))
}

/// A serializer, or a part of one, that refuses values that do not read back.
struct Checked<S> {
    inner: S,
    at: At,
}

macro_rules! pass {
    ($($method:ident($($name:ident: $ty:ty),*);)*) => {
        $(fn $method(self, $($name: $ty),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        })*
    };
}

macro_rules! null {
    ($($method:ident($($name:ident: $ty:ty),*);)*) => {
        $(fn $method(self, $($name: $ty),*) -> Result<S::Ok, S::Error> {
            self.at.null()?;
            self.inner.$method($($name),*)
        })*
    };
}

macro_rules! begin {
    ($($method:ident($($name:ident: $ty:ty),*) -> $part:ident, $levels:literal;)*) => {
        $(
            type $part = Checked<S::$part>;

            fn $method(self, $($name: $ty),*) -> Result<Self::$part, S::Error> {
                let at = self.at.inside($levels)?;
                Ok(Checked { inner: self.inner.$method($($name),*)?, at })
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
        serialize_u8(v: u8);
        serialize_u16(v: u16);
        serialize_u32(v: u32);
        serialize_u64(v: u64);
        serialize_char(v: char);
        serialize_bytes(v: &[u8]);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    null! {
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
    }

    begin! {
        serialize_seq(len: Option<usize>) -> SerializeSeq, 1;
        serialize_tuple(len: usize) -> SerializeTuple, 1;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct, 1;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant, 2;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant, 2;
    }

    type SerializeStruct = Checked<S::SerializeStruct>;
    type SerializeMap = Entries<S::SerializeMap>;

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        let at = if name == RAW_VALUE { At { is_raw: true, ..self.at } } else { self.at.inside(1)? };
        Ok(Checked { inner: self.inner.serialize_struct(name, len)?, at })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let at = self.at.inside(1)?;
        let keys = Keys { seen: HashSet::new(), kinds: if len.is_some() { 0 } else { TEXT } };
        Ok(Entries { inner: self.inner.serialize_map(len)?, at, keys })
    }

    fn serialize_str(self, v: &str) -> Result<S::Ok, S::Error> {
        if self.at.is_raw {
            self.at.raw(v)?;
        }
        self.inner.serialize_str(v)
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        if v.is_finite() { self.inner.serialize_f32(v) } else { Err(not_in_json(v)) }
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        if v.is_finite() { self.inner.serialize_f64(v) } else { Err(not_in_json(v)) }
    }

    // serde reads `flatten`, `untagged` and internally tagged enums from a buffer, and that buffer holds integers of at
    // most 64 bits.

    fn serialize_i128(self, v: i128) -> Result<S::Ok, S::Error> {
        let fits = i64::try_from(v).is_ok() || u64::try_from(v).is_ok();
        if fits { self.inner.serialize_i128(v) } else { Err(too_large(v)) }
    }

    fn serialize_u128(self, v: u128) -> Result<S::Ok, S::Error> {
        if u64::try_from(v).is_ok() { self.inner.serialize_u128(v) } else { Err(too_large(v)) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&At { in_some: true, ..self.at }.of(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &self.at.of(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let at = self.at.inside(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &at.of(value))
    }

    /// Passes a list of bytes on as a whole: there is nothing in it to check, and the codec recognizes it by its type.
    fn collect_seq<I>(self, list: I) -> Result<S::Ok, S::Error>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        if is_byte(type_name::<I::Item>()) {
            self.at.inside(1)?;
            return self.inner.collect_seq(list);
        }
        let list = list.into_iter();
        let mut parts = self.serialize_seq(exact_len(&list))?;
        for element in list {
            parts.serialize_element(&element)?;
        }
        parts.end()
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Returns whether a type of this name is a byte, or a reference to one: an element of a `Vec<u8>`.
pub(crate) fn is_byte(name: &str) -> bool {
    name.trim_start_matches('&') == "u8"
}

/// The length of a list; `None` if it is known only at the end, as for a filter.
pub(crate) fn exact_len(list: &impl Iterator) -> Option<usize> {
    match list.size_hint() {
        (low, Some(high)) if low == high => Some(low),
        _ => None,
    }
}

macro_rules! elements {
    ($($part:ident: $method:ident;)*) => {
        $(impl<S: $part> $part for Checked<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.inner.$method(&self.at.of(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
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
                self.inner.serialize_field(key, &self.at.of(value))
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(key)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

/// A map with the keys that it has so far.
struct Entries<M> {
    inner: M,
    at: At,
    keys: Keys,
}

impl<M: SerializeMap> SerializeMap for Entries<M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), M::Error> {
        key.serialize(Key { map: &mut self.inner, keys: &mut self.keys })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), M::Error> {
        self.inner.serialize_value(&self.at.of(value))
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.inner.end()
    }
}

/// The check that no key of a map occurs twice. Two different keys can have the same text. A map that is flattened into
/// a struct can have a key of the struct itself, which is an error to read.
struct Keys {
    /// The hashes of the keys, under a random key of this set. A collision by chance is not expected in the lifetime of
    /// all rooms.
    seen: HashSet<u64>,
    /// [`TEXT`], [`NUMBERS`] or both.
    kinds: u8,
}

const TEXT: u8 = 1;
const NUMBERS: u8 = 2;

impl Keys {
    /// Adds a key. JSON has only strings as keys, so a number as a key reads back only if its reader knows that it must
    /// be a number. serde's buffers do not know it. A map of unknown length is a struct with a flattened field, and a
    /// map with keys of both kinds is an enum with a tag: serde buffers both.
    fn add<E: Error>(&mut self, key: &str, kind: u8) -> Result<(), E> {
        self.kinds |= kind;
        if self.kinds == TEXT | NUMBERS {
            return Err(E::custom(format_args!(
                "it contains a map with the key {key}, no text, flattened or beside keys that are text, which would not \
                 be read: use keys that are text"
            )));
        }
        let hash = self.seen.hasher().hash_one(key);
        if self.seen.insert(hash) {
            return Ok(());
        }
        let key = brief(format_args!("{key:?}"));
        Err(E::custom(format_args!("it contains a map with the key {key} twice, of which only one would be read")))
    }
}

/// A key that is written as text.
struct Key<'a, M> {
    map: &'a mut M,
    keys: &'a mut Keys,
}

impl<M: SerializeMap> Key<'_, M> {
    fn text(self, key: &str) -> Result<(), M::Error> {
        self.keys.add(key, TEXT)?;
        self.map.serialize_key(key)
    }

    fn number<T: Serialize>(self, key: &T, text: &str) -> Result<(), M::Error> {
        self.keys.add(text, NUMBERS)?;
        self.map.serialize_key(key)
    }

    fn no_key<T>(self) -> Result<T, M::Error> {
        Err(M::Error::custom("it contains a map with a key that is neither text nor a number"))
    }
}

macro_rules! number_keys {
    ($($method:ident($ty:ty);)*) => {
        $(fn $method(self, v: $ty) -> Result<(), M::Error> {
            self.number(&v, &v.to_string())
        })*
    };
}

macro_rules! no_keys {
    ($($method:ident($($name:ident: $ty:ty),*) -> $part:ty;)*) => {
        $(fn $method(self, $($name: $ty),*) -> Result<$part, M::Error> {
            $(let _ = $name;)*
            self.no_key()
        })*
    };
}

impl<M: SerializeMap> Serializer for Key<'_, M> {
    type Ok = ();
    type Error = M::Error;
    type SerializeSeq = Impossible<(), M::Error>;
    type SerializeTuple = Impossible<(), M::Error>;
    type SerializeTupleStruct = Impossible<(), M::Error>;
    type SerializeTupleVariant = Impossible<(), M::Error>;
    type SerializeMap = Impossible<(), M::Error>;
    type SerializeStruct = Impossible<(), M::Error>;
    type SerializeStructVariant = Impossible<(), M::Error>;

    number_keys! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
    }

    no_keys! {
        serialize_bytes(v: &[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(name: &'static str) -> ();
        serialize_seq(len: Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(len: usize) -> Self::SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> Self::SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> Self::SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> Self::SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> Self::SerializeStructVariant;
    }

    fn serialize_f32(self, v: f32) -> Result<(), M::Error> {
        if v.is_finite() { self.number(&v, &v.to_string()) } else { Err(not_in_json(v)) }
    }

    fn serialize_f64(self, v: f64) -> Result<(), M::Error> {
        if v.is_finite() { self.number(&v, &v.to_string()) } else { Err(not_in_json(v)) }
    }

    fn serialize_char(self, v: char) -> Result<(), M::Error> {
        self.text(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), M::Error> {
        self.text(v)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), M::Error> {
        self.text(variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), M::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), M::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), M::Error> {
        self.no_key()
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), M::Error> {
        self.text(&value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Debug};

    use serde::{Deserialize, Serialize, de::DeserializeOwned};
    use serde_json::{Value, json, value::RawValue};

    use super::*;
    use crate::{
        ErrorKind, PeerId, PeerInfo,
        wire::{self, Attachment, Reply},
    };

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
            numbers: (-1, -2, -3, -4, -5, 1, 2, 3, 4, u64::MAX.into()),
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
        assert_eq!(serde_json::to_string(&RoundTrip::new(&all())).expect("encodes"), plain);
        // serde_json counts as a format for human readers, so the address is text.
        let address = std::net::Ipv4Addr::LOCALHOST;
        assert_eq!(serde_json::to_string(&RoundTrip::new(&address)).expect("encodes"), "\"127.0.0.1\"");
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
            let error = serde_json::to_string(&RoundTrip::new(&all)).expect_err("it is refused");
            assert!(error.to_string().contains("which JSON does not have"), "{n}: {error}");
        }
    }

    /// Checks that a value is written and reads back unchanged.
    #[track_caller]
    fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let bytes = wire::encode_value(&value, "it").unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(wire::decode_value::<T>(&bytes, "it").expect("decodes"), value);
    }

    /// Checks that a value is refused for this reason. Its JSON must be unreadable or read back changed.
    #[track_caller]
    fn is_refused<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, reason: &str) {
        let error = wire::encode_value(&value, "it").expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(error.message().contains(reason), "{error}");
        if let Ok(text) = serde_json::to_string(&value)
            && let Ok(read) = serde_json::from_str::<T>(&text)
        {
            assert_ne!(read, value);
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Empty;
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Wrapper<T>(T);

    #[test]
    fn some_of_nothing_is_refused() {
        const REASON: &str = "it contains a `Some` of something that JSON writes as `null`";
        reads_back::<Option<Option<u8>>>(None);
        reads_back(Some(Some(7)));
        is_refused(Some(None::<u8>), REASON);
        is_refused(Some(Some(None::<u8>)), REASON);
        is_refused(Some(()), REASON);
        is_refused(Some(Empty), REASON);
        is_refused(Some(Wrapper(())), REASON);
        is_refused(Some(Wrapper(None::<u8>)), REASON);
        is_refused(Some(Box::new(Value::Null)), REASON);
        is_refused(vec![(Some(Some(1)), 1), (Some(None), 2)], REASON);
        is_refused(BTreeMap::from([("a", Some(()))].map(|(key, value)| (key.to_owned(), value))), REASON);
        for value in [json!(1), json!([null]), json!({ "a": null })] {
            reads_back(Some(value));
        }
        // `null` by itself is allowed.
        reads_back((None::<u8>, (), Empty, Wrapper(()), Value::Null, vec![None, Some(1)], Some(vec![None::<u8>])));
        let null = RawValue::from_string("null".to_owned()).expect("JSON");
        assert!(wire::encode_value(&null, "it").is_ok());
        assert!(wire::encode_value(&Some(null), "it").is_err());
        let list = RawValue::from_string("[null]".to_owned()).expect("JSON");
        assert!(wire::encode_value(&Some(list), "it").is_ok());
    }

    #[test]
    fn floats_keep_their_value_to_the_last_bit() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            // This is a linear congruential generator; its upper half is random enough.
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let small = f32::from_bits((bits >> 32) as u32);
            let double = f64::from_bits(bits);
            if small.is_finite() && double.is_finite() {
                let stored = wire::encode_value(&(double, small), "it").expect("encodes");
                let (read, read_small): (f64, f32) = wire::decode_value(&stored, "it").expect("decodes");
                assert_eq!((read.to_bits(), read_small.to_bits()), (double.to_bits(), small.to_bits()), "{double:e}");
            }
        }
        for edge in [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::MIN, 1e16, 0.1 + 0.2, 122.416_294_033_786_58]
        {
            let stored = wire::encode_value(&edge, "it").expect("encodes");
            assert_eq!(
                wire::decode_value::<f64>(&stored, "it").expect("decodes").to_bits(),
                edge.to_bits(),
                "{edge:e}"
            );
        }
    }

    #[test]
    fn integers_have_64_bits() {
        reads_back((i64::MIN, i64::MAX, u64::MAX, i128::from(i64::MIN), i128::from(u64::MAX), u128::from(u64::MAX)));
        for error in [
            wire::encode_value(&(u128::from(u64::MAX) + 1), "it"),
            wire::encode_value(&(i128::from(u64::MAX) + 1), "it"),
            wire::encode_value(&(i128::from(i64::MIN) - 1), "it"),
        ]
        .map(|stored| stored.expect_err("it is refused"))
        {
            assert_eq!(error.kind(), ErrorKind::Encode);
            assert!(error.message().contains("of more than 64 bits: store it as text"), "{error}");
        }
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Side {
        Left,
        Right,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Float(f64);

    impl Eq for Float {}

    impl PartialOrd for Float {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Float {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.total_cmp(&other.0)
        }
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(String),
    }

    /// A type whose values can differ while their text is the same.
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(from = "String", into = "String")]
    struct Name(u8, String);

    impl Clone for Name {
        fn clone(&self) -> Self {
            Name(self.0, self.1.clone())
        }
    }

    impl From<Name> for String {
        fn from(Name(_, text): Name) -> String {
            text
        }
    }

    impl From<String> for Name {
        fn from(text: String) -> Name {
            Name(0, text)
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat<K: Ord> {
        own: u8,
        #[serde(flatten)]
        #[serde(bound(serialize = "K: Serialize", deserialize = "K: Deserialize<'de>"))]
        rest: BTreeMap<K, u8>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct OnlyFlat {
        #[serde(flatten)]
        rest: BTreeMap<u8, u8>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Texts(BTreeMap<String, u8>),
        Numbers(BTreeMap<u8, u8>),
    }

    #[test]
    fn keys_that_would_not_be_read_are_refused() {
        const TWICE: &str = "twice, of which only one would be read";
        const NO_TEXT: &str = "use keys that are text";
        fn map<K: Ord, const N: usize>(keys: [K; N]) -> BTreeMap<K, u8> {
            keys.into_iter().zip(1..).collect()
        }
        fn texts<const N: usize>(keys: [&str; N]) -> BTreeMap<String, u8> {
            map(keys.map(str::to_owned))
        }
        reads_back(texts(["", "a", "A", "\"", "\u{0}", "1"]));
        reads_back((map([1_u8, 2]), map([i64::MIN, -1, i64::MAX]), map([u128::MAX]), map([true, false])));
        reads_back((map(['a', 'ß']), map([Side::Left, Side::Right]), map([Some(1_u8)]), map([Wrapper(7_u32)])));
        reads_back(map([Float(0.1), Float(-0.0), Float(0.0), Float(1e300), Float(122.416_294_033_786_58)]));
        reads_back(map([Either::Text("a".to_owned()), Either::Text("b".to_owned())]));
        reads_back(map([Name(0, "a".to_owned()), Name(0, "b".to_owned())]));
        reads_back(Flat { own: 1, rest: texts(["a", "b"]) });
        reads_back(Tagged::Texts(texts(["a", "b"])));
        reads_back(vec![texts(["a"]), texts(["a"])]);

        is_refused(map([Name(1, "a".to_owned()), Name(2, "a".to_owned())]), TWICE);
        is_refused(Flat { own: 1, rest: texts(["a", "own"]) }, TWICE);
        is_refused(Tagged::Texts(texts(["type"])), TWICE);
        is_refused(map([Either::Number(1), Either::Text("1".to_owned())]), NO_TEXT);
        is_refused(Flat { own: 1, rest: map([1_u8]) }, NO_TEXT);
        is_refused(Flat { own: 1, rest: map([true]) }, NO_TEXT);
        is_refused(OnlyFlat { rest: map([1]) }, NO_TEXT);
        is_refused(Tagged::Numbers(map([1])), NO_TEXT);
        is_refused(map([Float(f64::NAN)]), "which JSON does not have");
        is_refused(map([(1, 2)]), "neither text nor a number");
        is_refused(map([None::<u8>]), "neither text nor a number");
        // The text of a key is any text that a client chooses.
        let long = wire::encode_value(
            &Flat { own: 1, rest: map([Name(1, "x".repeat(9_999)), Name(2, "x".repeat(9_999))]) },
            "it",
        );
        assert!(long.expect_err("it is refused").message().len() < 1_000);
    }

    #[test]
    fn bytes_text_and_empty_values_read_back() {
        reads_back((vec![0_u8, 255], "\0\u{1}\n\"\\/ä\u{2028}\u{feff}\u{10ffff}".to_owned(), '\u{10ffff}'));
        reads_back((Vec::<u8>::new(), BTreeMap::<u8, u8>::new(), String::new(), ((), ())));
        reads_back((bytes::Bytes::new().to_vec(), std::time::Duration::MAX, std::net::Ipv6Addr::LOCALHOST));
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Nest(Vec<Nest>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shell {
        End,
        Newtype(Box<Shell>),
        Tuple(u8, Box<Shell>),
        Struct { inner: Box<Shell> },
    }

    fn nest(depth: usize) -> Nest {
        (1..depth).fold(Nest::default(), |inner, _| Nest(vec![inner]))
    }

    #[test]
    fn values_are_refused_only_if_nested_too_deeply() {
        const REASON: &str = "it is nested more than 120 levels deep";
        let limit = usize::from(Limits::MAX_DEPTH);
        reads_back(nest(limit));
        reads_back(Some(nest(limit)));
        reads_back(vec![nest(limit - 1), nest(3), nest(limit - 1)]);
        for depth in [limit + 1, 127, 128, 5_000] {
            let error = wire::encode_value(&nest(depth), "it").expect_err("it is refused");
            assert_eq!(error.kind(), ErrorKind::Encode);
            assert!(error.message().contains(REASON), "{error}");
        }

        type Wrap = fn(Box<Shell>) -> Shell;
        let wraps: [Wrap; 3] = [Shell::Newtype, |inner| Shell::Tuple(1, inner), |inner| Shell::Struct { inner }];
        for (wrap, levels) in wraps.into_iter().zip([1, 2, 2]) {
            let shell = |count| (0..count).fold(Shell::End, |inner, _| wrap(Box::new(inner)));
            reads_back(shell(limit / levels));
            is_refused(shell(limit / levels + 8), REASON);
            assert!(wire::encode_value(&shell(limit / levels + 1), "it").is_err());
        }
        let raw = |depth| RawValue::from_string("[".repeat(depth) + &"]".repeat(depth)).expect("JSON");
        assert!(wire::encode_value(&[raw(limit - 1)], "it").is_ok());
        assert!(wire::encode_value(&[raw(limit)], "it").is_err());
    }

    #[test]
    fn an_accepted_value_is_read_inside_the_rooms_own_wrappers() {
        let limit = usize::from(Limits::MAX_DEPTH);
        let (id, data) = (PeerId::from("a"), nest(limit - 1));
        let kept = wire::encode_value(&Attachment(&id, 0, &data, "x", 0, None), "the peer's data").expect("encodes");
        let Attachment(_, _, read, _, _, _) =
            wire::decode_value::<Attachment<PeerId, Nest, String>>(&kept, "it").expect("decodes");
        assert_eq!(read, data);
        assert!(wire::encode_value(&Attachment(&id, 0, nest(limit), "x", 0, None), "the peer's data").is_err());

        let reply = wire::encode_reply(&Reply::Ok(vec![PeerInfo {
            id,
            tags: Vec::new(),
            connected_at: 0,
            topics: Vec::new(),
            data,
        }]));
        let read = wire::decode_reply::<Vec<PeerInfo<Nest>>>(&reply.expect("encodes")).expect("decodes");
        assert_eq!(read[0].data, nest(limit - 1));
        let reply = wire::encode_reply(&Reply::Ok(vec![nest(limit)])).expect("encodes");
        assert_eq!(wire::decode_reply::<Vec<Nest>>(&reply).expect("decodes"), [nest(limit)]);
        // The frame contains several messages.
        let frame = wire::room_frame(&[], &[wire::encode_frame(&nest(limit)).expect("encodes")]);
        let (_, message) = serde_json::from_str::<((), Nest)>(&frame.replacen("[]", "null", 1)).expect("decodes");
        assert_eq!(message, nest(limit));
    }

    #[test]
    fn an_event_that_is_accepted_can_be_stored() {
        let limit = usize::from(Limits::MAX_EVENT_DEPTH);
        let sent = wire::encode_event(&nest(limit)).expect("encodes");
        let event = wire::decode_event::<Nest>(&sent).expect("decodes");
        reads_back(nest(20).0.into_iter().fold(event, |event, _| Nest(vec![event])));
        let error = wire::encode_event(&nest(limit + 1)).expect_err("too deep");
        assert_eq!(error.message(), "the event cannot be written as JSON: it is nested more than 100 levels deep");
        let error = wire::decode_event::<Nest>(&format!("[{sent}]")).expect_err("too deep");
        assert_eq!(error.to_string(), "it is nested more than 100 levels deep");
        // The limit also applies to parts that the type ignores.
        let error = wire::decode_event::<serde::de::IgnoredAny>(&format!("[{sent}]")).expect_err("too deep");
        assert_eq!(error.to_string(), "it is nested more than 100 levels deep");
    }
}
