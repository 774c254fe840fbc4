//! The bindings of a room with every form that serde gives to a type. `files` has the generated files, which
//! `tests/e2e/bindings.test.mjs` reads with the compiler of TypeScript and the validators of JSON Schema and AsyncAPI.
//!
//! `UPDATE_BINDINGS=1 cargo test -p bindings-tests` writes them.

#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    time::Duration,
};

use room_runtime::{
    bindings::{self, ByteArray, Describe},
    prelude::*,
    room,
};
use serde_json::{Value, json};

/// A zoo with one animal of each kind.
///
/// It has two paragraphs, and a comment that ends: */ not here.
#[room]
pub mod zoo {
    use super::*;

    /// The knowledge of the zoo.
    pub struct State {
        /// The number of visits.
        pub visits: u64,
        pub balance: i64,
        #[deprecated]
        pub legacy: Option<bool>,
        pub animals: Vec<Animal>,
        pub page: Page<Animal>,
        pub names: Page<String>,
        pub root: Tree,
        pub by_number: HashMap<u32, Animal>,
        pub by_offset: BTreeMap<i8, u64>,
        pub by_color: BTreeMap<Color, u8>,
        pub by_name: BTreeMap<String, Vec<String>>,
        pub open: BTreeSet<char>,
        pub pair: (u8, String),
        pub point: [f32; 3],
        pub hash: [u8; 32],
        pub raw: Vec<u8>,
        #[serde(with = "serde_bytes")]
        pub blob: Vec<u8>,
        #[serde(with = "serde_bytes")]
        pub thumbnail: Option<Vec<u8>>,
        #[schemars(with = "ByteArray")]
        pub buffer: serde_bytes::ByteBuf,
        pub closes_in: Duration,
        #[serde(with = "iso")]
        #[schemars(with = "String")]
        pub opened: u64,
        pub anything: Value,
        pub nothing: (),
        #[serde(rename = "kebab-name")]
        pub renamed: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub nickname: Option<String>,
        #[serde(skip)]
        pub hidden: usize,
    }

    pub struct Connection {}

    /// The wishes of a visitor.
    #[serde(rename_all = "snake_case", rename_all_fields = "camelCase")]
    pub enum Event {
        /// Feeds an animal.
        Feed {
            animal_id: AnimalId,
            /// The weight, in grams.
            gram_count: u16,
            #[serde(default = "one")]
            times: u32,
            note: Option<String>,
        },
        Leave,
        #[serde(rename = "say!")]
        Shout {
            text: String,
        },
        Adopt {
            #[serde(flatten)]
            adoption: Adoption,
        },
        Tag {
            tag: Tag,
        },
        Settle {
            settings: Settings,
        },
        Add {
            animal: Animal,
        },
    }

    pub enum Broadcast {
        Fed {
            animal: Animal,
            left: Option<u64>,
            by: Option<Adoption>,
        },
        Moved {
            #[serde(flatten)]
            path: Moved,
        },
        Closed,
        Tagged {
            external: External,
            adjacent: Adjacent,
            untagged: Untagged,
            flat: Flat,
            strict: Strict,
        },
    }

    fn one() -> u32 {
        1
    }

    pub fn init(_ctx: &Ctx) -> Result<State> {
        Err(Failure::msg("no test opens the zoo"))
    }
}

/// The id of an animal.
#[data(skip(PartialEq))]
#[derive(PartialEq, Eq)]
pub struct AnimalId(pub u32);

#[data]
pub struct Animal {
    pub id: AnimalId,
    pub color: Color,
    #[serde(default)]
    pub tame: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Animal>,
}

#[data]
#[derive(Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Color {
    DarkRed,
    /// As a clear sky.
    Blue,
}

#[data]
#[schemars(rename = "{T}Page")]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<u64>,
}

#[data]
pub struct Tree {
    pub value: i32,
    pub children: Vec<Tree>,
    pub parent: Option<Box<Tree>>,
}

#[data]
pub struct Adoption {
    #[serde(default)]
    pub name: String,
    pub since: u64,
}

#[data]
pub struct Moved {
    pub from: (i32, i32),
    pub to: (i32, i32),
}

#[data(externally_tagged)]
pub enum External {
    Unit,
    Newtype(u8),
    Tuple(u8, String),
    Struct { a: bool },
}

