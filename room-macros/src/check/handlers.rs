//! Checks the functions of a room.

use proc_macro2::{Ident, Span};
use quote::{ToTokens, quote};
use syn::{Attribute, FnArg, ReturnType, Safety, Type, Visibility, ext::IdentExt, spanned::Spanned};

use super::{imports, misplaced, written};
use crate::{
    args::Written,
    attrs,
    diag::{self, Errors},
    model::{
        self, Accepted, By, Conditional, HANDLERS, Handler, HandlerKind, ON_BINARY, Options, Outcome, Parameter,
        SCHEMAS,
    },
    options,
    parse::{self, Declared, Function, RoomModule, is},
};

/// The reason why a handler has no qualifiers and no generics.
const PLAIN: &str = "handlers are plain functions; the engine calls them with the room's types";

/// The result of checking the module's functions.
#[derive(Default)]
pub(super) struct Functions {
    pub(super) handlers: Vec<Handler>,
    /// The handlers that are meant, including wrong functions.
    pub(super) meant: Vec<&'static str>,
    /// The optional schemas that a handler needs and the module does not have.
    pub(super) missed: Vec<&'static str>,
    /// The handlers that are hidden from rustc, which would repeat a reported error. Each is an index of a module item.
    pub(super) hidden: Vec<usize>,
    pub(super) conditional: Vec<Conditional>,
    /// A `cfg` for each function that must give way to another one of its name. Each has the index of its module item.
    pub(super) unless: Vec<(usize, Attribute)>,
}

pub(super) fn check(
    module: &RoomModule,
    declared: &[Declared],
    written: &Written,
    checked: &Options,
    errors: &mut Errors,
) -> Functions {
    let mut functions = Functions::default();
    let unread = module.unread().filter_map(|unread| unread.name.as_ref());
    let unread = unread.filter_map(|name| HANDLERS.into_iter().find(|kind| is(name, kind.name)));
    functions.meant.extend(unread.map(|kind| kind.name));
    for (index, function) in module.indexed_functions() {
        let ident = &function.sig.ident;
        let Some(kind) = HANDLERS.into_iter().find(|kind| is(ident, kind.name)) else {
            functions.meant.extend(check_near_miss(module, function, errors));
            continue;
        };
        functions.meant.push(kind.name);
        // Until its schema or option exists, the function may not be meant as a handler; no further check applies.
        if kind.makes.is_some_and(|schema| !declared.iter().any(|item| item.name == schema))
            || kind.needs.is_some_and(|option| !written.meant.contains(&option))
        {
            continue;
        }
        let Some(cfgs) = exclusive_cfgs(module, index, function, kind, &mut functions) else { continue };
        let taken = expected_parameters(module, declared, function, kind, &cfgs);
        let candidate = Candidate { module, function, kind, cfgs, taken };
        let before = errors.len();
        candidate.check(&mut functions, errors);
        // Otherwise rustc would also report that the type does not exist.
        if errors.len() > before && candidate.types().any(|ty| candidate.unknown(ty).is_some()) {
            functions.hidden.push(index);
        }
    }
    check_elsewhere(module, declared, &mut functions, errors);
    functions.meant.extend(misplaced::check(module, errors));
    check_made(module, declared, &mut functions, errors);
    check_taken(module, declared, &mut functions, errors);
    check_needed(module, written, checked, &functions, errors);
    check_binary(checked, &functions, errors);
    functions
}

