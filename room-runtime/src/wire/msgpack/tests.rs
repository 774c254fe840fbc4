use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
};

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    small: u8,
    negative: i64,
    large: u64,
    float: f64,
    single: f32,
    letter: char,
    text: String,
    none: Option<u8>,
    some: Option<String>,
    bytes: Vec<u8>,
    many: Vec<Vec<u8>>,
    list: Vec<i32>,
    pair: (u8, String),
    four: [u8; 4],
    numbers: HashMap<u32, String>,
    signed: BTreeMap<i8, Vec<u8>>,
    names: BTreeMap<String, Shape>,
    shapes: Vec<Shape>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Circle(f64),
    Line(u8, u8),
    Box { width: u32, data: Vec<u8> },
}

fn everything() -> Everything {
    Everything {
        unit: (),
        flag: true,
        small: 200,
        negative: i64::MIN,
        large: u64::MAX,
        float: 0.1,
        single: -1.5,
        letter: 'ß',
        text: "a".repeat(300),
        none: None,
        some: Some("x".repeat(40)),
        bytes: (0..=255).chain([0xcc, 5, 0xcc, 0xcc]).collect(),
        many: vec![vec![], vec![0xff; 300], vec![1]],
        list: vec![-1, -33, -129, -40_000, i32::MIN, 127, 128, 256, 70_000, i32::MAX],
        pair: (7, "seven".to_owned()),
        four: [1, 200, 3, 4],
        numbers: (0..40).map(|n| (n * 1_000, n.to_string())).collect(),
        signed: [(-128, vec![1]), (0, vec![]), (127, vec![2; 20])].into(),
        names: [("a".to_owned(), Shape::Dot), ("b".to_owned(), Shape::Circle(2.0))].into(),
        shapes: vec![Shape::Line(1, 255), Shape::Box { width: 1 << 20, data: vec![9; 70_000] }, Shape::Dot],
    }
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Vec<u8> {
    let bytes = encode_message(value).expect("encodes");
    let read: T = decode_message(&bytes).unwrap_or_else(|fault| panic!("{value:?}: {fault}"));
    assert_eq!(&read, value);
    bytes
}

#[test]
fn every_type_of_serde_reads_back() {
    reads_back(&everything());
    for n in [0, 1, 31, 32, 127, 128, 255, 256, 65_535, 65_536] {
        reads_back(&"x".repeat(n));
        reads_back(&vec![0xa5_u8; n]);
        reads_back(&vec![1_u16; n]);
        reads_back(&(0..n as u32).map(|n| (n, ())).collect::<BTreeMap<_, _>>());
        for v in [n as i64, -(n as i64), (n as i64) << 20, -(n as i64) << 20] {
            reads_back(&v);
        }
    }
}

/// An independent implementation writes and reads the same.
#[test]
fn another_implementation_understands_it() {
    let value = everything();
    let ours = encode_message(&value).expect("encodes");
    let theirs: Everything = rmp_serde::from_slice(&ours).expect("another decoder reads it");
    assert_eq!(theirs, value);
    let named = rmp_serde::to_vec_named(&value).expect("encodes");
    assert_eq!(decode_message::<Everything>(&named).expect("our decoder reads theirs"), value);
}

#[test]
fn bytes_are_one_bin_and_integer_keys_are_integers() {
    assert_eq!(reads_back(&vec![1_u8, 200, 3]), [0xc4, 3, 1, 200, 3]);
    assert_eq!(reads_back(&Vec::<u8>::new()), [0xc4, 0]);
    assert_eq!(reads_back(&vec![1_u16, 2]), [0x92, 1, 2]);
    assert_eq!(reads_back(&BTreeMap::from([(7_u32, true)])), [0x81, 7, 0xc3]);
    // A list of numbers is accepted as bytes.
    assert_eq!(decode_event::<Vec<u8>>(&[0x92, 1, 0xcc, 200]).expect("a list"), [1, 200]);
}

#[test]
fn numbers_of_javascript_are_read_as_the_field_needs() {
    let float = |v: f64| [&[0xcb][..], &v.to_be_bytes()].concat();
    assert_eq!(decode_event::<u64>(&float(5_000_000_000.0)).expect("a whole number"), 5_000_000_000);
    assert_eq!(decode_event::<i64>(&float(-3.0)).expect("a whole number"), -3);
    assert_eq!(decode_event::<f64>(&[7]).expect("an integer"), 7.0);
    for (v, reason) in
        [(0.5, "floating point"), (1e300, "floating point"), (300.0, "invalid value"), (-1.0, "invalid value")]
    {
        let fault = decode_event::<u8>(&float(v)).expect_err("it does not fit").to_string();
        assert!(fault.contains(reason), "{v}: {fault}");
    }
    // An object has only text as keys.
    let keys =
        decode_event::<HashMap<u32, bool>>(&[0x82, 0xa1, b'7', 0xc3, 0xa2, b'1', b'2', 0xc2]).expect("keys as text");
    assert_eq!(keys, HashMap::from([(7, true), (12, false)]));
    assert!(decode_event::<HashMap<u32, bool>>(&[0x81, 0xa1, b'x', 0xc3]).is_err());
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
enum Tagged {
    Unit,
    Say { text: String, data: Vec<u8>, by: HashMap<u32, String>, inner: Option<Box<Tagged>> },
}

#[derive(Deserialize)]
#[serde(remote = "Tagged")]
enum Twin {
    Unit,
    Say { text: String, data: Vec<u8>, by: HashMap<u32, String>, inner: Option<Box<Tagged>> },
}

crate::__tagged!(Tagged by Twin, "type");

fn say(inner: Option<Box<Tagged>>) -> Tagged {
    Tagged::Say { text: "hi".to_owned(), data: vec![1, 255], by: HashMap::from([(3, "c".to_owned())]), inner }
}

#[test]
fn a_tagged_enum_reads_back_with_its_key_anywhere() {
    let value = say(Some(Box::new(say(Some(Box::new(Tagged::Unit))))));
    let bytes = reads_back(&value);
    // Move the key of the variant to the end of the outermost map.
    let tag = [&[0xa4][..], b"type", &[0xa3], b"Say"].concat();
    assert_eq!(bytes[1..=tag.len()], tag);
    let late = [&bytes[..1], &bytes[1 + tag.len()..], &tag].concat();
    assert_eq!(decode_event::<Tagged>(&late).expect("decodes"), value);

    let fault = |bytes: &[u8]| decode_event::<Tagged>(bytes).expect_err("it is no event").to_string();
    let unit = [&[0x81, 0xa4][..], b"type", &[0xa4], b"Unit"].concat();
    assert_eq!(decode_event::<Tagged>(&unit).expect("decodes"), Tagged::Unit);
    let twice = [&[0x82, 0xa4][..], b"type", &[0xa4], b"Unit", &[0xa4], b"type", &[0xa3], b"Say"].concat();
    assert!(fault(&twice).contains("duplicate field `type`"), "{}", fault(&twice));
    assert!(fault(&[0x80]).contains("missing field `type`"));
    assert!(fault(&[0x90]).contains("sequence"));
    assert!(fault(&[0x81, 7, 7]).contains("no text"));
    let unknown = [&[0x81, 0xa4][..], b"type", &[0xa1], b"X"].concat();
    assert!(fault(&unknown).contains("unknown variant `X`"), "{}", fault(&unknown));
}

#[test]
fn the_key_of_a_variant_is_not_searched_for_without_an_end() {
    // Each level has its key after the next level.
    let tag = [&[0xa4][..], b"type", &[0xa3], b"Say"].concat();
    let mut value = [&[0x81, 0xa4][..], b"type", &[0xa4], b"Unit"].concat();
    for _ in 0..90 {
        let fields = [
            &[0x85, 0xa4][..],
            b"text",
            &[0xa1, b'x', 0xa4],
            b"data",
            &[0xc4, 0, 0xa2],
            b"by",
            &[0x80, 0xa5],
            b"inner",
        ];
        value = [&fields.concat(), &*value, &tag].concat();
    }
    assert!(decode_event::<Tagged>(&value).is_ok());
    let text = [&[0xdb][..], &4_000_000_u32.to_be_bytes(), &vec![b'x'; 4_000_000]].concat();
    let long = [&[0x84, 0xa4][..], b"data", &[0xc4, 0, 0xa2], b"by", &[0x80, 0xa4], b"text", &text, &tag].concat();
    assert!(decode_event::<Tagged>(&long).is_ok());
    let mut value = long;
    for _ in 0..12 {
        let fields = [
            &[0x85, 0xa4][..],
            b"text",
            &[0xa1, b'x', 0xa4],
            b"data",
            &[0xc4, 0, 0xa2],
            b"by",
            &[0x80, 0xa5],
            b"inner",
        ];
        value = [&fields.concat(), &*value, &tag].concat();
    }
    let fault = decode_event::<Tagged>(&value).expect_err("it is read too often").to_string();
    assert!(fault.contains("again and again"), "{fault}");
}

#[test]
fn lengths_that_are_not_true_and_deep_nesting_are_errors() {
    use serde::de::IgnoredAny;
    for bytes in [
        &[][..],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xdb, 0xff, 0xff, 0xff, 0xff, b'x'],
        &[0xc6, 0x7f, 0xff, 0xff, 0xff],
        &[0x92, 1],
        &[0x81, 0xa1],
        &[0xcf, 1, 2],
        &[0xc1],
        &[0xd4, 1, 1],
        &[0xc7, 1, 1, 1],
        &[0xa2, 0xff, 0xfe],
        &[0x01, 0x02],
    ] {
        assert!(decode_event::<IgnoredAny>(bytes).is_err(), "{bytes:x?}");
        assert!(decode_event::<serde_json::Value>(bytes).is_err(), "{bytes:x?}");
        assert!(decode_event::<Vec<String>>(bytes).is_err(), "{bytes:x?}");
    }
    let deep = |levels: usize| [vec![0x91; levels], vec![0xc0]].concat();
    let limit = usize::from(Limits::MAX_EVENT_DEPTH);
    assert!(
        decode_event::<serde_json::Value>(&deep(limit)).is_ok() && decode_event::<IgnoredAny>(&deep(limit)).is_ok()
    );
    for levels in [limit + 1, 1_000_000] {
        for fault in [
            decode_event::<serde_json::Value>(&deep(levels)).map(drop).expect_err("too deep"),
            decode_event::<IgnoredAny>(&deep(levels)).map(drop).expect_err("too deep"),
        ] {
            assert!(fault.to_string().contains("more than 100 levels"), "{fault}");
        }
    }
}

#[test]
fn values_that_would_read_back_changed_are_refused_as_in_json() {
    for (value, reason) in [
        (encode_message(&Some(None::<u8>)), "`None`"),
        (encode_message(&f64::NAN), "NaN"),
        (encode_message(&u128::MAX), "3402"),
        (encode_message(&serde_json::value::RawValue::from_string("1".to_owned()).expect("JSON")), "RawValue"),
    ] {
        let error = value.expect_err("it would not read back");
        assert!(error.kind() == ErrorKind::Encode && error.message().contains(reason), "{error}");
    }
}

#[test]
fn no_bytes_are_a_panic() {
    // A small generator, so that each run has the same bytes.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let whole = encode_message(&say(Some(Box::new(say(None))))).expect("encodes");
    let mut accepted = 0;
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..next() % 4 {
            let at = next() as usize % bytes.len();
            match next() % 3 {
                0 => bytes[at] = next() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, next() as u8),
            }
        }
        if let Ok(event) = decode_event::<Tagged>(&bytes) {
            accepted += 1;
            reads_back(&event);
        }
        let _ = decode_event::<serde_json::Value>(&bytes);
        let _ = decode_event::<Everything>(&bytes);
    }
    assert!(accepted > 1_000, "{accepted}");
}