#[data]
#[serde(tag = "t", content = "c")]
pub enum Adjacent {
    Unit,
    Newtype(Color),
    Tuple(u8, String),
    Struct { a: bool },
}

#[data]
#[serde(untagged)]
pub enum Untagged {
    Number(f64),
    Text(String),
    Pair { left: u8, right: u8 },
    None,
}

#[data(tag = "kind")]
pub enum Tag {
    Plain,
    Colored { color: Color },
}

#[data]
pub struct Flat {
    pub own: String,
    #[serde(flatten)]
    pub inner: Inner,
    #[serde(flatten)]
    pub choice: Tag,
    #[serde(flatten)]
    pub rest: BTreeMap<String, u8>,
}

#[data]
pub struct Inner {
    pub left: u8,
    pub right: Option<u8>,
}

#[data]
#[serde(deny_unknown_fields, rename_all = "SCREAMING_SNAKE_CASE")]
pub struct Strict {
    pub first_field: u8,
}

#[data]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub volume: f64,
    #[serde(default)]
    pub muted: bool,
}

mod iso {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A room that speaks MessagePack, with types of the same names as others.
#[room(codec = "msgpack")]
pub mod packed_room {
    use super::*;

    #[derive(Default)]
    pub struct State {
        pub raw: Vec<u8>,
        pub last: Option<Vec<u8>>,
        pub log: Vec<other::Event>,
        pub seen: Vec<other::Animal>,
        pub zoo_animals: Vec<Animal>,
    }

    pub type Connection = BTreeMap<String, u64>;

    pub struct Event {
        pub raw: Vec<u8>,
        pub fixed: [u8; 2],
    }

    pub enum Broadcast {
        Said { event: Event, log: other::Event },
    }
}

mod other {
    use super::*;

    #[data]
    pub struct Event {
        #[serde(default)]
        pub text: String,
    }

    #[data]
    pub struct Animal {
        pub legs: u8,
    }
}

/// A room whose numbers no client could hold.
#[room]
pub mod large {
    use super::*;

    pub struct State {
        pub total: u128,
    }
    pub struct Connection {
        pub ok: u64,
    }
    pub enum Event {
        Put { amount: Option<i128> },
    }
    pub enum Broadcast {
        All { list: Vec<Deep> },
    }

    #[data]
    pub struct Deep {
        pub by_name: HashMap<String, u128>,
    }

    pub fn init(_ctx: &Ctx) -> Result<State> {
        Ok(State { total: 0 })
    }
}

/// A room without `JsonSchema` on one of its schemas: it compiles, and only its bindings do not.
#[room]
pub mod plain {
    use super::*;

    #[data(skip(JsonSchema))]
    #[derive(Default)]
    pub struct State {
        pub at: Undescribed,
    }
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}

    #[data(skip(JsonSchema))]
    #[derive(Default)]
    pub struct Undescribed {}
}

/// A room with calls.
#[room]
pub mod club {
    pub type State = ();
    pub type Connection = ();
    pub use super::{Animal as Broadcast, Tag as Event};
    use super::{Animal, animal};
    use room_runtime::prelude::*;

    /// The reasons against a name.
    #[data]
    pub enum RenameError {
        Taken,
        TooLong { at_most: u32 },
    }

    /// Renames the club.
    ///
    /// It takes effect at once.
    #[call]
    pub fn rename(_ctx: &Ctx, name: String, quietly: Option<bool>) -> Result<u64, RenameError> {
        if name.len() > 9 { Err(RenameError::TooLong { at_most: 9 }) } else { Ok(quietly.map_or(1, u64::from)) }
    }

    #[call]
    pub fn mascot(_ctx: &Ctx) -> Result<Animal, String> {
        Ok(animal())
    }

    /// Closes the club. Only a failure can end it, so there is no error type.
    #[call]
    pub async fn close_for(_ctx: &Ctx, days: u8) -> Result {
        let _ = days;
        Ok(())
    }

    /// No client sees this one.
    #[call(worker)]
    pub fn audit(_ctx: &Ctx) -> u32 {
        1
    }
}

