//! The encoder.

use std::any::type_name;

use serde::{
    Serialize, Serializer,
    ser::{
        Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::Fault;
use crate::wire::json::round_trip::{RAW_VALUE, exact_len, is_byte};

#[derive(Default)]
pub(super) struct Encoder {
    pub(super) out: Vec<u8>,
}

/// The markers of a value with a length, from the shortest to the longest.
struct Markers {
    /// The marker that contains the length, and the lengths below which it does.
    short: Option<(u8, usize)>,
    /// The marker before a length of one byte.
    byte: Option<u8>,
    two: u8,
    four: u8,
}

const TEXT: Markers = Markers { short: Some((0xa0, 32)), byte: Some(0xd9), two: 0xda, four: 0xdb };
const BYTES: Markers = Markers { short: None, byte: Some(0xc4), two: 0xc5, four: 0xc6 };
const LIST: Markers = Markers { short: Some((0x90, 16)), byte: None, two: 0xdc, four: 0xdd };
const MAP: Markers = Markers { short: Some((0x80, 16)), byte: None, two: 0xde, four: 0xdf };

impl Markers {
    /// Writes the header of a value of this length to the end of `out`.
    fn header(&self, len: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        match (self.short, self.byte) {
            (Some((marker, below)), _) if len < below => out.push(marker | len as u8),
            (_, Some(marker)) if len <= usize::from(u8::MAX) => out.extend_from_slice(&[marker, len as u8]),
            _ if len <= usize::from(u16::MAX) => {
                let [high, low] = (len as u16).to_be_bytes();
                out.extend_from_slice(&[self.two, high, low]);
            }
            _ => {
                let len = u32::try_from(len).map_err(|_| Fault::custom("it has a part of more than 4 GiB"))?;
                let [first, second, third, fourth] = len.to_be_bytes();
                out.extend_from_slice(&[self.four, first, second, third, fourth]);
            }
        }
        Ok(())
    }
}

impl Encoder {
    fn begin(&mut self, markers: &Markers, len: usize) -> Result<(), Fault> {
        markers.header(len, &mut self.out)
    }

    fn text(&mut self, text: &str) -> Result<(), Fault> {
        self.begin(&TEXT, text.len())?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn number<const N: usize>(&mut self, marker: u8, bytes: [u8; N]) {
        self.out.push(marker);
        self.out.extend_from_slice(&bytes);
    }

    fn unsigned(&mut self, v: u64) {
        match v {
            0..=0x7f => self.out.push(v as u8),
            0x80..=0xff => self.number(0xcc, [v as u8]),
            0x100..=0xffff => self.number(0xcd, (v as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.number(0xce, (v as u32).to_be_bytes()),
            _ => self.number(0xcf, v.to_be_bytes()),
        }
    }

    fn signed(&mut self, v: i64) {
        match v {
            0.. => self.unsigned(v.unsigned_abs()),
            -0x20..=-1 => self.out.push(v as u8),
            -0x80..=-0x21 => self.number(0xd0, [v as u8]),
            -0x8000..=-0x81 => self.number(0xd1, (v as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.number(0xd2, (v as i32).to_be_bytes()),
            _ => self.number(0xd3, v.to_be_bytes()),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.begin(&BYTES, bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn parts(&mut self, markers: &'static Markers, len: Option<usize>) -> Result<Parts<'_>, Fault> {
        let start = self.out.len();
        if let Some(len) = len {
            self.begin(markers, len)?;
        }
        Ok(Parts { encoder: self, markers, start, len, count: 0 })
    }

    /// Begins a variant with content: a map of one entry.
    fn variant(&mut self, name: &str) -> Result<(), Fault> {
        self.begin(&MAP, 1)?;
        self.text(name)
    }
}

/// A list or a map that is being written.
pub(super) struct Parts<'a> {
    encoder: &'a mut Encoder,
    markers: &'static Markers,
    /// The position of the header.
    start: usize,
    /// The announced length. Without one, the header is inserted at the end.
    len: Option<usize>,
    count: usize,
}

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(&mut *self.encoder)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Fault> {
        self.encoder.text(key)?;
        self.part(value)
    }

    fn finish(self) -> Result<(), Fault> {
        match self.len {
            Some(len) if len == self.count => Ok(()),
            Some(len) => Err(Fault::custom(format_args!(
                "it has a list or a map that announces {len} elements and has {}",
                self.count
            ))),
            None => {
                let mut header = Vec::with_capacity(5);
                self.markers.header(self.count, &mut header)?;
                self.encoder.out.splice(self.start..self.start, header);
                Ok(())
            }
        }
    }
}

impl<'a> Serializer for &'a mut Encoder {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    fn serialize_bool(self, v: bool) -> Result<(), Fault> {
        self.out.push(if v { 0xc3 } else { 0xc2 });
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Result<(), Fault> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Fault> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Fault> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Fault> {
        self.signed(v);
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Fault> {
        self.serialize_u64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Fault> {
        self.serialize_u64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Fault> {
        self.serialize_u64(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Fault> {
        self.unsigned(v);
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Result<(), Fault> {
        match (i64::try_from(v), u64::try_from(v)) {
            (Ok(v), _) => self.serialize_i64(v),
            (_, Ok(v)) => self.serialize_u64(v),
            _ => Err(Fault::custom(format_args!("it contains {v}, an integer of more than 64 bits"))),
        }
    }

    fn serialize_u128(self, v: u128) -> Result<(), Fault> {
        match u64::try_from(v) {
            Ok(v) => self.serialize_u64(v),
            Err(_) => Err(Fault::custom(format_args!("it contains {v}, an integer of more than 64 bits"))),
        }
    }

    fn serialize_f32(self, v: f32) -> Result<(), Fault> {
        self.number(0xca, v.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, v: f64) -> Result<(), Fault> {
        self.number(0xcb, v.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), Fault> {
        self.text(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<(), Fault> {
        self.text(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Fault> {
        self.bytes(v)
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.out.push(0xc0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Fault> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Fault> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(variant)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'a>, Fault> {
        self.parts(&LIST, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'a>, Fault> {
        self.parts(&LIST, Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Fault> {
        self.parts(&LIST, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Fault> {
        self.variant(variant)?;
        self.parts(&LIST, Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'a>, Fault> {
        self.parts(&MAP, len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts<'a>, Fault> {
        if name == RAW_VALUE {
            return Err(Fault::custom("it contains a `RawValue`, which is JSON"));
        }
        self.parts(&MAP, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Fault> {
        self.variant(variant)?;
        self.parts(&MAP, Some(len))
    }

    /// Writes the elements of a list. A list of bytes is one `bin`: serde does not distinguish the two, only the name of
    /// the element's type does.
    fn collect_seq<I>(self, list: I) -> Result<(), Fault>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        if !is_byte(type_name::<I::Item>()) {
            let list = list.into_iter();
            let mut parts = self.parts(&LIST, exact_len(&list))?;
            for element in list {
                parts.part(&element)?;
            }
            return parts.finish();
        }
        let mut bytes = Encoder::default();
        for byte in list {
            let start = bytes.out.len();
            byte.serialize(&mut bytes)?;
            // A byte from 128 has a marker before it.
            if bytes.out.len() == start + 2 {
                bytes.out.remove(start);
            }
        }
        self.bytes(&bytes.out)
    }
}

macro_rules! elements {
    ($($part:ident: $method:ident;)*) => {
        $(impl $part for Parts<'_> {
            type Ok = ();
            type Error = Fault;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.part(value)
            }

            fn end(self) -> Result<(), Fault> {
                self.finish()
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
        $(impl $part for Parts<'_> {
            type Ok = ();
            type Error = Fault;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Fault> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        key.serialize(&mut *self.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}
