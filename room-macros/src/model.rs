//! The schemas and handlers that a room can have, and the validated room. [`options`](crate::options) has the options.
//!
//! The validated room is the whole input of [`expand`](crate::expand), and contains no errors.

use heck::ToSnakeCase;
use proc_macro2::{Span, TokenStream};
use syn::{Attribute, Ident, Path};

use crate::{calls::Call, options::RuledSchema, parse::RoomModule, twin::Twin};

/// A schema that a room must or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SchemaKind {
    pub(crate) name: &'static str,
    /// An example declaration for messages.
    pub(crate) example: &'static str,
    /// True if a room may omit the schema; `()` then replaces it.
    pub(crate) optional: bool,
    /// True if the schema is sent or stored, and so gets `#[data]`.
    pub(crate) travels: bool,
}

/// All schemas, in the order of the expansion.
pub(crate) const SCHEMAS: [SchemaKind; 6] = [
    SchemaKind { name: "State", example: "pub struct State { … }", optional: false, travels: true },
    SchemaKind { name: "Connection", example: "pub struct Connection { … }", optional: false, travels: true },
    SchemaKind { name: "Event", example: "pub enum Event { … }", optional: false, travels: true },
    SchemaKind { name: "Broadcast", example: "pub enum Broadcast { … }", optional: false, travels: true },
    SchemaKind { name: "Alarm", example: "pub enum Alarm { … }", optional: true, travels: true },
    SchemaKind { name: "Services", example: "pub struct Services { … }", optional: true, travels: false },
];

/// The aliases that `#[room]` adds; an item or import of the module replaces each.
pub(crate) const ALIASES: [&str; 5] = ["Ctx", "Peer", "UpgradeRequest", "RoomClient", "Result"];

/// The name of the marker type.
pub(crate) const MARKER: &str = "Room";

/// The generated module that contains the class.
pub(crate) const SHELL: &str = "__room";

/// The handler without which a room cannot schedule alarms.
pub(crate) const ON_ALARM: &str = "on_alarm";

/// The handler without which a room cannot make durable calls.
pub(crate) const ON_UNDELIVERED: &str = "on_undelivered";

/// The handler that a room cannot have if it speaks MessagePack.
pub(crate) const ON_BINARY: &str = "on_binary";

/// A handler that a room may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandlerKind {
    pub(crate) name: &'static str,
    /// The parameters that the engine passes. Parameters whose schema the room lacks are omitted, so they come last.
    pub(crate) parameters: &'static [Parameter],
    pub(crate) outcome: Outcome,
    /// The reason why it cannot be `async`, if any.
    pub(crate) sync: Option<&'static str>,
    /// The optional schema that the handler makes. Each requires the other.
    pub(crate) makes: Option<&'static str>,
    /// The option that the handler requires: without it the handler would never run.
    pub(crate) needs: Option<&'static str>,
    /// The constant that declares to the engine that the room lacks the handler.
    pub(crate) has: Option<&'static str>,
    /// The constant that declares to the engine that the room has the handler.
    pub(crate) declares: Option<&'static str>,
}