#[test]
fn the_files_are_those_of_the_rooms() {
    bindings::check::<zoo::Room>("files/zoo.ts");
    bindings::check::<zoo::Room>("files/zoo.json");
    bindings::check::<zoo::Room>("files/zoo.asyncapi.json");
    bindings::check::<packed_room::Room>("files/packed_room.ts");
    bindings::check::<packed_room::Room>("files/packed_room.json");
    bindings::check::<packed_room::Room>("files/packed_room.asyncapi.json");
    bindings::check::<club::Room>("files/club.ts");
    bindings::check::<club::Room>("files/club.json");
    bindings::check::<club::Room>("files/club.asyncapi.json");
}

/// Validates against one type of a room.
struct Validator(jsonschema::Validator);

impl Validator {
    fn of<R: Describe>(name: &str) -> Self {
        let mut schema = bindings::json_schema::<R>().expect("a schema");
        let definitions = schema["$defs"].take();
        assert!(!definitions[name].is_null(), "there is no `{name}`: {definitions:#}");
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": format!("#/$defs/{name}"),
            "$defs": definitions,
        });
        Self(jsonschema::draft202012::new(&schema).expect("a valid schema"))
    }

    fn accepts(&self, value: &Value) {
        let errors: Vec<_> = self.0.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{value:#}\n{errors:#?}");
    }

    fn refuses(&self, value: &Value) {
        assert!(!self.0.is_valid(value), "{value:#} is valid");
    }
}

fn animal() -> Animal {
    let parent = Animal { id: AnimalId(1), color: Color::Blue, tame: true, parents: Vec::new() };
    Animal { id: AnimalId(u32::MAX), color: Color::DarkRed, tame: false, parents: vec![parent] }
}

#[expect(deprecated)]
fn state() -> zoo::State {
    let leaf = Tree { value: i32::MIN, children: Vec::new(), parent: None };
    zoo::State {
        visits: 9_007_199_254_740_991,
        balance: -9_007_199_254_740_991,
        legacy: None,
        animals: vec![animal()],
        page: Page { items: vec![animal()], next: Some(0) },
        names: Page { items: vec!["a".to_owned()], next: None },
        root: Tree { value: 1, children: vec![leaf.clone()], parent: Some(Box::new(leaf)) },
        by_number: HashMap::from([(7, animal())]),
        by_offset: BTreeMap::from([(-3, 1), (3, 1)]),
        by_color: BTreeMap::from([(Color::DarkRed, 2)]),
        by_name: BTreeMap::from([("any name".to_owned(), vec![String::new()])]),
        open: BTreeSet::from(['ä']),
        pair: (255, String::new()),
        point: [1.5, 0.0, -1.0],
        hash: [200; 32],
        raw: vec![0, 255],
        blob: vec![0, 255],
        thumbnail: Some(vec![1]),
        buffer: serde_bytes::ByteBuf::from([3]),
        closes_in: Duration::from_millis(1_500),
        opened: 12,
        anything: json!([{ "a": null }, 1]),
        nothing: (),
        renamed: String::new(),
        nickname: Some("n".to_owned()),
        hidden: 3,
    }
}

fn events() -> Vec<zoo::Event> {
    use zoo::Event;

    vec![
        Event::Feed { animal_id: AnimalId(0), gram_count: u16::MAX, times: 2, note: Some("n".to_owned()) },
        Event::Leave,
        Event::Shout { text: String::new() },
        Event::Adopt { adoption: Adoption { name: "a".to_owned(), since: 0 } },
        Event::Tag { tag: Tag::Plain },
        Event::Tag { tag: Tag::Colored { color: Color::Blue } },
        Event::Settle { settings: Settings { volume: 0.5, muted: true } },
        Event::Add { animal: animal() },
    ]
}

