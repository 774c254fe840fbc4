//! `#[data]`: the derives of a type that travels or is stored.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Ident, Item, ItemEnum, Path, Token, parse::Parser, parse_quote, punctuated::Punctuated};

use crate::{
    args::{self, Given, Value},
    attrs,
    diag::{self, Errors},
    expand, twin,
};

/// What `#[data]` derives.
const DERIVES: [&str; 5] = ["Serialize", "Deserialize", "Clone", "Debug", "PartialEq"];

/// The options in `#[data(…)]`.
#[derive(Debug, Default)]
struct DataArgs {
    skip: Vec<Path>,
    krate: Option<Path>,
    /// Whether `Deserialize` comes from somewhere else.
    skip_deserialize: bool,
}

/// The `#[data]` attribute on a type of its own.
pub(crate) fn attribute(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = parse_args(args, &mut errors);
    let mut item: Item = match syn::parse2(item.clone()) {
        Ok(item) => item,
        // rustc cannot read it either, or knows more than this.
        Err(error) => {
            errors.push(error);
            return expand::rejected(&item, &errors);
        }
    };
    let krate = args.krate.clone().unwrap_or_else(expand::default_crate);
    match &mut item {
        Item::Struct(item) => add(&mut item.attrs, item.ident.span(), &args, &krate, None),
        Item::Enum(item) => add(&mut item.attrs, item.ident.span(), &args, &krate, None),
        other => {
            let keyword = keyword(other);
            errors.on(&keyword, format!("`#[data]` goes on a `struct` or an `enum`, not on a `{keyword}`"));
        }
    }
    quote!(#item #errors)
}

/// Gives a schema what `#[data]` gives, in place of a `#[data]` attribute of its own.
pub(crate) fn schema(item_attrs: &mut Vec<Attribute>, ident: &Ident, krate: &Path, errors: &mut Errors) {
    let args = own_args(item_attrs, errors);
    add(item_attrs, ident.span(), &args, krate, None);
}

/// The same for an enum, which gets the tag as well. Where the engine's way to read such a message does, the enum to read it
/// by is returned, and the schema does not derive `Deserialize`.
pub(crate) fn tagged_schema(item: &mut ItemEnum, krate: &Path, tag: &str, errors: &mut Errors) -> Option<ItemEnum> {
    let mut args = own_args(&mut item.attrs, errors);
    let is_ours = derives(&item.attrs, &args, "Deserialize") && !has_tagging(&item.attrs);
    let twin = if is_ours { twin::of(item) } else { None };
    if twin.is_some() {
        args.skip_deserialize = true;
    }
    add(&mut item.attrs, item.ident.span(), &args, krate, Some(tag));
    twin
}

/// What the item's own `#[data]` says, which goes.
fn own_args(item_attrs: &mut Vec<Attribute>, errors: &mut Errors) -> DataArgs {
    let own = item_attrs.iter().position(is_ours);
    match own.map(|index| item_attrs.remove(index).meta) {
        Some(syn::Meta::List(list)) => parse_args(list.tokens, errors),
        _ => DataArgs::default(),
    }
}

fn is_ours(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|last| last.ident == "data")
}

/// Whether a type has `#[data]`.
pub(crate) fn is_data(item_attrs: &[Attribute]) -> bool {
    item_attrs.iter().any(is_ours)
}

/// Whether the enum is given the tag: serde derives something for it, and it chooses no tagging of its own.
pub(crate) fn is_tagged_by_us(item: &ItemEnum) -> bool {
    let args = own_args(&mut item.attrs.clone(), &mut Errors::default());
    let derived =
        |name: &str| derives(&item.attrs, &args, name) || attrs::derives(&item.attrs).iter().any(|own| own == name);
    (derived("Serialize") || derived("Deserialize")) && !has_tagging(&item.attrs)
}

/// Whether the derive is for us to add.
fn derives(item_attrs: &[Attribute], args: &DataArgs, name: &str) -> bool {
    !attrs::derives(item_attrs).iter().any(|own| own == name) && !args.skip.iter().any(|path| path.is_ident(name))
}

