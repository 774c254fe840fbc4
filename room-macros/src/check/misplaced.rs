//! Checks for handlers outside of the module's top level, where `#[room]` does not look: they would silently never run.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Expr, ImplItem, Item, Signature, Stmt, TraitItem, ext::IdentExt};

use super::handlers::is_of;
use crate::{
    diag::{self, Errors},
    model::{HANDLERS, SCHEMAS},
    parse::{self, ModuleItem, RoomModule, is},
};

/// Reports misplaced handlers, one error for each place. Returns the handlers that are meant.
pub(super) fn check(module: &RoomModule, errors: &mut Errors) -> Vec<&'static str> {
    let mut meant: Vec<&'static str> = Vec::new();
    for item in &module.items {
        let mut found = Vec::new();
        match item {
            ModuleItem::Fn(function) => in_tokens(function.body.stream(), "another function", &mut found),
            ModuleItem::Other(item) => in_item(item, &mut found),
            ModuleItem::Unread(_) => {}
        }
        found.retain(|Found { name, .. }| {
            !meant.iter().any(|meant| is(name, meant))
                && !module.functions().any(|function| is(&function.sig.ident, &name.unraw().to_string()))
                && !module.calls(name)
        });
        let Some(Found { name: first, place }) = found.first() else { continue };
        let names: Vec<_> = found.iter().map(|found| found.name.unraw().to_string()).collect();
        let (handlers, functions, them) = match &*names {
            [_] => ("handler", "a function", "it"),
            _ => ("handlers", "functions", "them"),
        };
        let names_of = diag::list(names.iter().map(|name| &**name));
        let message = format!("{handlers} {names_of} must be {functions} in the room's module, not in {place}");
        errors.on(first, format!("{message}\nmove {them} to the top level of the module"));
        meant.extend(HANDLERS.into_iter().map(|kind| kind.name).filter(|name| names.iter().any(|found| found == name)));
    }
    meant
}

/// A misplaced handler, and its surroundings.
struct Found {
    name: Ident,
    place: &'static str,
}

fn in_item(item: &Item, found: &mut Vec<Found>) {
    match item {
        // In the impl of a trait, the trait chose the methods' names.
        Item::Impl(item) if item.trait_.is_none() || is_marker(&item.self_ty) => {
            let methods = item.items.iter().filter_map(|item| match item {
                ImplItem::Fn(method) => Some(&method.sig),
                _ => None,
            });
            // Methods of the user's own types may have such names by chance; on the room's own types they are meant as
            // handlers.
            let own = !is_marker(&item.self_ty) && !is_schema(&item.self_ty);
            let methods = methods.filter(|sig| !own || sig.receiver().is_none());
            found.extend(methods.filter_map(|sig| handler(sig, "an `impl`")));
        }
        Item::Trait(item) => {
            let methods = item.items.iter().filter_map(|item| match item {
                // A method with a receiver may belong to a trait of the user, for example for plugins.
                TraitItem::Fn(method) => Some(&method.sig).filter(|sig| sig.receiver().is_none()),
                _ => None,
            });
            found.extend(methods.filter_map(|sig| handler(sig, "a trait")));
        }
        Item::Mod(inner) => {
            // An inner module may be another room with its own handlers, or contain tests.
            let own = |attr: &syn::Attribute| {
                attr.path().segments.last().is_some_and(|last| ["room", "cfg"].iter().any(|name| last.ident == name))
            };
            let Some((_, items)) = inner.content.as_ref().filter(|_| !inner.attrs.iter().any(own)) else { return };
            for item in items {
                match item {
                    Item::Fn(function) => found.extend(handler(&function.sig, "an inner module")),
                    item => in_item(item, found),
                }
            }
        }
        Item::ForeignMod(item) => in_tokens(item.to_token_stream(), "an `extern` block", found),
        Item::Macro(item) => {
            let place = if item.ident.is_some() { "the definition of a macro" } else { "the call of a macro" };
            in_tokens(item.mac.tokens.clone(), place, found);
        }
        Item::Const(item) => in_block(&item.expr, found),
        _ => {}
    }
}

fn in_block(value: &Expr, found: &mut Vec<Found>) {
    let Expr::Block(block) = value else { return };
    for statement in &block.block.stmts {
        match statement {
            Stmt::Item(Item::Fn(function)) => found.extend(handler(&function.sig, "the block of a `const`")),
            Stmt::Item(item) => in_item(item, found),
            _ => {}
        }
    }
}

/// Finds handlers in unparsed tokens.
fn in_tokens(tokens: TokenStream, place: &'static str, found: &mut Vec<Found>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            in_tokens(group.stream(), place, found);
        }
        if let (TokenTree::Ident(keyword), Some(TokenTree::Ident(_))) = (token, tokens.get(at + 1))
            && keyword == "fn"
        {
            let rest: TokenStream =
                tokens.iter().skip(at).take_while(|token| !parse::ends_signature(token)).cloned().collect();
            let sig = syn::parse2::<Signature>(rest);
            found.extend(sig.ok().and_then(|sig| handler(&sig, place)));
        }
    }
}

fn is_marker(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(path) if path.path.is_ident("Room"))
}

fn is_schema(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(path) if SCHEMAS.iter().any(|kind| path.path.is_ident(kind.name)))
}

/// The handler that a function would be in the room's module: it has a handler's name and takes the room.
fn handler(sig: &Signature, place: &'static str) -> Option<Found> {
    let known = HANDLERS.into_iter().any(|kind| kind.name.starts_with("on_") && is(&sig.ident, kind.name));
    let takes_room = sig.inputs.iter().find(|input| matches!(input, syn::FnArg::Typed(_)));
    let takes_room = takes_room.is_some_and(|first| is_of(first, &["Ctx", "RoomContext"]));
    (known && takes_room).then(|| Found { name: sig.ident.clone(), place })
}