/// The handler's `cfg`s, with one that removes it where an earlier handler of its name is compiled. `None` if rustc
/// reports that the name is defined twice.
fn exclusive_cfgs(
    module: &RoomModule,
    index: usize,
    function: &Function,
    kind: HandlerKind,
    functions: &mut Functions,
) -> Option<Vec<Attribute>> {
    let mut cfgs = attrs::cfgs(&function.attrs);
    let earlier = || functions.handlers.iter().filter(|other| other.kind == kind).map(|other| &*other.cfgs);
    if cfgs.is_empty() && earlier().any(<[_]>::is_empty) {
        return None;
    }
    // The `cfg`s of two handlers may exclude each other.
    if earlier().next().is_some() {
        let message = format!("room `{}` has two handlers `{}` here", module.ident, kind.name);
        let message = format!("{message}\nonly one of their `cfg`s may be on");
        let error = syn::Error::new(function.sig.ident.span(), message);
        let (cfg, unless) = (attrs::both(&cfgs, earlier()), attrs::unless(earlier()));
        functions.conditional.push(Conditional { cfg, error });
        functions.unless.push((index, unless.clone()));
        cfgs.push(unless);
    }
    Some(cfgs)
}

/// The parameters that the handler has in this room.
fn expected_parameters(
    module: &RoomModule,
    declared: &[Declared],
    function: &Function,
    kind: HandlerKind,
    cfgs: &[Attribute],
) -> Vec<Parameter> {
    let schema = kind.parameters.iter().find_map(|parameter| parameter.schema());
    let is_cfgd = declared.iter().any(|item| Some(item.name) == schema && module.is_behind_cfg(item.index));
    // If `cfg` can remove the schema, each case may have its own handler.
    let without = kind.taken(|_| false);
    if !cfgs.is_empty() && is_cfgd && function.sig.inputs.len() == without.len() {
        return without;
    }
    kind.taken(|schema| declared.iter().any(|item| item.name == schema))
}

/// Reports an item with a handler's name that is not a function of the module: it would silently never run.
fn check_elsewhere(module: &RoomModule, declared: &[Declared], functions: &mut Functions, errors: &mut Errors) {
    for kind in HANDLERS {
        // Names without `on_` are too common to be meant as handlers.
        if !kind.name.starts_with("on_") || module.functions().any(|function| is(&function.sig.ident, kind.name)) {
            continue;
        }
        if let Some((token, what)) = parse::other_item(module, kind.name) {
            let message = format!("handler `{}` must be a function in the room's module, not a `{what}`", kind.name);
            let taken = kind.taken(|schema| declared.iter().any(|item| item.name == schema));
            let signature = kind.signature(&taken);
            errors.on(token, format!("{message}\nwrite `{signature} {{ … }}`, which may call what is elsewhere"));
            functions.meant.push(kind.name);
        }
    }
}

/// The parameter types of handlers, here and in other systems. A function that takes another type is a helper.
const GIVEN: [&str; 21] = [
    "Ctx",
    "RoomContext",
    "Peer",
    "PeerId",
    "Connection",
    "Event",
    "Close",
    "Alarm",
    "State",
    "UpgradeRequest",
    "Request",
    "DecodeError",
    "HandlerError",
    "Undelivered",
    "WebSocket",
    "WebSocketIncomingMessage",
    "String",
    "str",
    "Bytes",
    "u16",
    "usize",
];

/// True if the type of the parameter has one of these names.
pub(super) fn is_of(parameter: &FnArg, names: &[&str]) -> bool {
    last_name(parameter).is_some_and(|name| names.contains(&&*name))
}

