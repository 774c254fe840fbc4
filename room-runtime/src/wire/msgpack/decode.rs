//! The decoder. It reads from a slice, checks every length against the rest of it, and counts the nesting.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor,
        value::{BorrowedStrDeserializer, U8Deserializer},
    },
    forward_to_deserialize_any,
};

use super::Fault;
use crate::wire::json::{round_trip::RAW_VALUE, tagged::TAGGED};

/// The bytes that can be read again to find the key of a variant: this constant, plus a multiple of the length of the
/// input. The limits are those of JSON (`depth`), for the same reason.
const READ_AGAIN_BYTES: usize = 1 << 20;
const READ_AGAIN_TIMES: usize = 8;

/// Decodes one value, which must be the whole input.
pub(super) fn from_slice<T: DeserializeOwned>(input: &[u8], max_depth: u8) -> Result<T, Fault> {
    let mut decoder = Decoder {
        input,
        at: 0,
        max_depth,
        depth: 0,
        again: input.len().saturating_mul(READ_AGAIN_TIMES).saturating_add(READ_AGAIN_BYTES),
    };
    let value = T::deserialize(&mut decoder)?;
    match decoder.rest() {
        0 => Ok(value),
        rest => Err(Fault::custom(format_args!("{rest} bytes follow the value, at byte {}", decoder.at))),
    }
}

struct Decoder<'de> {
    input: &'de [u8],
    at: usize,
    max_depth: u8,
    depth: u8,
    /// The bytes that can still be read again.
    again: usize,
}

/// The first part of a value: all of a number, and the length of anything else.
#[derive(Clone, Copy)]
enum Head {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Text(usize),
    Bytes(usize),
    List(usize),
    Map(usize),
}

impl<'de> Decoder<'de> {
    fn rest(&self) -> usize {
        self.input.len() - self.at
    }