/// All handlers, in the order of a room's life.
pub(crate) const HANDLERS: [HandlerKind; 19] = {
    use Parameter::{
        Alarm, Bytes, Close, Ctx, DecodeError, Env, Event, EventRef, HandlerError, Peer, Request, Undelivered, Upgrade,
        User, Value, Version,
    };

    const fn on(name: &'static str, parameters: &'static [Parameter]) -> HandlerKind {
        HandlerKind {
            name,
            parameters,
            outcome: Outcome::Done,
            sync: None,
            makes: None,
            needs: None,
            has: None,
            declares: None,
        }
    }
    [
        HandlerKind {
            outcome: Outcome::State,
            sync: Some("the state is read where nothing can wait"),
            ..on("init", &[Ctx])
        },
        HandlerKind {
            outcome: Outcome::Migrated,
            sync: Some("the state is read where nothing can wait"),
            needs: Some("state_version"),
            ..on("migrate", &[Version, Value])
        },
        HandlerKind {
            outcome: Outcome::Services,
            sync: Some("the services are made while the room comes into memory, where nothing can wait"),
            makes: Some("Services"),
            ..on("services", &[Env])
        },
        on("on_start", &[Ctx]),
        HandlerKind { outcome: Outcome::Upgrade, has: Some("HAS_ON_UPGRADE"), ..on("on_upgrade", &[Ctx, Upgrade]) },
        on("on_connect", &[Ctx, Peer]),
        HandlerKind { has: Some("HAS_ON_JOIN"), ..on("on_join", &[Ctx, User]) },
        HandlerKind { needs: Some("reconnect_grace"), ..on("on_resume", &[Ctx, Peer]) },
        HandlerKind {
            outcome: Outcome::Cost,
            sync: Some("the event is charged before it is handled, where nothing can wait"),
            needs: Some("rate_limit"),
            ..on("event_cost", &[EventRef])
        },
        on("on_event", &[Ctx, Event]),
        HandlerKind { declares: Some("HAS_ON_BINARY"), ..on(ON_BINARY, &[Ctx, Bytes]) },
        HandlerKind { needs: Some("reconnect_grace"), has: Some("HAS_ON_AWAY"), ..on("on_away", &[Ctx, Peer]) },
        HandlerKind { has: Some("HAS_ON_CLOSE"), ..on("on_close", &[Ctx, Peer, Close]) },
        HandlerKind { has: Some("HAS_ON_LEAVE"), ..on("on_leave", &[Ctx, User]) },
        HandlerKind { has: Some("HAS_ON_ALARM"), ..on(ON_ALARM, &[Ctx, Alarm]) },
        HandlerKind { has: Some("HAS_ON_UNDELIVERED"), ..on(ON_UNDELIVERED, &[Ctx, Undelivered]) },
        HandlerKind { outcome: Outcome::Response, has: Some("HAS_ON_REQUEST"), ..on("on_request", &[Ctx, Request]) },
        on("on_decode_error", &[Ctx, DecodeError]),
        on("on_error", &[Ctx, HandlerError]),
    ]
};

/// The names of each handler in other systems.
const FOREIGN: [(&str, &[&str]); 13] = [
    ("init", &["create", "created", "default", "initial_state", "initialize", "new", "on_create", "on_init"]),
    ("migrate", &["migrate_state", "on_migrate", "on_migration"]),
    ("on_start", &["constructor", "on_started", "on_wake", "start", "started", "wake"]),
    (
        "on_upgrade",
        &["authenticate", "authorize", "before_connect", "on_auth", "on_before_connect", "on_handshake", "upgrade"],
    ),
    (
        "on_connect",
        &[
            "connect",
            "connected",
            "handle_connection",
            "handle_socket",
            "on_connected",
            "on_connection",
            "on_open",
            "open",
            "websocket_open",
        ],
    ),
    ("on_join", &["join", "joined", "on_enter", "on_joined", "on_user_join", "on_user_joined", "user_joined"]),
    (
        "on_event",
        &[
            "event",
            "handle",
            "handle_event",
            "handle_message",
            "message",
            "on_data",
            "on_frame",
            "on_message",
            "on_receive",
            "on_text",
            "receive",
            "websocket_message",
        ],
    ),
    ("on_binary", &["binary", "on_buffer", "on_bytes", "on_array_buffer"]),
    (
        "on_close",
        &[
            "close",
            "closed",
            "disconnect",
            "disconnected",
            "on_closed",
            "on_disconnect",
            "on_disconnected",
            "on_disconnection",
            "websocket_close",
            "websocket_error",
        ],
    ),
    ("on_leave", &["leave", "left", "on_exit", "on_left", "on_user_leave", "on_user_left", "user_left"]),
    (
        "on_alarm",
        &["alarm", "handle_alarm", "on_interval", "on_schedule", "on_tick", "on_timeout", "on_timer", "tick", "timer"],
    ),
    (
        "on_undelivered",
        &["on_dead_letter", "on_delivery_failed", "on_undeliverable", "on_undelivered_message", "undelivered"],
    ),
    ("on_request", &["fetch", "handle_request", "on_fetch", "on_http", "on_http_request", "request"]),
];

/// The handler that another system calls `name`, in any common letter case.
pub(crate) fn foreign(name: &str) -> Option<&'static str> {
    let name = name.to_snake_case().replace("web_socket", "websocket");
    FOREIGN.into_iter().find_map(|(handler, foreign)| foreign.contains(&&*name).then_some(handler))
}

impl HandlerKind {
    /// The handler's parameters in a room with the optional schemas `has`.
    pub(crate) fn taken(&self, has: impl Fn(&str) -> bool) -> Vec<Parameter> {
        let taken = |parameter: &Parameter| parameter.schema().is_none_or(&has);
        self.parameters.iter().copied().filter(taken).collect()
    }