/// Reports a function that was probably meant as a handler and would silently never run. Returns the meant handler.
fn check_near_miss(module: &RoomModule, function: &Function, errors: &mut Errors) -> Option<&'static str> {
    let ident = &function.sig.ident;
    let name = ident.unraw().to_string();
    if function.is_call || function.attrs.iter().any(|attr| attr.path().is_ident("test")) {
        return None;
    }
    let types: Vec<_> = function.sig.inputs.iter().filter_map(last_name).collect();
    let takes = |names: &[&str]| types.iter().any(|ty| names.contains(&&**ty));
    let takes_ctx = takes(&["Ctx", "RoomContext"]);
    let is_named_so =
        name.starts_with("on_") || name.strip_prefix("on").is_some_and(|rest| rest.starts_with(char::is_uppercase));
    // Names such as `to_event` and `unit` are common without meaning `on_event` and `init`.
    let plausible = |kind: &HandlerKind| match kind.name.starts_with("on_") {
        true => is_named_so || takes_ctx,
        false => gives(function, kind.outcome),
    };
    let first = function.sig.inputs.first();
    let takes_room_first = first.is_some_and(|first| is_of(first, &["Ctx", "RoomContext"]));
    let has = |handler: &str| module.functions().any(|function| is(&function.sig.ident, handler));
    let foreign = model::foreign(&name).filter(|handler| {
        // A function for other modules, or with other types, is probably a helper that has a name such as `close` by
        // chance.
        let is_for_others = matches!(function.vis, Visibility::Restricted(_));
        let is_alike = match name.to_lowercase().contains("socket") || name.starts_with("handle_") {
            true => types.iter().all(|ty| GIVEN.contains(&&**ty)),
            false => HANDLERS.into_iter().any(|kind| kind.name == *handler && is_alike(&types, function, kind)),
        };
        let meant_here = takes_room_first && !module.calls(ident) && !is_for_others && is_alike;
        (is_named_so || meant_here) && !has(handler)
    });
    let similar = diag::similar(&name, HANDLERS.iter().filter(|kind| plausible(kind)).map(|kind| kind.name));
    let is_handlers = || takes_ctx || takes(&["Peer", "UpgradeRequest", "DecodeError", "HandlerError", "Undelivered"]);
    if let Some(handler) = foreign.filter(|_| is_handlers()) {
        let helper = if is_named_so { "" } else { "\na helper that only other modules call needs another name" };
        errors.on(ident, format!("unknown handler `{name}`\nit is called `{handler}` here{helper}"));
        return Some(handler);
    }
    if let Some(similar) = similar {
        errors.on(ident, format!("unknown handler `{name}`\na similar handler exists: `{similar}`"));
    } else if name.starts_with("on_") && is_handlers() {
        let known = diag::list(HANDLERS.iter().map(|kind| kind.name));
        let helper = "a helper function is better not called `on_…`";
        errors.on(ident, format!("unknown handler `{name}`\nthe handlers are {known}\n{helper}"));
    }
    similar
}

/// True if a function has the parameters of this handler, in that order, and a return type that a handler may have.
fn is_alike(types: &[String], function: &Function, kind: HandlerKind) -> bool {
    let given =
        |has: bool| -> Vec<_> { kind.taken(|_| has).into_iter().filter_map(|parameter| parameter.ty_name()).collect() };
    let returns = match &function.sig.output {
        ReturnType::Default => true,
        ReturnType::Type(_, ty) => last_segment(ty).is_some_and(|name| name == "Result"),
    };
    returns && (given(true) == types || given(false) == types)
}

/// True if the function's return type mentions the type that a handler with this outcome makes.
fn gives(function: &Function, outcome: Outcome) -> bool {
    let made = match outcome {
        Outcome::State | Outcome::Migrated => "State",
        Outcome::Services => "Services",
        // Many helpers return a number; only one with the same parameter can be meant.
        Outcome::Cost if function.sig.inputs.iter().map(last_name).eq([Some("Event".to_owned())]) => "u32",
        _ => return false,
    };
    match &function.sig.output {
        ReturnType::Default => false,
        ReturnType::Type(_, ty) => parse::single_names(ty.to_token_stream()).iter().any(|name| name == made),
    }
}

/// Reports a handler without the schema that it makes, and the schema without that handler.
fn check_made(module: &RoomModule, declared: &[Declared], functions: &mut Functions, errors: &mut Errors) {
    for kind in HANDLERS {
        let Some(made) = SCHEMAS.into_iter().find(|schema| kind.makes == Some(schema.name)) else { continue };
        let schema = declared.iter().find(|item| item.name == made.name);
        match (schema, functions.meant.contains(&kind.name)) {
            (Some(schema), false) => {
                let (made, signature) = (made.name, kind.signature(kind.parameters));
                let message = format!("room `{}` has a type `{made}`, but no handler that makes it", module.ident);
                errors.on(&schema.ident, format!("{message}\nadd `{signature} {{ … }}`"));
            }
            (None, true) => {
                functions.missed.push(made.name);
                let function = module.functions().find(|function| is(&function.sig.ident, kind.name));
                if let Some(function) = function {
                    let message = format!("handler `{}` makes `{}`, a type that room", kind.name, made.name);
                    let message = format!("{message} `{}` does not have\nadd `{}`", module.ident, made.example);
                    let hint = "or give this function another name if it is none of the room's handlers";
                    errors.on(&function.sig.ident, format!("{message}, {hint}"));
                }
            }
            _ => {}
        }
    }
}