    fn take(&mut self, len: usize) -> Result<&'de [u8], Fault> {
        match self.input.get(self.at..).and_then(|rest| rest.get(..len)) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.too_short(len)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.input.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.too_short(N)),
        }
    }

    #[cold]
    fn too_short(&self, len: usize) -> Fault {
        Fault::custom(format_args!(
            "the input ends at byte {}, {len} bytes were announced at byte {}",
            self.input.len(),
            self.at
        ))
    }

    fn len8(&mut self) -> Result<usize, Fault> {
        self.array::<1>().map(|[len]| len.into())
    }

    fn len16(&mut self) -> Result<usize, Fault> {
        self.array().map(|len| u16::from_be_bytes(len).into())
    }

    fn len32(&mut self) -> Result<usize, Fault> {
        self.array().map(|len| u32::from_be_bytes(len) as usize)
    }

    fn head(&mut self) -> Result<Head, Fault> {
        let [marker] = self.array()?;
        let head = match marker {
            0x00..=0x7f => Head::Unsigned(marker.into()),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::List(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Text(usize::from(marker & 0x1f)),
            0xc0 => Head::Nil,
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4 => Head::Bytes(self.len8()?),
            0xc5 => Head::Bytes(self.len16()?),
            0xc6 => Head::Bytes(self.len32()?),
            0xca => Head::F32(f32::from_be_bytes(self.array()?)),
            0xcb => Head::F64(f64::from_be_bytes(self.array()?)),
            0xcc => Head::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Head::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Head::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => Head::Signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Head::Signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Head::Signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Head::Signed(i64::from_be_bytes(self.array()?)),
            0xd9 => Head::Text(self.len8()?),
            0xda => Head::Text(self.len16()?),
            0xdb => Head::Text(self.len32()?),
            0xdc => Head::List(self.len16()?),
            0xdd => Head::List(self.len32()?),
            0xde => Head::Map(self.len16()?),
            0xdf => Head::Map(self.len32()?),
            0xe0..=0xff => Head::Signed((marker as i8).into()),
            0xc7..=0xc9 | 0xd4..=0xd8 => {
                let at = self.at - 1;
                return Err(Fault::custom(format_args!("an extension type at byte {at}, which a room does not use")));
            }
            0xc1 => {
                return Err(Fault::custom(format_args!("byte {} is 0xc1, which is not MessagePack", self.at - 1)));
            }
        };
        // Each element has at least one byte, so a length that cannot be true is found before anything is allocated.
        let least = match head {
            Head::Text(len) | Head::Bytes(len) | Head::List(len) => len,
            Head::Map(len) => len.saturating_mul(2),
            _ => 0,
        };
        if least > self.rest() {
            return Err(Fault::custom(format_args!(
                "a length at byte {} announces at least {least} bytes, and {} follow",
                self.at,
                self.rest()
            )));
        }
        Ok(head)
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn text(&mut self, len: usize) -> Result<&'de str, Fault> {
        let at = self.at;
        str::from_utf8(self.take(len)?).map_err(|error| Fault::custom(format_args!("the text at byte {at}: {error}")))
    }

    /// Reads something that is one level further in.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == self.max_depth {
            return Err(too_deep(self.max_depth));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Skips one value.
    fn skip(&mut self) -> Result<(), Fault> {
        // The numbers of values that are left on each level, instead of a recursion.
        let mut levels = Vec::new();
        let mut left = 1_usize;
        loop {
            while left == 0 {
                match levels.pop() {
                    Some(outer) => left = outer,
                    None => return Ok(()),
                }
            }
            left -= 1;
            let inner = match self.head()? {
                Head::Text(len) => {
                    self.text(len)?;
                    continue;
                }
                Head::Bytes(len) => {
                    self.take(len)?;
                    continue;
                }
                Head::List(len) => len,
                Head::Map(len) => len * 2,
                _ => continue,
            };
            levels.push(left);
            left = inner;
            if usize::from(self.depth) + levels.len() > usize::from(self.max_depth) {
                return Err(too_deep(self.max_depth));
            }
        }
    }

    fn list<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        self.inside(|decoder| {
            let mut parts = Parts { decoder, left };
            let value = visitor.visit_seq(&mut parts)?;
            parts.finish()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Fault> {
        self.inside(|decoder| {
            let mut parts = Parts { decoder, left };
            let value = visitor.visit_map(&mut parts)?;
            parts.finish()?;
            Ok(value)
        })
    }

    fn visit<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value, Fault> {
        match head {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(v) => visitor.visit_bool(v),
            Head::Unsigned(v) => visitor.visit_u64(v),
            Head::Signed(v) => visitor.visit_i64(v),
            Head::F32(v) => visitor.visit_f32(v),
            Head::F64(v) => visitor.visit_f64(v),
            Head::Text(len) => visitor.visit_borrowed_str(self.text(len)?),
            Head::Bytes(len) => visitor.visit_borrowed_bytes(self.take(len)?),
            Head::List(len) => self.list(len, visitor),
            Head::Map(len) => self.map(len, visitor),
        }
    }

    /// Reads an integer. JavaScript has no integers, so some of its encoders write a large one as a float.
    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let head = self.head()?;
        let float = match head {
            Head::F32(v) => f64::from(v),
            Head::F64(v) => v,
            head => return self.visit(head, visitor),
        };
        if float.fract() != 0.0 || float.abs() > EXACT {
            return self.visit(head, visitor);
        }
        if float < 0.0 { visitor.visit_i64(float as i64) } else { visitor.visit_u64(float as u64) }
    }

    /// Reads a map of a tagged enum with the entry of the variant first, wherever it is.
    fn tagged<V: Visitor<'de>>(&mut self, tag: &'static str, visitor: V) -> Result<V::Value, Fault> {
        let left = match self.head()? {
            Head::Map(left) => left,
            head => return self.visit(head, visitor),
        };
        self.inside(|decoder| {
            let start = decoder.at;
            let mut found = None;
            for _ in 0..left {
                let at = decoder.at;
                let is_tag = match decoder.head()? {
                    Head::Text(len) => decoder.text(len)? == tag,
                    _ => return Err(no_key(at)),
                };
                if is_tag {
                    found = Some(at);
                    break;
                }
                decoder.skip()?;
            }
            let Some(tag_at) = found else { return Err(Fault::missing_field(tag)) };
            decoder.again = decoder.again.checked_sub(tag_at - start).ok_or_else(|| {
                Fault::custom("too much of it has to be read again and again: put the key that says the variant first")
            })?;
            decoder.at = tag_at;
            let mut entries = Entries { parts: Parts { decoder, left }, start, tag_at, after_tag: None };
            let value = visitor.visit_map(&mut entries)?;
            entries.parts.finish()?;
            Ok(value)
        })
    }
}

fn too_deep(limit: u8) -> Fault {
    Fault::custom(format_args!("it is nested more than {limit} levels deep"))
}