    /// The whole signature with these parameters, as a user writes it.
    pub(crate) fn signature(&self, parameters: &[Parameter]) -> String {
        let parameters: Vec<_> =
            parameters.iter().map(|parameter| format!("{}: {}", parameter.name(), parameter.ty())).collect();
        format!("fn {}({}) -> {}", self.name, parameters.join(", "), self.outcome.ty())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    Ctx,
    Version,
    Value,
    Env,
    Upgrade,
    Peer,
    User,
    Event,
    Bytes,
    EventRef,
    Close,
    Alarm,
    Undelivered,
    Request,
    DecodeError,
    HandlerError,
}

/// The kind of a handler's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Value,
    Reference,
    MutableReference,
}

impl Parameter {
    /// The trait of the runtime that passes a parameter of this kind.
    pub(crate) const fn passing_trait(self) -> &'static str {
        match self {
            Parameter::Ctx => "CtxParameter",
            Parameter::Version => "VersionParameter",
            Parameter::Value => "ValueParameter",
            Parameter::Env => "EnvParameter",
            Parameter::Upgrade => "UpgradeParameter",
            Parameter::Peer => "PeerParameter",
            Parameter::User => "UserParameter",
            Parameter::Event => "EventParameter",
            Parameter::Bytes => "BytesParameter",
            Parameter::EventRef => "CostedEventParameter",
            Parameter::Close => "CloseParameter",
            Parameter::Alarm => "AlarmParameter",
            Parameter::Undelivered => "UndeliveredParameter",
            Parameter::Request => "RequestParameter",
            Parameter::DecodeError => "DecodeErrorParameter",
            Parameter::HandlerError => "HandlerErrorParameter",
        }
    }

    /// The parameter's name in a signature.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Parameter::Ctx => "ctx",
            Parameter::Version => "version",
            Parameter::Value => "state",
            Parameter::Env => "env",
            Parameter::Upgrade => "upgrade",
            Parameter::Peer => "peer",
            Parameter::Event | Parameter::EventRef => "event",
            Parameter::Bytes => "bytes",
            Parameter::User => "user",
            Parameter::Close => "close",
            Parameter::Alarm => "alarm",
            Parameter::Undelivered => "undelivered",
            Parameter::Request => "request",
            Parameter::DecodeError | Parameter::HandlerError => "error",
        }
    }

    /// The parameter's type, as a user writes it.
    pub(crate) const fn ty(self) -> &'static str {
        match self {
            Parameter::Ctx => "&Ctx",
            Parameter::Version => "u32",
            Parameter::Value => "serde_json::Value",
            Parameter::Env => "&worker::Env",
            Parameter::Upgrade => "&mut UpgradeRequest",
            Parameter::Peer => "&Peer",
            Parameter::User => "&PeerId",
            Parameter::Event => "Event",
            Parameter::Bytes => "Bytes",
            Parameter::EventRef => "&Event",
            Parameter::Close => "Close",
            Parameter::Alarm => "Alarm",
            Parameter::Undelivered => "&Undelivered",
            Parameter::Request => "http::Request<Bytes>",
            Parameter::DecodeError => "&DecodeError",
            Parameter::HandlerError => "&HandlerError",
        }
    }

    /// The name of the parameter's type, without path and generics.
    pub(crate) fn ty_name(self) -> Option<String> {
        let ty = self.ty().split('<').next()?.rsplit([':', ' ', '&']).next()?;
        Some(ty.to_owned())
    }

    pub(crate) fn by(self) -> By {
        match self.ty() {
            ty if ty.starts_with("&mut ") => By::MutableReference,
            ty if ty.starts_with('&') => By::Reference,
            _ => By::Value,
        }
    }

    /// The optional schema of the parameter: without that schema the handler does not take it.
    pub(crate) const fn schema(self) -> Option<&'static str> {
        match self {
            Parameter::Alarm => Some("Alarm"),
            _ => None,
        }
    }
}

/// The kind of a handler's return value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    State,
    Migrated,
    Services,
    Upgrade,
    Cost,
    Response,
}

impl Outcome {
    /// The trait of the runtime that the return value passes through, and the trait's method.
    pub(crate) const fn passing(self) -> (&'static str, &'static str) {
        match self {
            Outcome::Done => ("Outcome", "into_outcome"),
            Outcome::State | Outcome::Migrated => ("InitOutcome", "into_init_outcome"),
            Outcome::Services => ("ServicesOutcome", "into_services_outcome"),
            Outcome::Upgrade => ("UpgradeOutcome", "into_upgrade_outcome"),
            Outcome::Cost => ("CostOutcome", "into_cost_outcome"),
            Outcome::Response => ("RequestOutcome", "into_request_outcome"),
        }
    }