/// Reports an optional schema without the handler that takes it.
fn check_taken(module: &RoomModule, declared: &[Declared], functions: &mut Functions, errors: &mut Errors) {
    for kind in HANDLERS {
        let schema = kind.parameters.iter().find_map(|parameter| parameter.schema());
        let schema = declared.iter().find(|item| Some(item.name) == schema);
        if let Some(schema) = schema.filter(|_| !functions.meant.contains(&kind.name)) {
            let (name, signature) = (schema.name, kind.signature(kind.parameters));
            let message = format!("room `{}` has a type `{name}`, but no handler that takes it", module.ident);
            errors.on(&schema.ident, format!("{message}\nadd `{signature} {{ … }}`"));
            functions.meant.push(kind.name);
        }
    }
}

/// Reports a handler without the option that it requires, and an option without the handler that it requires.
fn check_needed(module: &RoomModule, written: &Written, checked: &Options, functions: &Functions, errors: &mut Errors) {
    for kind in HANDLERS {
        let (room, name) = (&module.ident, kind.name);
        let function = module.functions().find(|function| is(&function.sig.ident, name));
        let needed = kind.needs.and_then(options::find).filter(|needed| !written.meant.contains(&needed.name));
        if let (Some(function), Some(needed)) = (function, needed) {
            let message = format!("handler `{name}` never runs without the option `{}`", needed.name);
            let hint = "or give this function another name if it is none of the room's handlers";
            errors.on(&function.sig.ident, format!("{message}\nadd `{}` to `#[room]`, {hint}", needed.written()));
        }
        if functions.meant.contains(&name) {
            continue;
        }
        for given in &written.given {
            let needs_it = options::find(given.name).is_some_and(|option| option.needs == Some(name));
            // An option with a mistake counts as not given.
            if needs_it && checked.setting(given.name).is_some() {
                let message = format!("room `{room}` has the option `{}`, but no handler `{name}`", given.name);
                errors.on(given.fault(), format!("{message}\nadd `{} {{ … }}`", kind.signature(kind.parameters)));
            }
        }
    }
}

/// Reports a handler of binary frames in a room whose binary frames can be events.
fn check_binary(checked: &Options, functions: &Functions, errors: &mut Errors) {
    let codec = checked.setting("codec");
    if !codec.is_some_and(|value| matches!(value, Accepted::Variant { variant, .. } if *variant != "JSON")) {
        return;
    }
    for handler in functions.handlers.iter().filter(|handler| handler.kind.name == ON_BINARY) {
        let message = "a room that speaks MessagePack cannot have `on_binary`: its binary frames are events";
        errors.on(&handler.ident, format!("{message}\nremove the handler, or write `codec = \"json\"`"));
    }
}

/// A function with the name of a handler.
struct Candidate<'m> {
    module: &'m RoomModule,
    function: &'m Function,
    kind: HandlerKind,
    cfgs: Vec<Attribute>,
    /// The parameters that the handler has in this room.
    taken: Vec<Parameter>,
}

