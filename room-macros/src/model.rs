//! The validated room: everything [`expand`](crate::expand) needs, and nothing that could be wrong.

use proc_macro2::Span;
use syn::{Attribute, Ident, Path};

use crate::parse::RoomModule;

/// The names of the four schemas.
pub(crate) const SCHEMAS: [&str; 4] = ["State", "Connection", "Event", "Broadcast"];

/// The aliases that `#[room]` adds, each of which gives way to the module's own.
pub(crate) const ALIASES: [&str; 4] = ["Ctx", "Peer", "RoomClient", "Result"];

/// The marker type.
pub(crate) const MARKER: &str = "Room";

/// A handler that a room may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandlerKind {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [Parameter],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    Ctx,
    Peer,
    Event,
    Close,
}

impl Parameter {
    /// The trait of the runtime that a parameter of this kind is passed through.
    pub(crate) const fn passing_trait(self) -> &'static str {
        match self {
            Parameter::Ctx => "CtxParameter",
            Parameter::Peer => "PeerParameter",
            Parameter::Event => "EventParameter",
            Parameter::Close => "CloseParameter",
        }
    }

    /// The parameter's name in a signature.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Parameter::Ctx => "ctx",
            Parameter::Peer => "peer",
            Parameter::Event => "event",
            Parameter::Close => "close",
        }
    }

    /// Its type, as a user writes it.
    pub(crate) const fn ty(self) -> &'static str {
        match self {
            Parameter::Ctx => "&Ctx",
            Parameter::Peer => "&Peer",
            Parameter::Event => "Event",
            Parameter::Close => "Close",
        }
    }

    pub(crate) fn is_reference(self) -> bool {
        self.ty().starts_with('&')
    }
}

pub(crate) const HANDLERS: [HandlerKind; 5] = [
    HandlerKind { name: "on_start", parameters: &[Parameter::Ctx] },
    HandlerKind { name: "on_connect", parameters: &[Parameter::Ctx, Parameter::Peer] },
    HandlerKind { name: "on_event", parameters: &[Parameter::Ctx, Parameter::Event] },
    HandlerKind { name: "on_close", parameters: &[Parameter::Ctx, Parameter::Peer, Parameter::Close] },
    HandlerKind { name: "on_alarm", parameters: &[Parameter::Ctx] },
];

impl HandlerKind {
    /// Its whole signature, as a user writes it.
    pub(crate) fn signature(&self) -> String {
        let parameters: Vec<_> =
            self.parameters.iter().map(|parameter| format!("{}: {}", parameter.name(), parameter.ty())).collect();
        format!("fn {}({}) -> Result", self.name, parameters.join(", "))
    }
}

/// A room that is right in every respect the macro can judge.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) sketch: Sketch,
    pub(crate) binding: String,
    pub(crate) class: Ident,
    pub(crate) handlers: Vec<Handler>,
}

/// What can be said of a room even when something is wrong with it: enough to keep the names alive that the rest of the
/// user's crate uses.
#[derive(Debug)]
pub(crate) struct Sketch {
    pub(crate) krate: Path,
    pub(crate) module: RoomModule,
    /// The schemas that were found, in the order of [`SCHEMAS`].
    pub(crate) schemas: [Option<Schema>; 4],
    /// Those of [`ALIASES`] that the module does not define itself.
    pub(crate) aliases: Vec<&'static str>,
    /// Whether the module has a name of its own for the marker type.
    pub(crate) marker_taken: bool,
}

/// A schema of the room.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) ident: Ident,
    /// Carried to every generated mention of it.
    pub(crate) cfgs: Vec<Attribute>,
}

/// A handler that the room has.
#[derive(Debug)]
pub(crate) struct Handler {
    pub(crate) kind: HandlerKind,
    pub(crate) ident: Ident,
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) is_async: bool,
    /// Where the type of each parameter is written, for the errors of the trait it is passed through.
    pub(crate) parameter_spans: Vec<Span>,
    /// Where the return type is written.
    pub(crate) return_span: Span,
}