    /// The return type, as a user writes it.
    pub(crate) const fn ty(self) -> &'static str {
        match self {
            Outcome::Done => "Result",
            Outcome::State | Outcome::Migrated => "Result<State>",
            Outcome::Services => "Result<Services>",
            Outcome::Upgrade => "Result<(), Reject>",
            Outcome::Cost => "u32",
            Outcome::Response => "Result<http::Response<Bytes>>",
        }
    }
}

/// A validated room: the macro has found no error in it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) sketch: Sketch,
    pub(crate) options: Options,
    pub(crate) handlers: Vec<Handler>,
}

/// The validated options. Options whose default depends on the module always have a value.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) krate: Path,
    pub(crate) binding: Binding,
    /// The class, with the span of the option or else of the module.
    pub(crate) class: Ident,
    pub(crate) tag: String,
    /// The schemas whose rules the room checks.
    pub(crate) ruled: Vec<Ruled>,
    /// The values of the other options that are given.
    pub(crate) settings: Vec<Setting>,
}

impl Options {
    /// The valid value of an option.
    pub(crate) fn setting(&self, option: &str) -> Option<&Accepted> {
        self.settings.iter().find(|setting| setting.option == option).map(|setting| &setting.value)
    }
}

/// A schema whose rules the room checks, and the span of its word in the option.
#[derive(Debug)]
pub(crate) struct Ruled {
    pub(crate) schema: RuledSchema,
    pub(crate) span: Span,
}

/// An option that is given, and its value.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) option: &'static str,
    pub(crate) value: Accepted,
}

/// A valid value. [`Takes`](crate::options::Takes) has the kinds.
#[derive(Debug)]
pub(crate) enum Accepted {
    Number(u64),
    Fraction(f64),
    /// A variant of an enum of the runtime.
    Variant {
        ty: &'static str,
        variant: &'static str,
    },
    Texts([String; 2]),
    Origins(Vec<String>),
    /// The arguments of `new` of a type of the runtime, and of its methods.
    Made {
        ty: &'static str,
        parts: Vec<Accepted>,
        methods: Vec<(&'static str, Accepted)>,
    },
}

/// The name of the binding, and its span.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// A room that may contain errors: enough to keep the names alive that the rest of the user's crate uses.
#[derive(Debug)]
pub(crate) struct Sketch {
    pub(crate) krate: Path,
    /// The class, unless the module has an item of that name.
    pub(crate) class: Option<Ident>,
    pub(crate) module: RoomModule,
    /// The schemas that were found, in the order of [`SCHEMAS`]. With `cfg` there may be several of one kind.
    pub(crate) schemas: Vec<Schema>,
    /// The required schemas that the module lacks.
    pub(crate) missing: Vec<&'static str>,
    /// The functions that clients call.
    pub(crate) calls: Vec<Call>,
    /// The handlers that were found or meant, including wrong ones.
    pub(crate) meant: Vec<&'static str>,
    /// The runtime's names that handlers mention without an import.
    pub(crate) unimported: Vec<Ident>,
    /// True when some handlers are compiled for editors only.
    pub(crate) hides: bool,
    /// The names of [`ALIASES`] that the module does not define itself.
    pub(crate) aliases: Vec<&'static str>,
    /// True if the module has its own item with the marker's name.
    pub(crate) marker_taken: bool,
    pub(crate) conditional: Vec<Conditional>,
    /// True if each schema has a type. Otherwise rustc's errors about the functions would be misleading.
    pub(crate) judged: bool,
}

/// An error that depends on `cfg`, so that only rustc can report it.
#[derive(Debug)]
pub(crate) struct Conditional {
    pub(crate) cfg: TokenStream,
    pub(crate) error: syn::Error,
}

/// A schema of the room.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) kind: SchemaKind,
    pub(crate) ident: Ident,
    /// The schema's `cfg`s, for every generated mention of it.
    pub(crate) cfgs: Vec<Attribute>,
    /// The enum that the runtime reads the schema by, unless the schema has its own `Deserialize`.
    pub(crate) twin: Option<Twin>,
}

/// A handler that the room has.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) kind: HandlerKind,
    pub(crate) ident: Ident,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) is_async: bool,
    /// The spans of the parameters' types, for errors of the traits that pass them.
    pub(crate) parameter_spans: Vec<Span>,
    /// The span of the return type.
    pub(crate) return_span: Span,
}
