//! Checks for names of the runtime that handlers mention without an import.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Item, ext::IdentExt};

use crate::{
    attrs,
    diag::{self, Errors},
    expand,
    model::{ALIASES, MARKER, SCHEMAS},
    parse::{self, ModuleItem, RoomModule, is},
};

/// The runtime's names that a handler's signature may mention.
const TYPES: [&str; 14] = [
    "Bytes",
    "Close",
    "CloseCode",
    "DecodeError",
    "Failure",
    "HandlerError",
    "OrFailure",
    "PeerId",
    "Reject",
    "RoomId",
    "ScheduleId",
    "SqlValue",
    "Undelivered",
    "Upgrade",
];
/// The runtime's modules, which may also be crates of the user.
const MODULES: [&str; 2] = ["http", "serde_json"];

/// The runtime's attribute for types.
const ATTRIBUTE: &str = "data";

/// Reports the runtime's names in signatures and on types that no item, import or glob of the module provides. Returns them.
///
/// They share one error. Functions in `hidden` are skipped, because they have errors of their own.
pub(super) fn check(module: &RoomModule, hidden: &[usize], krate: &syn::Path, errors: &mut Errors) -> Vec<Ident> {
    if is_opaque(module) {
        return Vec::new();
    }
    let bound = module.names();
    let mut missing: Vec<Ident> = Vec::new();
    // A function that `cfg` leaves out needs no import.
    for (index, function) in module.indexed_functions() {
        if hidden.contains(&index) || !attrs::cfgs(&function.attrs).is_empty() {
            continue;
        }
        let sig = &function.sig;
        let mut mentioned = Vec::new();
        mentions(sig.inputs.to_token_stream(), &mut mentioned);
        mentions(sig.output.to_token_stream(), &mut mentioned);
        let generic = |name: &Ident| sig.generics.type_params().any(|param| param.ident == *name);
        for (name, is_path) in mentioned {
            let text = name.unraw().to_string();
            let known = match is_path {
                false => TYPES.contains(&&*text),
                true => TYPES.contains(&&*text) || (MODULES.contains(&&*text) && !expand::is_dependency(&text)),
            };
            let here = |other: &Ident| is(other, &text);
            if known && !generic(&name) && !bound.iter().any(here) && !missing.iter().any(here) {
                missing.push(name);
            }
        }
    }
    let attribute = module.others().filter(|item| attrs::cfgs(parse::item_attrs(item)).is_empty()).find_map(|item| {
        parse::item_attrs(item)
            .iter()
            .find_map(|attr| attr.path().get_ident().filter(|name| is(name, ATTRIBUTE)).cloned())
    });
    if !bound.iter().any(|name| is(name, ATTRIBUTE)) {
        missing.extend(attribute);
    }
    if let Some(first) = missing.first() {
        let names: Vec<_> = missing.iter().map(|name| name.unraw().to_string()).collect();
        let list = diag::list(names.iter().map(|name| &**name));
        let (verb, names) = match &*names {
            [name] => ("is", name.clone()),
            names => ("are", format!("{{{}}}", names.join(", "))),
        };
        let krate = super::written(krate);
        let krate = krate.trim_start_matches("::").trim();
        errors
            .on(first, format!("{list} {verb} not imported into the room's module\nadd `use {krate}::{names};` to it"));
    }
    missing
}

/// True if the module has an item that may bring any name: a glob import or a macro call.
fn is_opaque(module: &RoomModule) -> bool {
    module.items.iter().any(|item| match item {
        ModuleItem::Other(Item::Use(item)) => parse::has_glob(&item.tree),
        ModuleItem::Other(Item::Macro(_) | Item::Verbatim(_) | Item::ExternCrate(_)) | ModuleItem::Unread(_) => true,
        _ => false,
    })
}

/// The type's name, if the type is a single name that nothing in the module has.
pub(super) fn unknown_type(module: &RoomModule, ty: &syn::Type) -> Option<Ident> {
    const STD: [&str; 6] = ["Box", "Option", "Result", "Self", "String", "Vec"];

    let name = match ty {
        syn::Type::Reference(reference) => return unknown_type(module, &reference.elem),
        syn::Type::Paren(paren) => return unknown_type(module, &paren.elem),
        syn::Type::Group(group) => return unknown_type(module, &group.elem),
        syn::Type::Path(path) if path.qself.is_none() && path.path.leading_colon.is_none() => match &path.path.segments
        {
            segments if segments.len() == 1 => segments[0].ident.clone(),
            _ => return None,
        },
        _ => return None,
    };
    let text = name.unraw().to_string();
    let known = STD.contains(&&*text)
        || text == MARKER
        || ALIASES.contains(&&*text)
        || SCHEMAS.iter().any(|kind| kind.name == text)
        || !text.starts_with(char::is_uppercase);
    (!known && !is_opaque(module) && !module.names().iter().any(|own| is(own, &text))).then_some(name)
}

/// The names that stand alone or begin a path; `true` if they begin one.
fn mentions(tokens: TokenStream, found: &mut Vec<(Ident, bool)>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let colons = |at: usize| {
        let is_colon = |at| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        is_colon(at) && is_colon(at + 1)
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(name) if at < 2 || !colons(at - 2) => found.push((name.clone(), colons(at + 1))),
            TokenTree::Group(group) => mentions(group.stream(), found),
            _ => {}
        }
    }
}
