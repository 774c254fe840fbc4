//! The options of `#[room]`, in one table: names, kinds of value, defaults, effects and documentation.
//!
//! Parsing, checks, error messages, expansion and the reference in `options.md` follow from the entries.

#[cfg(test)]
mod tests;

/// An option that a room may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptionKind {
    pub(crate) name: &'static str,
    /// An example of a value, in parentheses if the option is a list.
    example: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "the reference is written by a test"))]
    default: Fallback,
    pub(crate) sets: Sets,
    /// The handler that a room with the option must have.
    pub(crate) needs: Option<&'static str>,
    /// The option that a room with this option must have.
    pub(crate) beside: Option<&'static str>,
    /// The meaning, for the reference. `{range}` stands for the accepted values.
    #[cfg_attr(not(test), expect(dead_code, reason = "the reference is written by a test"))]
    doc: &'static str,
}

/// The behaviour of a room without the option, for the reference.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "the reference is written by a test"))]
enum Fallback {
    /// The value that has the same effect.
    Value(&'static str),
    /// A description, where no value has the same effect.
    Text(&'static str),
}

/// The part of the expansion that an option changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sets {
    /// The name of the binding; the default depends on the module.
    Binding,
    /// The name of the class; the default depends on the module.
    Class,
    /// The key of the variant's name in the schemas.
    Tag,
    /// The path of the runtime.
    Crate,
    /// This constant of the trait `Room`. Its type follows from the kind of value.
    Constant(&'static str, Takes),
    /// The limit with the option's name, in the constant `LIMITS`.
    Limit(Takes),
    /// The constants of the trait `Room` with the rules of these schemas, each by the word that chooses it.
    Rules(&'static [RuledSchema]),
}

/// A schema that can have rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuledSchema {
    /// The word in the option.
    pub(crate) word: &'static str,
    /// The name of the schema.
    pub(crate) schema: &'static str,
    /// The constant of the trait `Room`.
    pub(crate) constant: &'static str,
}

/// The schemas that can have rules.
pub(crate) const RULED: &[RuledSchema] = &[
    RuledSchema { word: "event", schema: "Event", constant: "EVENT_RULES" },
    RuledSchema { word: "connection", schema: "Connection", constant: "CONNECTION_RULES" },
    RuledSchema { word: "broadcast", schema: "Broadcast", constant: "BROADCAST_RULES" },
];

/// The kind of value that an option takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    /// An integer from 1 to `most`.
    WholeNumber { most: u32 },
    /// As `WholeNumber`, in bytes.
    Bytes { most: u32 },
    /// A number above 0.
    Fraction,
    /// A time, in milliseconds.
    Time { least: u64, most: u64 },
    /// A variant of this enum of the runtime. Each has the text that chooses it.
    OneOf { ty: &'static str, choices: &'static [(&'static str, &'static str)] },
    /// Two string literals of 1 to `most_bytes` bytes.
    TwoTexts { are: &'static str, most_bytes: usize },
    /// A list of these parts. The required ones are the arguments of `new` of this type of the runtime, and each other
    /// one is the argument of its method of the same name.
    Parts { ty: &'static str, parts: &'static [Part] },
    /// Origins of web pages, as string literals.
    Origins,
}

/// A nested option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    example: &'static str,
    pub(crate) takes: Takes,
    pub(crate) required: bool,
}

/// The units of a time, in milliseconds.
pub(crate) const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", HOUR), ("d", DAY)];
pub(crate) const SECOND: u64 = 1_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;
pub(crate) const DAY: u64 = 24 * HOUR;

/// All options, in the order of the reference, the messages and the expansion.
pub(crate) const OPTIONS: &[OptionKind] = &[
    OptionKind {
        name: "binding",
        example: r#""CHAT""#,
        default: Fallback::Text("the module's name in capitals"),
        sets: Sets::Binding,
        needs: None,
        beside: None,
        doc: "the Durable Object binding in the Worker's configuration; unique in the crate",
    },
    OptionKind {
        name: "class",
        example: r#""ChatRoom""#,
        default: Fallback::Text("the module's name in PascalCase, with `Room`"),
        sets: Sets::Class,
        needs: None,
        beside: None,
        doc: "the Durable Object class: a name that JavaScript can export; unique in the crate",
    },
    OptionKind {
        name: "tag",
        example: r#""type""#,
        default: Fallback::Value(r#""type""#),
        sets: Sets::Tag,
        needs: None,
        beside: None,
        doc: "the JSON key of the variant's name, for the `enum` schemas that are written in the module; other types \
              set their own key with `#[data(tag = \"…\")]`",
    },
    OptionKind {
        name: "codec",
        example: r#""json""#,
        default: Fallback::Value(r#""json""#),
        sets: Sets::Constant(
            "CODECS",
            Takes::OneOf {
                ty: "Codecs",
                choices: &[
                    ("json", "JSON"),
                    ("msgpack", "MESSAGE_PACK"),
                    ("json, msgpack", "JSON_AND_MESSAGE_PACK"),
                    ("msgpack, json", "MESSAGE_PACK_AND_JSON"),
                ],
            },
        ),
        needs: None,
        beside: None,
        doc: "the codecs of events and messages: JSON in text frames (`\"json\"`), MessagePack in binary frames \
              (`\"msgpack\"`), or both (`\"json, msgpack\"`) or (`\"msgpack, json\"`): with both, a client chooses by the \
              subprotocol `room.json` or `room.msgpack`, and otherwise gets the first",
    },
    OptionKind {
        name: "max_peers",
        example: "1000",
        default: Fallback::Value("1000"),
        sets: Sets::Limit(Takes::WholeNumber { most: 32_768 }),
        needs: None,
        beside: None,
        doc: "the maximum number of peers at once, {range}: Cloudflare's limit",
    },
    OptionKind {
        name: "max_message_bytes",
        example: "65536",
        default: Fallback::Value("1048576"),
        sets: Sets::Limit(Takes::Bytes { most: 33_554_432 }),
        needs: None,
        beside: None,
        doc: "the largest frame of a peer, {range}: Cloudflare's limit",
    },
    OptionKind {
        name: "max_unread_bytes",
        example: "1048576",
        default: Fallback::Value("16777216"),
        sets: Sets::Limit(Takes::Bytes { most: 134_217_728 }),
        needs: None,
        beside: None,
        doc: "the maximum number of bytes that a peer may leave unread, {range}: the object's memory; past it, the \
              room closes the slow consumer with 1013",
    },
    OptionKind {
        name: "rate_limit",
        example: "(burst = 10, per_second = 2)",
        default: Fallback::Text("any rate"),
        sets: Sets::Limit(Takes::Parts {
            ty: "RateLimit",
            parts: &[
                Part { name: "burst", example: "10", takes: Takes::WholeNumber { most: u32::MAX }, required: true },
                Part { name: "per_second", example: "2", takes: Takes::Fraction, required: true },
                Part {
                    name: "by",
                    example: r#""address""#,
                    takes: Takes::OneOf { ty: "RateLimitBy", choices: &[("peer", "Peer"), ("address", "Address")] },
                    required: false,
                },
            ],
        }),
        needs: None,
        beside: None,
        doc: "the number of frames that a peer may send at once, and the number added each second; `per_second` can \
              be a fraction; `by = \"address\"` counts the frames of a client's IP address, in place of a peer id; \
              the handler `event_cost` gives events other costs than 1",
    },
    OptionKind {
        name: "max_sessions",
        example: "10000",
        default: Fallback::Value("10000"),
        sets: Sets::Limit(Takes::WholeNumber { most: 1_000_000 }),
        needs: None,
        beside: None,
        doc: "the maximum number of sessions of the subprotocol `room.v1` that the room remembers, {range}; past it, \
              the room forgets the oldest",
    },
    OptionKind {
        name: "allowed_origins",
        example: r#"("https://example.com", "https://*.example.com")"#,
        default: Fallback::Text("every origin"),
        sets: Sets::Constant("ALLOWED_ORIGINS", Takes::Origins),
        needs: None,
        beside: None,
        doc: "the origins of the web pages that may open a WebSocket to the room; the upgrade of another page is \
              answered with 403; a `*` stands for one label of the host; clients that send no `origin` header are \
              not restricted",
    },
    OptionKind {
        name: "on_invalid",
        example: r#""report""#,
        default: Fallback::Value(r#""report""#),
        sets: Sets::Constant(
            "ON_INVALID",
            Takes::OneOf {
                ty: "OnInvalid",
                choices: &[("report", "Report"), ("ignore", "Ignore"), ("close", "Close")],
            },
        ),
        needs: None,
        beside: None,
        doc: "the reaction to a frame that is not an `Event`: send the sender an error frame (`\"report\"`), ignore \
              the frame (`\"ignore\"`), or close the connection (`\"close\"`)",
    },
    OptionKind {
        name: "validate",
        example: "(event, connection, broadcast)",
        default: Fallback::Text("types only"),
        sets: Sets::Rules(RULED),
        needs: None,
        beside: None,
        doc: "the schemas whose rules the room checks, one or more of `event`, `connection` and `broadcast`: each has \
              `#[derive(garde::Validate)]`; it needs the feature `garde` of `room-runtime`",
    },
    OptionKind {
        name: "heartbeat",
        example: r#"("ping", "pong")"#,
        default: Fallback::Value(r#"("ping", "pong")"#),
        // Cloudflare's limit for the automatic reply, which workerd counts in bytes.
        sets: Sets::Constant("HEARTBEAT", Takes::TwoTexts { are: "a frame and the answer to it", most_bytes: 2_048 }),
        needs: None,
        beside: None,
        doc: "a text frame, and the platform's reply to it, which does not wake the room: {range} each, Cloudflare's \
              limit",
    },
    OptionKind {
        name: "state_version",
        example: "1",
        default: Fallback::Text("0"),
        sets: Sets::Constant("STATE_VERSION", Takes::WholeNumber { most: u32::MAX }),
        needs: Some("migrate"),
        beside: None,
        doc: "the version of the type `State`, {range}; it needs the handler `migrate`, for states stored under a \
              lower version",
    },
    OptionKind {
        name: "reconnect_grace",
        example: r#""2m""#,
        default: Fallback::Text("none"),
        sets: Sets::Constant("RECONNECT_GRACE_MS", Takes::Time { least: SECOND, most: HOUR }),
        needs: None,
        beside: None,
        doc: "how long a peer that lost its connection keeps its place before `on_close`, {range}",
    },
    OptionKind {
        name: "replay",
        example: "(messages = 1000)",
        default: Fallback::Text("none"),
        sets: Sets::Constant(
            "REPLAY",
            Takes::Parts {
                ty: "Replay",
                parts: &[
                    Part {
                        name: "messages",
                        example: "1000",
                        takes: Takes::WholeNumber { most: 100_000 },
                        required: true,
                    },
                    Part {
                        name: "age",
                        example: r#""1h""#,
                        takes: Takes::Time { least: SECOND, most: 30 * DAY },
                        required: false,
                    },
                    Part {
                        name: "bytes",
                        example: "4194304",
                        takes: Takes::Bytes { most: 33_554_432 },
                        required: false,
                    },
                ],
            },
        ),
        needs: None,
        beside: Some("reconnect_grace"),
        doc: "the log from which a client of the subprotocol `room.v1` that resumes its place gets what it has missed: the \
              last messages, at most an hour old (`age = \"1h\"`) and 4 MiB together (`bytes = 4194304`); `replay = 1000` is \
              short for `replay(messages = 1000)`; it needs the option `reconnect_grace`",
    },
    OptionKind {
        name: "purge_after",
        example: r#""30d""#,
        default: Fallback::Text("never"),
        sets: Sets::Constant("PURGE_AFTER_MS", Takes::Time { least: SECOND, most: 3_650 * DAY }),
        needs: None,
        beside: None,
        doc: "how long the room stays stored after the last peer has left, before it is purged, {range}",
    },
    OptionKind {
        name: "batch",
        example: r#""20ms""#,
        default: Fallback::Text("no delay"),
        sets: Sets::Constant("BATCH_MS", Takes::Time { least: 1, most: SECOND }),
        needs: None,
        beside: None,
        doc: "how long a message may wait to share one frame with others, for peers that use the subprotocol \
              `room.v1`, {range}",
    },
    OptionKind {
        name: "watchdog",
        example: r#""5m""#,
        default: Fallback::Value(r#""5m""#),
        sets: Sets::Constant("WATCHDOG_MS", Takes::Time { least: SECOND, most: DAY }),
        needs: None,
        beside: None,
        doc: "the longest time until a peer lost in a restart or a deploy is noticed, if no event arrives, {range}",
    },
    OptionKind {
        name: "outbox_timeout",
        example: r#""1d""#,
        default: Fallback::Value(r#""1d""#),
        sets: Sets::Constant("OUTBOX_TIMEOUT_MS", Takes::Time { least: SECOND, most: 30 * DAY }),
        needs: Some("on_undelivered"),
        beside: None,
        doc: "how long a durable call to another room is repeated, {range}; it needs the handler `on_undelivered`, which \
              then gets the call",
    },
    OptionKind {
        name: "peer_timeout",
        example: r#""90s""#,
        default: Fallback::Text("none"),
        sets: Sets::Constant("PEER_TIMEOUT_MS", Takes::Time { least: SECOND, most: DAY }),
        needs: None,
        beside: None,
        doc: "how long a peer may send neither a frame nor a heartbeat before the room closes its connection as lost, \
              {range}; clients have to send heartbeats",
    },
    OptionKind {
        name: "session_timeout",
        example: r#""1d""#,
        default: Fallback::Value(r#""1d""#),
        sets: Sets::Constant("SESSION_TIMEOUT_MS", Takes::Time { least: SECOND, most: 365 * DAY }),
        needs: None,
        beside: None,
        doc: "how long the room remembers a session of the subprotocol `room.v1` after its last event, {range}",
    },
    OptionKind {
        name: "crate",
        example: r#""room_runtime""#,
        default: Fallback::Text("as in `Cargo.toml`"),
        sets: Sets::Crate,
        needs: None,
        beside: None,
        doc: "the path of the runtime, if it is reached through another crate",
    },
];

/// The option of this name.
pub(crate) fn find(name: &str) -> Option<&'static OptionKind> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// The names of all options.
pub(crate) fn names() -> Vec<&'static str> {
    OPTIONS.iter().map(|option| option.name).collect()
}

impl OptionKind {
    /// The option with its example, as a user writes it.
    pub(crate) fn written(&self) -> String {
        written(self.name, self.example)
    }
}

impl Part {
    pub(crate) fn written(&self) -> String {
        written(self.name, self.example)
    }
}

fn written(name: &str, value: &str) -> String {
    if value.starts_with('(') { format!("{name}{value}") } else { format!("{name} = {value}") }
}
