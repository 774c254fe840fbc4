//! Checks for `ctx.purge()` without `return`: rustc would report the type parameters of `purge` instead.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::quote;
use syn::{FnArg, Pat, ReturnType};

use super::handlers::is_of;
use crate::{
    diag::Errors,
    parse::{self, Function, ModuleItem, RoomModule},
};

/// Reports such calls, and removes the bodies in which rustc would report them again.
pub(super) fn check(module: &mut RoomModule, errors: &mut Errors) {
    let own_ctx = module.names().iter().any(|name| parse::is(name, "Ctx"));
    for item in &mut module.items {
        let ModuleItem::Fn(Function { sig, body, attrs, .. }) = item else { continue };
        let ctx = sig.inputs.iter().find(|parameter| is_of(parameter, &["Ctx", "RoomContext"]));
        let Some(FnArg::Typed(ctx)) = ctx else { continue };
        let Pat::Ident(ctx) = &*ctx.pat else { continue };
        if own_ctx || rebinds(body.stream(), &ctx.ident) {
            continue;
        }
        let Some(purge) = without_return(body.stream(), &ctx.ident) else { continue };
        let returns_nothing = matches!(sig.output, ReturnType::Default);
        let result = if returns_nothing { ", and give the function the return type `Result`" } else { "" };
        let message = "`purge` ends the handler: what it returns must be returned";
        errors.on(&purge, format!("{message}\nwrite `return {}.purge();`{result}", ctx.ident));
        if !matches!(&sig.output, ReturnType::Type(_, ty) if parse::impl_trait(ty).is_some()) {
            attrs.push(syn::parse_quote!(#[allow(unused)]));
            *body = Group::new(Delimiter::Brace, quote!(::core::unreachable!()));
        }
    }
}

/// True if the body binds the name again.
fn rebinds(body: TokenStream, name: &Ident) -> bool {
    let mut binds = false;
    body.into_iter().any(|token| {
        let rebinds = match &token {
            TokenTree::Ident(ident) => binds && ident == name,
            TokenTree::Group(group) => rebinds(group.stream(), name),
            _ => false,
        };
        binds = match &token {
            TokenTree::Ident(ident) => ["let", "mut", "ref"].iter().any(|keyword| ident == keyword),
            TokenTree::Punct(punct) => punct.as_char() == '|',
            _ => false,
        };
        rebinds
    })
}

/// The `purge` in `ctx.purge()?` or in the statement `ctx.purge();`: in both, its type parameters are unknown.
fn without_return(body: TokenStream, ctx: &Ident) -> Option<Ident> {
    let tokens: Vec<_> = body.into_iter().collect();
    let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
    tokens.iter().enumerate().find_map(|(at, token)| match token {
        TokenTree::Ident(name) if name == ctx && is(at + 1, '.') => {
            let Some(TokenTree::Ident(purge)) = tokens.get(at + 2).filter(|purge| purge.to_string() == "purge") else {
                return None;
            };
            let Some(TokenTree::Group(_)) = tokens.get(at + 3) else { return None };
            let begins = match at.checked_sub(1).and_then(|before| tokens.get(before)) {
                None => true,
                Some(TokenTree::Punct(punct)) => punct.as_char() == ';',
                Some(TokenTree::Group(block)) => block.delimiter() == Delimiter::Brace,
                Some(_) => false,
            };
            (is(at + 4, '?') || (begins && is(at + 4, ';'))).then(|| purge.clone())
        }
        TokenTree::Group(group) => without_return(group.stream(), ctx),
        _ => None,
    })
}
