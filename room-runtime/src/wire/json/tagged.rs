//! Enums with the variant in one of their keys, `{"type": "Say", …}`, read in one pass.
//!
//! serde's own implementation buffers the whole message until it knows the variant, and then reads from the buffer. It
//! is slower, needs more code, and loses keys that are numbers. This implementation reads the fields as they arrive.
//! Only fields before the key of the variant are kept, as their JSON text, and read when the variant is known.
//!
//! A message inside a message is then read from a part of the text that is being read, without a copy. Its depth is
//! counted in advance, because serde_json starts a new count for the part. The repeated reads are limited for the same
//! reason.

use std::{borrow::Cow, fmt, marker::PhantomData, vec};

use serde::{
    Deserialize,
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer, MapAccess,
        VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

use crate::{
    Limits,
    wire::json::{depth, round_trip::RAW_VALUE},
};

/// An enum that `#[room]` and `#[data]` give a key for its variant.
pub trait Tagged: DeserializeOwned {
    /// The key with the name of the variant.
    const TAG: &'static str;
    /// The name of a newtype around the map. By it the MessagePack decoder recognizes a tagged enum and knows the key;
    /// every other deserializer reads the map inside.
    const NAME: &'static str;

    /// Reads the enum in serde's externally tagged form: the variant first, and its fields inside.
    ///
    /// # Errors
    /// The errors of the deserializer.
    fn deserialize_variant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Expands to the code that reads `$schema` with `$twin`. `#[room]` calls this macro; it is not public API.
#[doc(hidden)]
#[macro_export]
macro_rules! __tagged {
    ($schema:ident by $twin:ident, $tag:literal) => {
        #[automatically_derived]
        impl<'de> $crate::__private::serde::Deserialize<'de> for $schema {
            fn deserialize<D>(deserializer: D) -> $crate::__private::Result<Self, D::Error>
            where
                D: $crate::__private::serde::Deserializer<'de>,
            {
                $crate::__private::deserialize_tagged(deserializer)
            }
        }

        #[automatically_derived]
        impl $crate::__private::Tagged for $schema {
            const TAG: &'static str = $tag;
            const NAME: &'static str = $crate::__private::concat!("$room::tagged:", $tag);

            fn deserialize_variant<'de, D>(deserializer: D) -> $crate::__private::Result<Self, D::Error>
            where
                D: $crate::__private::serde::Deserializer<'de>,
            {
                $twin::deserialize(deserializer)
            }
        }
    };
}

/// Reads an enum with the variant in one of its keys.
///
/// # Errors
/// The errors of the deserializer.
pub fn deserialize_tagged<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Tagged,
    D: Deserializer<'de>,
{
    deserializer.deserialize_newtype_struct(T::NAME, Message(PhantomData))
}

/// The beginning of [`Tagged::NAME`]. The rest is the key of the variant.
pub(crate) const TAGGED: &str = "$room::tagged:";

struct Message<T>(PhantomData<T>);

impl<'de, T> Visitor<'de> for Message<T>
where
    T: Tagged,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the key `{}`", T::TAG)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        match map.next_key_seed(Key(T::TAG))? {
            Some(Found::Tag) => {
                T::deserialize_variant(Rest { map, tag: T::TAG, early: Vec::new().into_iter(), next: None })
            }
            Some(Found::Other(first)) => late(map, first),
            None => Err(A::Error::missing_field(T::TAG)),
        }
    }
}

/// Reads an enum whose first key is not the key of the variant.
fn late<'de, T: Tagged, A: MapAccess<'de>>(mut map: A, first: String) -> Result<T, A::Error> {
    let mut early = Vec::new();
    let mut found = Some(Found::Other(first));
    while let Some(Found::Other(key)) = found {
        match map.next_value::<Raw<'de>>()?.0 {
            Cow::Borrowed(text) => early.push((key, text)),
            Cow::Owned(text) => return in_order(map, early, &key, &text),
        }
        found = map.next_key_seed(Key(T::TAG))?;
    }
    match found {
        Some(_) => T::deserialize_variant(Rest { map, tag: T::TAG, early: early.into_iter(), next: None }),
        None => Err(A::Error::missing_field(T::TAG)),
    }
}