fn no_key(at: usize) -> Fault {
    Fault::custom(format_args!("the key at byte {at} is no text"))
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let head = self.head()?;
        self.visit(head, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.peek() == Some(0xc0) {
            self.at += 1;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == RAW_VALUE {
            return Err(Fault::custom("a `RawValue` is JSON, and cannot be read from MessagePack"));
        }
        match name.strip_prefix(TAGGED) {
            Some(tag) => self.tagged(tag, visitor),
            None => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let at = self.at;
        match self.head()? {
            Head::Text(len) => visitor.visit_enum(BorrowedStrDeserializer::new(self.text(len)?)),
            Head::Map(1) => self.inside(|decoder| visitor.visit_enum(Variant(decoder))),
            _ => Err(Fault::custom(format_args!(
                "a variant was expected at byte {at}: its name, or a map with its name as the only key"
            ))),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let at = self.at;
        match self.head()? {
            Head::Text(len) => visitor.visit_borrowed_str(self.text(len)?),
            _ => Err(no_key(at)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.head()? {
            Head::Bytes(len) => {
                let bytes = self.take(len)?;
                let mut bytes = Bytes(bytes.iter());
                let value = visitor.visit_seq(&mut bytes)?;
                match bytes.0.len() {
                    0 => Ok(value),
                    rest => Err(Fault::custom(format_args!("it has a list with {rest} elements too many"))),
                }
            }
            head => self.visit(head, visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.head()? {
            Head::List(len) => {
                let list: Vec<u8> = self.list(len, ByteList)?;
                visitor.visit_byte_buf(list)
            }
            head => self.visit(head, visitor),
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    forward_to_deserialize_any! { bool i128 u128 f32 f64 char str string unit unit_struct map struct }
}

/// The elements of a list, or the entries of a map.
struct Parts<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl Parts<'_, '_> {
    /// Checks that all parts were read: a tuple reads no more elements than it has.
    fn finish(&self) -> Result<(), Fault> {
        match self.left {
            0 => Ok(()),
            left => Err(Fault::custom(format_args!("it has a list with {left} elements too many"))),
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Key(self.decoder)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The entries of a tagged enum: that of the variant, and then the others in their order.
struct Entries<'a, 'de> {
    parts: Parts<'a, 'de>,
    /// The position of the first entry.
    start: usize,
    tag_at: usize,
    /// The position after the entry of the variant, once it was read.
    after_tag: Option<usize>,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let decoder = &mut *self.parts.decoder;
        match self.after_tag {
            Some(after) if decoder.at == self.tag_at => decoder.at = after,
            _ => {}
        }
        self.parts.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let value = self.parts.next_value_seed(seed)?;
        if self.after_tag.is_none() {
            self.after_tag = Some(self.parts.decoder.at);
            self.parts.decoder.at = self.start;
        }
        Ok(value)
    }
}

/// A key of a map. JavaScript's objects have only text as keys, so a number can be written as text.
struct Key<'a, 'de>(&'a mut Decoder<'de>);

macro_rules! number_keys {
    ($($method:ident: $ty:ty => $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.0.head()? {
                Head::Text(len) => {
                    let text = self.0.text(len)?;
                    match text.parse::<$ty>() {
                        Ok(number) => visitor.$visit(number),
                        Err(_) => Err(Fault::invalid_value(Unexpected::Str(text), &visitor)),
                    }
                }
                head => self.0.visit(head, visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = Fault;

    number_keys! {
        deserialize_bool: bool => visit_bool;
        deserialize_i8: i64 => visit_i64;
        deserialize_i16: i64 => visit_i64;
        deserialize_i32: i64 => visit_i64;
        deserialize_i64: i64 => visit_i64;
        deserialize_u8: u64 => visit_u64;
        deserialize_u16: u64 => visit_u64;
        deserialize_u32: u64 => visit_u64;
        deserialize_u64: u64 => visit_u64;
        deserialize_i128: i64 => visit_i64;
        deserialize_u128: u64 => visit_u64;
        deserialize_f32: f64 => visit_f64;
        deserialize_f64: f64 => visit_f64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_identifier(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
    }
}

/// A variant with content: the only entry of a map.
struct Variant<'a, 'de>(&'a mut Decoder<'de>);

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let variant = seed.deserialize(&mut *self.0)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        serde::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_any(visitor)
    }
}

/// The bytes of a `bin`, where a list is expected.
struct Bytes<'de>(std::slice::Iter<'de, u8>);

impl<'de> SeqAccess<'de> for Bytes<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(byte) = self.0.next() else { return Ok(None) };
        let byte: U8Deserializer<Fault> = byte.into_deserializer();
        seed.deserialize(byte).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// Reads a list of numbers where a `bin` is expected.
struct ByteList;

impl<'de> Visitor<'de> for ByteList {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}
