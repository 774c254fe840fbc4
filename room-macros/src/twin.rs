//! The twin of a tagged enum: the same enum without the tag, for serde's `remote`. serde buffers tagged enums while it
//! reads them; the runtime's `Tagged` reads them by the twin without a buffer.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Fields, ItemEnum, Meta, MetaList, Path, Token, Type, parse_quote, parse_quote_spanned,
    punctuated::Punctuated, spanned::Spanned,
};

use crate::{attrs, check::serde_attrs};

/// The serde attributes of the enum and of a variant that have the same meaning without the tag.
const OF_ENUM: [&str; 5] = ["tag", "rename_all", "rename_all_fields", "deny_unknown_fields", "crate"];
const OF_VARIANT: [&str; 5] = ["rename", "alias", "rename_all", "deserialize", "other"];

/// The enum without the key of the variant's name, and that key.
#[derive(Debug)]
pub(crate) struct Twin {
    item: ItemEnum,
    tag: String,
}

/// The twin of an enum with this key, if it can have one.
pub(crate) fn of(item: &ItemEnum, tag: &str) -> Option<Twin> {
    let mut twin = item.clone();
    let only =
        |attrs: &[Attribute], allowed: &[&str]| attrs::serde_keys(attrs).iter().all(|key| allowed.contains(&&**key));
    if !item.generics.params.is_empty() || item.variants.is_empty() || !only(&item.attrs, &OF_ENUM) {
        return None;
    }
    keep(&mut twin.attrs);
    attrs::remove_serde_key(&mut twin.attrs, "tag");
    // The key depends on a `cfg`.
    if attrs::serde_keys(&twin.attrs).iter().any(|key| key == "tag") {
        return None;
    }
    for variant in &mut twin.variants {
        if !only(&variant.attrs, &OF_VARIANT) || matches!(variant.fields, Fields::Unnamed(_)) {
            return None;
        }
        keep(&mut variant.attrs);
        variant.discriminant = None;
        for field in &mut variant.fields {
            // serde must report an unknown attribute for the schema only.
            if !attrs::serde_keys(&field.attrs).iter().all(|key| serde_attrs::is_known(key)) {
                return None;
            }
            // serde can borrow from the message; the runtime's reader cannot.
            if matches!(field.ty, Type::Reference(_)) {
                return None;
            }
            // In the twin, `Self` would be the twin's type.
            if names_self(field.ty.to_token_stream()) {
                field.ty = Type::Verbatim(without_self(field.ty.to_token_stream(), &item.ident));
            }
            keep(&mut field.attrs);
        }
    }
    twin.vis = syn::Visibility::Inherited;
    twin.ident = format_ident!("__{}", item.ident, span = item.ident.span());
    Some(Twin { item: twin, tag: tag.to_owned() })
}

/// The twin, and the impls that the schema gets from it.
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
            #[allow(dead_code, nonstandard_style)]
            #twin

            #krate::__tagged!(#schema by #ident, #tag);
        };
    }
}

/// Keeps the attributes that affect the twin: `cfg`s, serde's, and lints that are off. Lints that warn apply to the
/// schema only.
fn keep(attrs: &mut Vec<Attribute>) {
    attrs.retain_mut(|attr| match kept(&attr.meta) {
        Some(meta) => {
            attr.meta = meta;
            true
        }
        None => false,
    });
}

fn kept(meta: &Meta) -> Option<Meta> {
    let path = meta.path();
    if path.is_ident("serde") || path.is_ident("cfg") || path.is_ident("allow") {
        return Some(meta.clone());
    }
    let Meta::List(list) = meta else { return None };
    // The twin would not fulfil an `expect` a second time.
    if path.is_ident("expect") {
        return Some(Meta::List(MetaList { path: parse_quote_spanned!(path.span()=> allow), ..list.clone() }));
    }
    if !path.is_ident("cfg_attr") {
        return None;
    }
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let (condition, parts) = (parts.first()?, parts.iter().skip(1).filter_map(kept).collect::<Vec<_>>());
    (!parts.is_empty()).then(|| parse_quote!(cfg_attr(#condition, #(#parts),*)))
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