fn broadcasts() -> Vec<zoo::Broadcast> {
    use zoo::Broadcast;

    let externals =
        [External::Unit, External::Newtype(1), External::Tuple(1, String::new()), External::Struct { a: true }];
    let adjacents = [
        Adjacent::Unit,
        Adjacent::Newtype(Color::Blue),
        Adjacent::Tuple(1, String::new()),
        Adjacent::Struct { a: true },
    ];
    let untagged =
        [Untagged::Number(0.5), Untagged::Text(String::new()), Untagged::Pair { left: 1, right: 2 }, Untagged::None];
    let mut all = vec![
        Broadcast::Fed { animal: animal(), left: Some(0), by: None },
        Broadcast::Fed { animal: animal(), left: None, by: Some(Adoption { name: String::new(), since: 1 }) },
        Broadcast::Moved { path: Moved { from: (1, 2), to: (-1, -2) } },
        Broadcast::Closed,
    ];
    for ((external, adjacent), untagged) in externals.into_iter().zip(adjacents).zip(untagged) {
        let rest = BTreeMap::from([("more".to_owned(), 7)]);
        let flat = Flat { own: String::new(), inner: Inner { left: 1, right: None }, choice: Tag::Plain, rest };
        all.push(Broadcast::Tagged { external, adjacent, untagged, flat, strict: Strict { first_field: 1 } });
    }
    all
}

#[test]
fn what_a_room_writes_is_valid() {
    let (event, broadcast) = (Validator::of::<zoo::Room>("Event"), Validator::of::<zoo::Room>("Broadcast"));
    let value = |value: &dyn Fn() -> serde_json::Result<Value>| value().expect("JSON");
    events().iter().for_each(|sample| event.accepts(&value(&|| serde_json::to_value(sample))));
    broadcasts().iter().for_each(|sample| broadcast.accepts(&value(&|| serde_json::to_value(sample))));
    Validator::of::<zoo::Room>("State").accepts(&value(&|| serde_json::to_value(state())));
    Validator::of::<zoo::Room>("Connection").accepts(&value(&|| serde_json::to_value(zoo::Connection {})));
}

/// The samples for the validator and the compiler of the test in Node.js.
#[test]
fn the_samples_are_those_of_the_rooms() {
    let samples = json!({ "Event": events(), "Broadcast": broadcasts(), "State": [state()] });
    let (path, text) = ("files/samples.json", format!("{samples:#}\n"));
    if env::var_os("UPDATE_BINDINGS").is_some() {
        fs::write(path, &text).expect("the samples");
    }
    // Compared as values, because a feature of another crate can change the order of the keys.
    let found: Value = serde_json::from_str(&fs::read_to_string(path).expect("the samples")).expect("JSON");
    assert_eq!(found, samples, "write them with `UPDATE_BINDINGS=1`");
}

#[test]
fn what_a_client_may_send_the_room_reads() {
    let event = Validator::of::<zoo::Room>("Event");
    let read = |value: &Value| serde_json::from_value::<zoo::Event>(value.clone());
    for fine in [
        json!({ "type": "feed", "animalId": 1, "gramCount": 2 }),
        json!({ "type": "feed", "animalId": 1, "gramCount": 2, "note": null, "times": 4_294_967_295_u32 }),
        json!({ "type": "say!", "text": "" }),
        json!({ "type": "adopt", "since": 9_007_199_254_740_991_u64 }),
        json!({ "type": "add", "animal": { "id": 1, "color": "blue" } }),
        json!({ "type": "leave", "more": 1 }),
    ] {
        event.accepts(&fine);
        read(&fine).unwrap_or_else(|error| panic!("{fine}: {error}"));
    }
    for wrong in [
        json!({ "type": "Feed", "animalId": 1, "gramCount": 2 }),
        json!({ "type": "feed", "animal_id": 1, "gramCount": 2 }),
        json!({ "type": "feed", "animalId": 1, "gramCount": 65_536 }),
        json!({ "type": "feed", "animalId": 4_294_967_296_u64, "gramCount": 1 }),
        json!({ "type": "feed", "animalId": -1, "gramCount": 1 }),
        json!({ "type": "shout", "text": "" }),
        json!({ "type": "add", "animal": { "id": 1, "color": "Blue" } }),
        json!({ "type": "settle", "settings": { "volume": 1.0, "more": 1 } }),
        json!({ "type": "adopt" }),
        json!("leave"),
    ] {
        event.refuses(&wrong);
        read(&wrong).expect_err("the room refuses it too");
    }
}