/// Whether the type chooses how serde tells its variants apart.
pub(crate) fn has_tagging(item_attrs: &[Attribute]) -> bool {
    let keys = attrs::serde_keys(item_attrs);
    keys.iter().any(|key| ["tag", "content", "untagged", "from", "try_from", "into", "transparent"].contains(&&**key))
}

fn parse_args(tokens: TokenStream, errors: &mut Errors) -> DataArgs {
    let mut args = DataArgs::default();
    for option in args::list("#[data]", &["skip", "crate"], tokens, errors).given {
        match &*option.name {
            "skip" => args.skip = skipped(&option, errors),
            _ => args.krate = args::krate(&option, errors),
        }
    }
    args
}

fn skipped(option: &Given, errors: &mut Errors) -> Vec<Path> {
    let paths = match &option.value {
        Value::List(list) => Punctuated::<Path, Token![,]>::parse_terminated.parse2(list.clone()).ok(),
        _ => None,
    };
    let Some(paths) = paths.filter(|paths| !paths.is_empty()) else {
        let message = format!("option `skip` takes some of {}", diag::list(DERIVES));
        errors.on(option.fault(), format!("{message}\nwrite for example `skip(PartialEq)`"));
        return Vec::new();
    };
    for path in &paths {
        let name = path.to_token_stream().to_string();
        if !DERIVES.contains(&&*name) {
            errors.on(path, format!("`#[data]` derives {}, not `{name}`", diag::list(DERIVES)));
        }
    }
    paths.into_iter().collect()
}

/// `at` is the type's name: what a derive has to say of the type as a whole is said there.
fn add(item_attrs: &mut Vec<Attribute>, at: Span, args: &DataArgs, krate: &Path, tag: Option<&str>) {
    let wanted = |name: &str| derives(item_attrs, args, name) && !(name == "Deserialize" && args.skip_deserialize);
    let private = quote!(#krate::__private);
    let paths: Vec<_> = DERIVES
        .into_iter()
        .filter(|name| wanted(name))
        .map(|name| {
            let ident = quote::format_ident!("{name}");
            match name {
                "Serialize" | "Deserialize" => quote!(#private::serde::#ident),
                _ => quote!(#private::#ident),
            }
        })
        .map(|path| expand::respanned(path, Span::call_site().located_at(at)))
        .collect();
    let added = wanted("Serialize") || wanted("Deserialize");
    let own = attrs::derives(item_attrs);
    let derives_serde = added || own.iter().any(|own| own == "Serialize" || own == "Deserialize");
    let keys = attrs::serde_keys(item_attrs);
    let tagged = has_tagging(item_attrs);
    if !paths.is_empty() {
        item_attrs.insert(0, parse_quote!(#[derive(#(#paths),*)]));
    }
    // Behind the user's own: a helper attribute must not come before its derive.
    if added && !keys.iter().any(|key| key == "crate") {
        let path = quote!(#private::serde).to_string().replace(' ', "");
        item_attrs.push(parse_quote!(#[serde(crate = #path)]));
    }
    if let Some(tag) = tag
        && derives_serde
        && !tagged
    {
        item_attrs.push(parse_quote!(#[serde(tag = #tag)]));
    }
}

/// The word that says what kind of item it is.
fn keyword(item: &Item) -> TokenStream {
    match item {
        Item::Const(item) => item.const_token.to_token_stream(),
        Item::Fn(item) => item.sig.fn_token.to_token_stream(),
        Item::Impl(item) => item.impl_token.to_token_stream(),
        Item::Mod(item) => item.mod_token.to_token_stream(),
        Item::Static(item) => item.static_token.to_token_stream(),
        Item::Trait(item) => item.trait_token.to_token_stream(),
        Item::Type(item) => item.type_token.to_token_stream(),
        Item::Union(item) => item.union_token.to_token_stream(),
        Item::Use(item) => item.use_token.to_token_stream(),
        other => other.to_token_stream().into_iter().take(1).collect(),
    }
}
