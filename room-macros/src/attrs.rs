//! Reads and edits the attributes of the user's items.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Lit, LitStr, Meta, Token, parse_quote, punctuated::Punctuated};

use crate::bindings;

/// The `cfg` attributes in the list, including those that a `cfg_attr` may add.
pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<Attribute> {
    let mut cfgs = Vec::new();
    for attr in attrs {
        collect_cfgs(&attr.meta, &mut Vec::new(), &mut cfgs);
    }
    cfgs
}

fn collect_cfgs(meta: &Meta, unless: &mut Vec<TokenStream>, found: &mut Vec<Attribute>) {
    let Meta::List(list) = meta else { return };
    if list.path.is_ident("cfg") {
        let condition = &list.tokens;
        found.push(match unless.is_empty() {
            true => parse_quote!(#[cfg(#condition)]),
            false => parse_quote!(#[cfg(any(#(not(#unless),)* #condition))]),
        });
    } else if list.path.is_ident("cfg_attr")
        && let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
    {
        let mut parts = parts.iter();
        unless.extend(parts.next().map(ToTokens::to_token_stream));
        parts.for_each(|part| collect_cfgs(part, unless, found));
        unless.pop();
    }
}

/// The `cfg` under which none of several items exists, each given by its `cfg`s. Without items it is always true;
/// `None` means that at least one item always exists.
pub(crate) fn otherwise<'a>(things: impl IntoIterator<Item = &'a [Attribute]>) -> Option<TokenStream> {
    let mut alternatives = Vec::new();
    for cfgs in things {
        if cfgs.is_empty() {
            return None;
        }
        alternatives.push(all(cfgs));
    }
    Some(if alternatives.is_empty() { TokenStream::new() } else { quote!(#[cfg(not(any(#(#alternatives),*)))]) })
}

/// The `cfg` that removes an item if at least one of the others exists.
pub(crate) fn unless<'a>(others: impl IntoIterator<Item = &'a [Attribute]>) -> Attribute {
    let others = others.into_iter().map(all);
    parse_quote!(#[cfg(not(any(#(#others),*)))])
}

/// The `cfg` under which this item and at least one of the others exist.
pub(crate) fn both<'a>(this: &[Attribute], others: impl IntoIterator<Item = &'a [Attribute]>) -> TokenStream {
    let (this, others) = (all(this), others.into_iter().map(all));
    quote!(#[cfg(all(#this, any(#(#others),*)))])
}

fn all(cfgs: &[Attribute]) -> TokenStream {
    let conditions = cfgs.iter().filter_map(|attr| match &attr.meta {
        Meta::List(list) => Some(&list.tokens),
        _ => None,
    });
    quote!(all(#(all(#conditions)),*))
}

/// The content of every attribute, including everything that a `cfg_attr` may add.
pub(crate) fn metas(attrs: &[Attribute]) -> Vec<Meta> {
    let mut found = Vec::new();
    for attr in attrs {
        collect(&attr.meta, &mut found);
    }
    found
}

fn collect(meta: &Meta, found: &mut Vec<Meta>) {
    if meta.path().is_ident("cfg_attr")
        && let Meta::List(list) = meta
        && let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
    {
        // The first part is the condition of the `cfg_attr`.
        parts.iter().skip(1).for_each(|part| collect(part, found));
        return;
    }
    found.push(meta.clone());
}

/// The last path segments of the derived traits, for example `Clone`.
pub(crate) fn derives(attrs: &[Attribute]) -> Vec<String> {
    let mut names = Vec::new();
    for meta in metas(attrs) {
        if let Meta::List(list) = &meta
            && list.path.is_ident("derive")
            && let Ok(paths) = list.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)
        {
            names.extend(paths.iter().filter_map(|path| path.segments.last()).map(|last| last.ident.to_string()));
        }
    }
    names
}

/// The value of `#[serde(key = "…")]`, if it exists.
pub(crate) fn serde_text(attrs: &[Attribute], key: &str) -> Option<LitStr> {
    let mut found = None;
    for meta in metas(attrs) {
        if let Meta::List(list) = &meta
            && list.path.is_ident("serde")
            && let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
        {
            for part in parts {
                if let Meta::NameValue(part) = part
                    && part.path.is_ident(key)
                    && let syn::Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) = part.value
                {
                    found = Some(text);
                }
            }
        }
    }
    found
}

/// The keys in the `#[serde(…)]` attributes, for example `tag` and `rename_all`.
pub(crate) fn serde_keys(attrs: &[Attribute]) -> Vec<String> {
    let mut keys = Vec::new();
    for meta in metas(attrs) {
        if let Meta::List(list) = &meta
            && list.path.is_ident("serde")
        {
            // serde reports attributes that do not parse.
            let _ = list.parse_nested_meta(|nested| {
                keys.extend(nested.path.get_ident().map(ToString::to_string));
                if nested.input.peek(Token![=]) {
                    nested.value()?.parse::<syn::Expr>()?;
                } else if nested.input.peek(syn::token::Paren) {
                    nested.input.parse::<proc_macro2::Group>()?;
                }
                Ok(())
            });
        }
    }
    keys
}

/// The attributes of derives.
const HELPERS: [&str; 5] = ["derive", "serde", "default", "garde", bindings::HELPER];

/// Removes all derives and their helper attributes.
pub(crate) fn remove_derives(attrs: &mut Vec<Attribute>) {
    attrs.retain(|attr| {
        let path = match &attr.meta {
            Meta::List(list) if list.path.is_ident("cfg_attr") => {
                let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
                let is_ours = |meta: &Meta| HELPERS.iter().any(|name| meta.path().is_ident(name));
                return !parts.is_ok_and(|parts| parts.iter().skip(1).any(is_ours));
            }
            meta => meta.path(),
        };
        !HELPERS.iter().any(|name| path.is_ident(name))
    });
}

/// Removes a derive that is written as this name without a path.
pub(crate) fn remove_derive(attrs: &mut Vec<Attribute>, name: &str) {
    attrs.retain_mut(|attr| {
        let Meta::List(list) = &mut attr.meta else { return true };
        if !list.path.is_ident("derive") {
            return true;
        }
        let Ok(paths) = list.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated) else { return true };
        let kept: Vec<_> = paths.iter().filter(|path| !path.is_ident(name)).collect();
        list.tokens = quote!(#(#kept),*);
        !kept.is_empty()
    });
}

/// Removes `#[serde(key = …)]`, except inside a `cfg_attr`.
pub(crate) fn remove_serde_key(attrs: &mut Vec<Attribute>, key: &str) {
    attrs.retain_mut(|attr| {
        let Meta::List(list) = &mut attr.meta else { return true };
        if !list.path.is_ident("serde") {
            return true;
        }
        let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else { return true };
        let kept: Vec<_> = parts.iter().filter(|part| !part.path().is_ident(key)).collect();
        list.tokens = quote!(#(#kept),*);
        !kept.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn derives_are_found_by_last_segment_and_inside_cfg_attr() {
        let item: syn::ItemStruct = parse_quote! {
            #[derive(Default, ::std::clone::Clone)]
            #[cfg_attr(feature = "x", derive(PartialEq), cfg_attr(y, derive(Eq)))]
            #[serde(rename_all = "camelCase", bound(serialize = "T: A"), deny_unknown_fields)]
            #[cfg_attr(test, serde(crate = "foo"))]
            struct S;
        };
        assert_eq!(derives(&item.attrs), ["Default", "Clone", "PartialEq", "Eq"]);
        assert_eq!(serde_keys(&item.attrs), ["rename_all", "bound", "deny_unknown_fields", "crate"]);
    }

    #[test]
    fn one_of_serdes_keys_is_removed_and_the_others_stay() {
        let item: syn::ItemEnum = parse_quote! {
            #[derive(Clone)]
            #[serde(rename_all = "camelCase", tag = "op", bound(serialize = "T: A"))]
            #[serde(tag = "op")]
            enum E {}
        };
        let mut attrs = item.attrs;
        remove_serde_key(&mut attrs, "tag");
        assert_eq!(derives(&attrs), ["Clone"]);
        assert_eq!((attrs.len(), serde_keys(&attrs)), (2, vec!["rename_all".to_owned(), "bound".to_owned()]));
    }

    #[test]
    fn a_cfg_that_another_attribute_may_add_is_one() {
        let item: syn::ItemStruct = parse_quote! {
            #[cfg(a)]
            #[cfg_attr(b, cfg(c), cfg_attr(d, cfg(e)), inline)]
            struct S;
        };
        let cfgs = cfgs(&item.attrs).into_iter().map(|cfg| cfg.to_token_stream().to_string().replace(' ', ""));
        let expected = ["#[cfg(a)]", "#[cfg(any(not(b),c))]", "#[cfg(any(not(b),not(d),e))]"];
        assert_eq!(cfgs.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn otherwise_is_where_nothing_else_is() {
        let item: syn::ItemStruct = parse_quote! {
            #[cfg(a)]
            #[cfg(any(b, c))]
            struct S;
        };
        let text = |cfg: Option<TokenStream>| cfg.map(|cfg| cfg.to_string().replace(' ', ""));
        let expected = "#[cfg(not(any(all(all(a),all(any(b,c))),all(all(a)))))]";
        assert_eq!(text(otherwise([&item.attrs[..], &item.attrs[..1]])).as_deref(), Some(expected));
        assert_eq!(text(otherwise([])).as_deref(), Some(""));
        assert_eq!(text(otherwise([&item.attrs[..], &[]])), None);
    }
}