#[test]
fn a_number_that_javascript_would_change_is_not_valid() {
    let event = Validator::of::<zoo::Room>("Event");
    event.refuses(&json!({ "type": "adopt", "since": 9_007_199_254_740_993_u64 }));
    let sees = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(state()).expect("JSON");
        change(&mut value);
        Validator::of::<zoo::Room>("State").0.is_valid(&value)
    };
    assert!(sees(&|_| {}));
    assert!(!sees(&|state| state["visits"] = json!(9_007_199_254_740_993_u64)));
    assert!(!sees(&|state| state["balance"] = json!(-9_007_199_254_740_993_i64)));
    assert!(!sees(&|state| state["by_offset"]["3"] = json!(9_007_199_254_740_992_u64)));
    assert!(!sees(&|state| state["page"]["next"] = json!(9_007_199_254_740_992_u64)));
    assert!(!sees(&|state| state["raw"] = json!([256])));
    assert!(!sees(&|state| state["by_number"] = json!({ "seven": {} })));
    assert!(!sees(&|state| state["point"] = json!([1.0, 2.0])));
}

#[test]
fn a_field_can_be_missing_in_one_direction_only() {
    let (sent, received) = (Validator::of::<zoo::Room>("AnimalInput"), Validator::of::<zoo::Room>("Animal"));
    let short = json!({ "id": 1, "color": "blue" });
    sent.accepts(&short);
    received.refuses(&short);
    received.accepts(&json!({ "id": 1, "color": "blue", "tame": false }));
}

#[test]
fn integers_of_128_bits_are_an_error_that_names_each_field() {
    let error = bindings::typescript::<large::Room>().expect_err("no bindings").to_string();
    let expected = "the room `large` has types that JavaScript has no value for:";
    assert!(error.starts_with(expected), "{error}");
    for field in ["`Deep.by_name`", "`Event.Put.amount`", "`State.total`"] {
        assert!(error.contains(&format!("\n{field} is an integer of 128 bits\nuse a `String`")), "{field}: {error}");
    }
    assert!(!error.contains("Connection"), "{error}");
    assert_eq!(bindings::json_schema::<large::Room>().map_err(|error| error.to_string()), Err(error.clone()));
    assert_eq!(bindings::async_api::<large::Room>().map_err(|error| error.to_string()), Err(error));
}

#[data]
#[derive(garde::Validate)]
struct Ruled {
    #[garde(range(max = 10))]
    count: u64,
    #[garde(length(min = 1, max = 3))]
    name: String,
}

#[test]
fn the_rules_of_garde_are_in_the_schema() {
    let schema = bindings::schemars::schema_for!(Ruled);
    assert_eq!(schema.pointer("/properties/count/maximum"), Some(&json!(10)));
    assert_eq!(schema.pointer("/properties/name/minLength"), Some(&json!(1)));
    assert_eq!(schema.pointer("/properties/name/maxLength"), Some(&json!(3)));
}

#[test]
fn a_room_without_a_schema_still_runs() {
    let room = room_runtime::testing::TestRoom::<plain::Room>::new("r");
    assert_eq!(room.state().expect("no error"), None);
}

#[test]
fn a_stale_or_missing_file_says_how_to_write_it() {
    if env::var_os("UPDATE_BINDINGS").is_some() {
        return;
    }
    let message = |file: &str| {
        let file = file.to_owned();
        let panic = std::panic::catch_unwind(move || bindings::check::<zoo::Room>(file)).expect_err("a panic");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let missing = message("files/missing.ts");
    assert!(
        missing.contains("missing.ts` cannot be read") && missing.contains("UPDATE_BINDINGS=1 cargo test"),
        "{missing}"
    );
    let stale = message("files/club.ts");
    assert!(stale.starts_with("`files/club.ts` is stale: the room `zoo` has changed\n"), "{stale}");
    assert!(stale.contains("UPDATE_BINDINGS=1 cargo test") && stale.contains("line 1 is\n"), "{stale}");
    assert!(message("files/club.js").contains("ends with `.ts`, `.json` or `.asyncapi.json`"));
}

/// A room that its peers can only listen to, and call.
#[room]
pub mod radio {

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {}

    pub enum Broadcast {
        Song { title: String },
    }

    #[call]
    pub fn skip(_ctx: &Ctx) {}
}

#[test]
fn an_enum_without_variants_is_no_value() {
    let text = bindings::typescript::<radio::Room>().expect("the types");
    assert!(text.contains("export type Event = never;"), "{text}");
    assert!(text.contains("export type Broadcast = { type: \"Song\"; title: string };"), "{text}");
}