/// The kind of a key.
enum Found {
    Tag,
    Other(String),
}

struct Key(&'static str);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Found, E> {
        Ok(if key == self.0 { Found::Tag } else { Found::Other(key.to_owned()) })
    }
}

/// Reads an enum whose values are not borrowed text, for example from a [`serde_json::Value`]. It writes the message
/// again as text, with the key of the variant first.
fn in_order<'de, T: Tagged, A: MapAccess<'de>>(
    mut map: A,
    early: Vec<(String, &str)>,
    key: &str,
    value: &str,
) -> Result<T, A::Error> {
    let mut tag = None;
    let mut fields = String::new();
    let mut push = |key: &str, value: &str| -> Result<(), A::Error> {
        let key = serde_json::to_string(key).map_err(A::Error::custom)?;
        fields.extend([",", &key, ":", value]);
        Ok(())
    };
    for (key, value) in &early {
        push(key, value)?;
    }
    push(key, value)?;
    while let Some(found) = map.next_key_seed(Key(T::TAG))? {
        let Raw(value) = map.next_value()?;
        match found {
            Found::Tag if tag.is_some() => return Err(A::Error::duplicate_field(T::TAG)),
            Found::Tag => tag = Some(value),
            Found::Other(key) => push(&key, &value)?,
        }
    }
    let tag = tag.ok_or_else(|| A::Error::missing_field(T::TAG))?;
    let name = serde_json::to_string(T::TAG).map_err(A::Error::custom)?;
    read(&format!("{{{name}:{tag}{fields}}}"), PhantomData).map_err(A::Error::custom)
}