impl Candidate<'_> {
    /// Adds the handler to `functions`, or reports its mistakes.
    fn check(&self, functions: &mut Functions, errors: &mut Errors) {
        let (kind, sig) = (self.kind, &self.function.sig);
        let before = errors.len();
        self.check_qualifiers(errors);
        self.check_generics(errors);
        self.check_arity(functions, errors);
        if errors.len() > before {
            return;
        }
        self.check_order(errors);
        if errors.len() > before {
            return;
        }
        let parameter_spans = self.check_types(errors);
        if errors.len() > before {
            return;
        }
        functions.handlers.push(Handler {
            kind,
            ident: sig.ident.clone(),
            cfgs: self.cfgs.clone(),
            is_async: sig.asyncness.is_some(),
            parameter_spans,
            return_span: match &sig.output {
                ReturnType::Default => sig.ident.span(),
                ReturnType::Type(_, ty) => span_of(ty),
            },
        });
    }

    /// The signature that the handler must have.
    fn signature(&self) -> String {
        self.kind.signature(&self.taken)
    }

    fn types(&self) -> impl Iterator<Item = &Type> {
        self.function.sig.inputs.iter().filter_map(|argument| match argument {
            FnArg::Typed(argument) => Some(&*argument.ty),
            FnArg::Receiver(_) => None,
        })
    }

    /// The name in a type that the module does not know.
    fn unknown(&self, ty: &Type) -> Option<Ident> {
        // A function that `cfg` removes may mention types that do not exist.
        if self.cfgs.is_empty() { imports::unknown_type(self.module, ty) } else { None }
    }

    fn check_qualifiers(&self, errors: &mut Errors) {
        let (name, sig) = (self.kind.name, &self.function.sig);
        if let Some(keyword) = &sig.constness {
            errors.on(keyword, format!("handler `{name}` cannot be `const`\n{PLAIN}"));
        }
        if let (Some(keyword), Some(why)) = (&sig.asyncness, self.kind.sync) {
            errors.on(keyword, format!("handler `{name}` cannot be `async`\n{why}"));
        }
        if let Safety::Unsafe(keyword) = &sig.safety {
            errors.on(keyword, format!("handler `{name}` cannot be `unsafe`\n{PLAIN}"));
        }
        if let Some(abi) = &sig.abi {
            errors.on(abi, format!("handler `{name}` cannot be `extern`\n{PLAIN}"));
        }
    }

    fn check_generics(&self, errors: &mut Errors) {
        let (name, generics) = (self.kind.name, &self.function.sig.generics);
        if generics.params.iter().any(|param| !matches!(param, syn::GenericParam::Lifetime(_))) {
            errors.on(generics, format!("handler `{name}` cannot be generic\n{PLAIN}"));
        }
        for ty in self.types() {
            if let Some(generic) = parse::impl_trait(ty) {
                errors.on(generic, format!("handler `{name}` cannot be generic\n{PLAIN}"));
            }
            if let Some(lifetime) = parse::static_lifetime(ty) {
                let message = format!("what handler `{name}` is given lives as long as the call");
                errors.on(lifetime, format!("{message}\nwrite `{}`", self.signature()));
            }
        }
    }

    /// Reports `self`, or another number of parameters.
    fn check_arity(&self, functions: &mut Functions, errors: &mut Errors) {
        let (kind, taken, sig) = (self.kind, &*self.taken, &self.function.sig);
        let (name, signature) = (kind.name, self.signature());
        if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
            errors.on(receiver, format!("handler `{name}` cannot take `self`\n{PLAIN}\nwrite `{signature}`"));
        } else if sig.inputs.len() != taken.len() {
            let (expected, found) = (taken.len(), sig.inputs.len());
            let plural = if expected == 1 { "" } else { "s" };
            let depends = depends(kind, taken, found, functions);
            let message = format!("handler `{name}` takes {expected} parameter{plural}, not {found}");
            let instead = sig.inputs.iter().find_map(|argument| instead(argument, kind, taken));
            let instead = instead.map_or_else(String::new, |instead| format!("\n{instead}"));
            errors.at(parse::parentheses(sig), format!("{message}\nwrite `{signature}`{depends}{instead}"));
        }
    }

    /// Reports the right parameters in another order.
    fn check_order(&self, errors: &mut Errors) {
        let sig = &self.function.sig;
        let mut types: Vec<_> = sig.inputs.iter().filter_map(last_name).collect();
        let mut expected: Vec<_> = self.taken.iter().filter_map(|parameter| parameter.ty_name()).collect();
        if types == expected {
            return;
        }
        types.sort();
        expected.sort();
        if types == expected {
            let message = format!("the parameters of handler `{}` are in another order", self.kind.name);
            errors.at(parse::parentheses(sig), format!("{message}\nwrite `{}`", self.signature()));
        }
    }

    /// Reports parameters of another type. Returns the spans of the types.
    fn check_types(&self, errors: &mut Errors) -> Vec<Span> {
        let mut spans = Vec::new();
        for (whole, parameter) in self.types().zip(&self.taken) {
            let ty = parse::ungrouped(whole);
            let (by, bare) = match ty {
                Type::Reference(reference) if reference.mutability.is_some() => {
                    (By::MutableReference, &*reference.elem)
                }
                Type::Reference(reference) => (By::Reference, &*reference.elem),
                ty => (By::Value, ty),
            };
            let is_another = |name: Ident| Some(name.to_string()) != parameter.ty_name();
            if by != parameter.by() || self.unknown(ty).is_some_and(is_another) {
                let (name, expected, found) = (parameter.name(), parameter.ty(), written(ty));
                let message = format!("parameter `{name}` of `{}` must be `{expected}`, not `{found}`", self.kind.name);
                errors.on(whole, format!("{message}\nwrite `{}`", self.signature()));
            }
            spans.push(span_of(bare));
        }
        spans
    }
}

