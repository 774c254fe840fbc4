//! The enum by which the runtime reads a message that says its variant in a key: the schema without the tag, for serde's
//! `remote`. serde reads tagged enums from a buffer; the runtime's `Tagged` does without.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Fields, ItemEnum, Path, Type};

use crate::attrs;

/// What serde may be told of the enum and of a variant that means the same without the tag.
const OF_ENUM: [&str; 5] = ["tag", "rename_all", "rename_all_fields", "deny_unknown_fields", "crate"];
const OF_VARIANT: [&str; 5] = ["rename", "alias", "rename_all", "deserialize", "other"];

/// The enum without the key that says the variant, and the key.
#[derive(Debug)]
pub(crate) struct Twin {
    item: ItemEnum,
    tag: String,
}

/// The twin of an enum under this key, where there is one.
pub(crate) fn of(item: &ItemEnum, tag: &str) -> Option<Twin> {
    let mut twin = item.clone();
    let plain = |attrs: &[Attribute]| !attrs.iter().any(|attr| attr.path().is_ident("cfg_attr"));
    let only = |attrs: &[Attribute], allowed: &[&str]| {
        plain(attrs) && attrs::serde_keys(attrs).iter().all(|key| allowed.contains(&&**key))
    };
    if !item.generics.params.is_empty() || item.variants.is_empty() || !only(&item.attrs, &OF_ENUM) {
        return None;
    }
    keep_serde(&mut twin.attrs);
    attrs::remove_serde_key(&mut twin.attrs, "tag");
    for variant in &mut twin.variants {
        if !only(&variant.attrs, &OF_VARIANT) || matches!(variant.fields, Fields::Unnamed(_)) {
            return None;
        }
        keep_serde(&mut variant.attrs);
        variant.discriminant = None;
        for field in &mut variant.fields {
            // What serde borrows, the runtime's way does not.
            if !plain(&field.attrs) || matches!(field.ty, Type::Reference(_)) {
                return None;
            }
            // `Self` would be the twin.
            if names_self(field.ty.to_token_stream()) {
                field.ty = Type::Verbatim(without_self(field.ty.to_token_stream(), &item.ident));
            }
            keep_serde(&mut field.attrs);
        }
    }
    twin.vis = syn::Visibility::Inherited;
    twin.ident = format_ident!("__{}", item.ident, span = item.ident.span());
    Some(Twin { item: twin, tag: tag.to_owned() })
}

/// The twin and what the schema gets from it.
pub(crate) fn expand(Twin { item: twin, tag }: &Twin, schema: &syn::Ident, krate: &Path) -> TokenStream {
    let (ident, cfgs) = (&twin.ident, attrs::cfgs(&twin.attrs));
    let (serde, remote) = (quote!(#krate::__private::serde), schema.to_string());
    let path = (!attrs::serde_keys(&twin.attrs).iter().any(|key| key == "crate")).then(|| {
        let path = serde.to_string().replace(' ', "");
        quote!(crate = #path,)
    });
    quote! {
        #(#cfgs)*
        #[allow(deprecated)]
        const _: () = {
            #[derive(#serde::Deserialize)]
            #[serde(#path remote = #remote)]
            #[allow(dead_code)]
            #twin

            #krate::__tagged!(#schema by #ident, #tag);
        };
    }
}

fn keep_serde(attrs: &mut Vec<Attribute>) {
    attrs.retain(|attr| attr.path().is_ident("serde") || attr.path().is_ident("cfg"));
}

fn without_self(tokens: TokenStream, ident: &syn::Ident) -> TokenStream {
    let each = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(own) if own == "Self" => {
            let mut named = ident.clone();
            named.set_span(own.span());
            TokenTree::Ident(named)
        }
        TokenTree::Group(group) => {
            let mut named = Group::new(group.delimiter(), without_self(group.stream(), ident));
            named.set_span(group.span());
            TokenTree::Group(named)
        }
        token => token,
    });
    each.collect()
}

fn names_self(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "Self",
        TokenTree::Group(group) => names_self(group.stream()),
        _ => false,
    })
}