/// A value as JSON text: borrowed if the message is read from a string.
struct Raw<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde_json reads its `RawValue` in the same way, but a `RawValue` supports either borrowed or owned text, not
        // both.
        deserializer.deserialize_newtype_struct(RAW_VALUE, RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        match map.next_key::<IgnoredAny>()? {
            Some(_) => map.next_value_seed(self),
            None => Err(A::Error::custom("this is not read from JSON")),
        }
    }

    /// Only serde_json knows that name. One of serde's buffers, for flattened, untagged or generic types, treats it as
    /// a newtype.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw<'de>, D::Error> {
        Value::deserialize(deserializer).map(|value| Raw(Cow::Owned(value.to_string())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw<'de>, E> {
        Ok(Raw(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw<'de>, E> {
        Ok(Raw(Cow::Owned(text)))
    }
}

impl<'de> DeserializeSeed<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

/// Reads one value from its text.
fn read<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, serde_json::Error> {
    depth::measured(text, Limits::MAX_DEPTH, || seed.deserialize(&mut serde_json::Deserializer::from_str(text)))
}

/// The part of a message after the key of the variant.
struct Rest<'de, A> {
    map: A,
    tag: &'static str,
    /// The fields before the key of the variant.
    early: vec::IntoIter<(String, &'de str)>,
    /// The value of the early field that is being read.
    next: Option<&'de str>,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Rest<'de, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Rest<'de, A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, Self), A::Error> {
        let variant = self.map.next_value_seed(seed)?;
        Ok((variant, self))
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Rest<'de, A> {
    type Error = A::Error;

    fn unit_variant(mut self) -> Result<(), A::Error> {
        while let Some(found) = self.map.next_key_seed(Key(self.tag))? {
            if matches!(found, Found::Tag) {
                return Err(A::Error::duplicate_field(self.tag));
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, A::Error> {
        Err(A::Error::custom("a variant without field names has no place for the key that says the variant"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_map(self)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        match self.early.next() {
            Some((key, value)) => {
                self.next = Some(value);
                seed.deserialize(key.into_deserializer()).map(Some)
            }
            None => self.map.next_key_seed(Watched { seed, tag: self.tag }),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match self.next.take() {
            Some(text) => read(text, seed).map_err(A::Error::custom),
            None => self.map.next_value_seed(seed),
        }
    }
}

/// A key of the variant that is not the key with the variant's name.
struct Watched<S> {
    seed: S,
    tag: &'static str,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Watched<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Watched<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<S::Value, E> {
        if key == self.tag {
            return Err(E::duplicate_field(self.tag));
        }
        self.seed.deserialize(key.into_deserializer())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    /// The same enum with serde's own implementation, for comparison.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Known {
        Unit,
        Empty {},
        Say {
            text: String,
            #[serde(default)]
            loud: bool,
        },
        #[serde(rename = "n\"")]
        Renamed {
            #[serde(alias = "b")]
            a: Option<u64>,
        },
        Nested {
            inner: Box<Known>,
            list: Vec<(i64, f64)>,
        },
        Rest {
            first: u8,
            #[serde(flatten)]
            rest: BTreeMap<String, String>,
        },
    }

    #[derive(Debug, PartialEq)]
    struct Ours(Known);

    #[derive(Deserialize)]
    #[serde(remote = "Known")]
    enum Twin {
        Unit,
        Empty {},
        Say {
            text: String,
            #[serde(default)]
            loud: bool,
        },
        #[serde(rename = "n\"")]
        Renamed {
            #[serde(alias = "b")]
            a: Option<u64>,
        },
        Nested {
            inner: Box<Known>,
            list: Vec<(i64, f64)>,
        },
        Rest {
            first: u8,
            #[serde(flatten)]
            rest: BTreeMap<String, String>,
        },
    }

    impl<'de> Deserialize<'de> for Ours {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize_tagged(deserializer)
        }
    }

    impl Tagged for Ours {
        const TAG: &'static str = "type";
        const NAME: &'static str = concat!("$room::tagged:", "type");

        fn deserialize_variant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Twin::deserialize(deserializer).map(Ours)
        }
    }

    #[test]
    fn values_are_read_and_refused_as_by_serde() {
        let texts = [
            r#"{"type":"Unit"}"#,
            r#"{"type":"Unit","more":[1,{"type":2}]}"#,
            r#"{"more":{"type":"Say"},"type":"Unit"}"#,
            r#"{"type":"Empty"}"#,
            r#"{"type":"Say","text":"a\"\ud83d\ude00"}"#,
            r#"{"loud":true,"type":"Say","text":"x","what":null}"#,
            r#"{"text":"x","loud":true,"\u0074ype":"Say"}"#,
            r#"{ "a" : 18446744073709551615 , "type" : "n\"" }"#,
            r#"{"type":"n\"","b":null}"#,
            r#"{"type":"n\""}"#,
            r#"{"list":[[-1,1e300],[2,0.1]],"inner":{"text":"y","type":"Say"},"type":"Nested"}"#,
            r#"{"type":"Rest","a":"b","first":7,"c":"d"}"#,
            r#"{"c":"d","first":7,"type":"Rest"}"#,
            "{}",
            "null",
            "[]",
            r#""Unit""#,
            r#"{"type":"Nope"}"#,
            r#"{"type":null}"#,
            r#"{"type":0}"#,
            r#"{"type":["Unit"]}"#,
            r#"{"Say":{"text":"x"}}"#,
            r#"{"text":"x"}"#,
            r#"{"type":"Say"}"#,
            r#"{"type":"Say","text":1}"#,
            r#"{"type":"Say","text":"x","text":"y"}"#,
            r#"{"text":"x","type":"Say","text":"y"}"#,
            r#"{"type":"Unit","type":"Unit"}"#,
            r#"{"type":"Say","text":"x","type":"Say"}"#,
            r#"{"text":"x","type":"Say","type":"Say"}"#,
            r#"{"a":-1,"type":"n\""}"#,
            r#"{"type":"Unit"} x"#,
            r#"{"type":"Unit""#,
            r#"{"a":1,"type":"Unit""#,
        ];
        for text in texts {
            let (known, ours) = (serde_json::from_str::<Known>(text), serde_json::from_str::<Ours>(text));
            match (known, ours) {
                (Ok(known), Ok(Ours(ours))) => assert_eq!(known, ours, "{text}"),
                (Err(_), Err(_)) => {}
                (known, ours) => panic!("{text}: serde says {known:?}, we say {ours:?}"),
            }
            let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
            let both = (serde_json::from_value::<Known>(value.clone()), serde_json::from_value::<Ours>(value));
            match both {
                (Ok(known), Ok(Ours(ours))) => assert_eq!(known, ours, "{text}"),
                (Err(_), Err(_)) => {}
                (known, ours) => panic!("{text} as a value: serde says {known:?}, we say {ours:?}"),
            }
        }
    }

    #[test]
    fn an_error_names_the_mistake() {
        for (text, what) in [
            ("7", "invalid type: integer `7`, expected an object with the key `type`"),
            ("{}", "missing field `type`"),
            (r#"{"text":"x"}"#, "missing field `type`"),
            (r#"{"type":"Nope"}"#, "unknown variant `Nope`, expected one of `Unit`, `Empty`, `Say`"),
            (r#"{"type":"Say"}"#, "missing field `text`"),
            (r#"{"loud":true,"type":"Say"}"#, "missing field `text`"),
            (r#"{"type":"Unit","type":"Unit"}"#, "duplicate field `type`"),
        ] {
            let error = serde_json::from_str::<Ours>(text).expect_err(text).to_string();
            assert!(error.starts_with(what), "{text}: {error}");
        }
    }

    #[test]
    fn buffered_values_are_read_in_any_order() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Flat {
            #[serde(flatten)]
            all: BTreeMap<String, Ours>,
        }

        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u8),
            Known(Ours),
        }

        let say = || Ours(Known::Say { text: "x".to_owned(), loud: true });
        for text in [r#"{"type":"Say","text":"x","loud":true}"#, r#"{"loud":true,"text":"x","type":"Say"}"#] {
            let flat: Flat = serde_json::from_str(&format!(r#"{{"a":{text}}}"#)).expect(text);
            assert_eq!(flat.all, BTreeMap::from([("a".to_owned(), say())]));
            assert_eq!(serde_json::from_str::<Either>(text).expect(text), Either::Known(say()));
        }
        assert_eq!(serde_json::from_str::<Either>("1").expect("a number"), Either::Number(1));
    }

    #[test]
    fn keys_that_are_numbers_survive() {
        #[derive(Deserialize)]
        #[serde(remote = "Scores")]
        enum Twin {
            Set { points: BTreeMap<u32, i64> },
        }

        #[derive(Debug, PartialEq)]
        enum Scores {
            Set { points: BTreeMap<u32, i64> },
        }

        impl<'de> Deserialize<'de> for Scores {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_tagged(deserializer)
            }
        }

        impl Tagged for Scores {
            const TAG: &'static str = "type";
            const NAME: &'static str = concat!("$room::tagged:", "type");

            fn deserialize_variant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Twin::deserialize(deserializer)
            }
        }

        let points = Scores::Set { points: BTreeMap::from([(7, -1)]) };
        for text in [r#"{"type":"Set","points":{"7":-1}}"#, r#"{"points":{"7":-1},"type":"Set"}"#] {
            assert_eq!(serde_json::from_str::<Scores>(text).expect("it decodes"), points);
        }
    }

    #[derive(Debug, PartialEq, Serialize)]
    #[serde(tag = "type")]
    enum Tree {
        Leaf { text: String },
        Node { inner: Box<Tree> },
        List { items: Vec<Tree> },
    }

    #[derive(Deserialize)]
    #[serde(remote = "Tree")]
    enum TreeTwin {
        Leaf { text: String },
        Node { inner: Box<Tree> },
        List { items: Vec<Tree> },
    }

    crate::__tagged!(Tree by TreeTwin, "type");

    /// Returns a leaf inside this number of nodes, each with its tag first or last.
    fn nodes(depth: usize, leaf: &str, tag_first: impl Fn(usize) -> bool) -> String {
        (0..depth).fold(leaf.to_owned(), |inner, level| {
            if tag_first(level) {
                format!(r#"{{"type":"Node","inner":{inner}}}"#)
            } else {
                format!(r#"{{"inner":{inner},"type":"Node"}}"#)
            }
        })
    }

    /// Reads a text in each of the ways that serde_json has.
    fn read_in_each_way(text: &str) -> [Result<Tree, serde_json::Error>; 4] {
        let value = serde_json::from_str::<Value>(text);
        [
            serde_json::from_str(text),
            serde_json::from_slice(text.as_bytes()),
            serde_json::from_reader(text.as_bytes()),
            value.and_then(serde_json::from_value),
        ]
    }

    #[test]
    fn messages_in_messages_are_read_in_any_order_of_keys() {
        let leaf = r#"{"text":"x","type":"Leaf"}"#;
        let list = |items: &str| format!(r#"{{"items":[{items}],"type":"List"}}"#);
        let texts = [
            nodes(50, leaf, |_| false),
            nodes(50, leaf, |level| level % 2 == 0),
            nodes(50, leaf, |level| level % 2 == 1),
            list(&[nodes(20, leaf, |_| false), nodes(20, leaf, |_| true), leaf.to_owned()].join(",")),
            nodes(10, &list(&list(leaf)), |_| false).replace("inner", r"\u0069nner"),
            nodes(10, r#"{"text":"[[[[{\"","type":"Leaf"}"#, |_| false),
        ];
        for text in texts {
            for tree in read_in_each_way(&text) {
                let tree = tree.unwrap_or_else(|error| panic!("{text}: {error}"));
                // The second text has the tag first.
                let again = serde_json::to_string(&tree).expect("encodes");
                assert_eq!(serde_json::from_str::<Tree>(&again).expect("decodes"), tree, "{text}");
            }
        }
    }

    #[test]
    fn a_message_is_as_deep_as_it_may_be_whatever_the_order_of_its_keys() {
        let leaf = r#"{"text":"x","type":"Leaf"}"#;
        let limit = usize::from(Limits::MAX_DEPTH);
        assert!(serde_json::from_str::<Tree>(&nodes(limit - 1, leaf, |_| false)).is_ok());
        for depth in [limit + 1, 1_000, 5_000] {
            // The first of the nodes is read within the text around it.
            let text = nodes(depth, leaf, |_| false);
            for error in read_in_each_way(&text).map(|tree| tree.expect_err("too deep").to_string()) {
                assert!(error.contains("levels deep") || error.contains("recursion limit"), "{error}");
            }
        }
        let list = format!(r#"{{"items":[{}],"type":"List"}}"#, nodes(5_000, leaf, |_| false));
        assert!(serde_json::from_str::<Tree>(&list).is_err());
    }

    #[test]
    fn values_that_are_read_again_are_not_copied() {
        let text = nodes(100, r#"{"text":"x","type":"Leaf"}"#, |_| false);
        let mut reader = serde_json::Deserializer::from_str(&text);
        let Raw(raw) = Raw::deserialize(&mut reader).expect("it is JSON");
        assert!(matches!(raw, Cow::Borrowed(raw) if std::ptr::eq(raw, &*text)));
    }

    #[test]
    fn long_and_deep_values_are_refused_only_if_their_keys_are_out_of_order() {
        let leaf = |bytes| format!(r#"{{"type":"Leaf","text":"{}"}}"#, "x".repeat(bytes));
        let read = |text: &str| crate::wire::decode_event::<Tree>(text).map(drop).map_err(|error| error.to_string());
        assert_eq!(read(&nodes(99, &leaf(1_000_000), |_| true)), Ok(()));
        assert_eq!(read(&nodes(8, &leaf(1_000_000), |_| false)), Ok(()));
        assert_eq!(read(&nodes(99, &leaf(8_000), |_| false)), Ok(()));
        let refused = |text: &str| {
            let error = read(text).expect_err("it is refused");
            assert!(error.contains("put the key that says the variant first"), "{error}");
        };
        refused(&nodes(99, &leaf(1_000_000), |_| false));
        // Many short messages count as one long message.
        let items = vec![nodes(90, &leaf(8_000), |_| false); 100];
        refused(&format!(r#"{{"type":"List","items":[{}]}}"#, items.join(",")));
    }
}