/// The hint where a handler finds a value that is not one of its parameters.
fn instead(argument: &FnArg, kind: HandlerKind, taken: &[Parameter]) -> Option<&'static str> {
    let name = last_name(argument)?;
    if taken.iter().any(|parameter| parameter.ty_name().as_deref() == Some(&*name)) {
        return None;
    }
    match &*name {
        "Peer" | "PeerId" | "WebSocket" if kind.name == "on_event" => {
            Some("`ctx.sender()` is the peer that sent the event")
        }
        "State" => Some("`ctx.state()` reads the state, `ctx.update(|state| …)` changes it"),
        "Peer" if taken.contains(&Parameter::User) => Some("`ctx.sender()` is the peer of the user's connection"),
        "Connection" if taken.contains(&Parameter::Peer) => Some("`peer.data()` reads the peer's `Connection`"),
        "Services" => Some("`ctx.services()` gives the services"),
        "Env" => Some("read the Worker's `Env` in the handler `services`; `ctx.services()` gives what it makes"),
        "RoomId" => Some("`ctx.id()` is the room's id"),
        _ => None,
    }
}

/// The last name in a parameter's type: `Peer` of `&super::chat::Peer`.
fn last_name(argument: &FnArg) -> Option<String> {
    let FnArg::Typed(argument) = argument else { return None };
    match parse::ungrouped(&argument.ty) {
        Type::Reference(reference) => last_segment(&reference.elem),
        ty => last_segment(ty),
    }
}

fn last_segment(ty: &Type) -> Option<String> {
    match parse::ungrouped(ty) {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    }
}

/// The note that explains how the number of a handler's parameters depends on the room's optional schemas.
fn depends(kind: HandlerKind, taken: &[Parameter], found: usize, functions: &mut Functions) -> String {
    let schema = kind.parameters.iter().find_map(|parameter| parameter.schema());
    let Some(schema) = SCHEMAS.into_iter().find(|other| Some(other.name) == schema) else { return String::new() };
    if taken.len() == kind.parameters.len() {
        return format!(", as the room has a type `{}`", schema.name);
    }
    if found == kind.parameters.len() {
        functions.missed.push(schema.name);
        return format!(", or add `{}` to the room", schema.example);
    }
    String::new()
}

fn span_of(tokens: &impl ToTokens) -> Span {
    quote!(#tokens).span()
}
