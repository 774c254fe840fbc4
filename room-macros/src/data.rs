//! `#[data]`: the derives of a type that is sent or stored.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Field, Fields, Ident, Item, ItemEnum, Meta, Path, Token, parse::Parser, parse_quote,
    punctuated::Punctuated,
};

use crate::{
    args::{self, Given, Value},
    attrs, bindings,
    check::{
        names,
        tagging::{self, ChosenBy, Key},
        types,
    },
    diag::{self, Errors},
    expand,
    twin::{self, Twin},
};

/// The traits that `#[data]` derives.
pub(crate) const DERIVES: [&str; 5] = ["Serialize", "Deserialize", "Clone", "Debug", "PartialEq"];

/// The traits that `#[data]` can derive and that `skip` can name.
pub(crate) const TRAITS: [&str; 6] = {
    let [serialize, deserialize, clone, debug, partial_eq] = DERIVES;
    [serialize, deserialize, clone, debug, partial_eq, bindings::TRAIT]
};

/// The default JSON key of the variant's name.
pub(crate) const TAG: &str = "type";

/// The options in `#[data(…)]`.
#[derive(Debug, Default)]
struct DataArgs {
    skip: Vec<Path>,
    krate: Option<Path>,
    form: Option<Form>,
}

/// The JSON form of an enum's variants, and the option that chooses it.
#[derive(Debug)]
struct Form {
    /// The key of the variant's name; `None` for the externally tagged form.
    tag: Option<String>,
    option: Path,
}

/// Expands `#[data]` on a type outside of a schema.
pub(crate) fn attribute(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = parse_args(args, &mut errors);
    let mut item: Item = match syn::parse2(item.clone()) {
        Ok(item) => item,
        // rustc cannot parse the item either, or it knows a newer syntax.
        Err(error) => {
            errors.push(error);
            return expand::rejected(&item, &errors);
        }
    };
    let krate = args.krate.clone().unwrap_or_else(expand::default_crate);
    let mut reader = None;
    if let Item::Struct(_) | Item::Enum(_) = item {
        item_attrs(&mut item).into_iter().for_each(|attrs| check_twice(attrs, &mut errors));
    }
    let faults = types::alone(&item);
    if !faults.is_empty() {
        faults.into_iter().for_each(|fault| fault.report(&mut errors));
        let (stubs, _) = reject(&mut item, &args, &krate);
        return quote!(#item #stubs #errors);
    }
    match &mut item {
        Item::Struct(item) => {
            add_to_struct(&mut item.attrs, &mut item.fields, item.ident.span(), &args, &krate, &mut errors);
        }
        Item::Enum(item) => {
            let twin = add_to_enum(item, &args, &krate, None, &mut errors);
            reader = twin.map(|twin| twin::expand(&twin, &item.ident, &krate));
        }
        other => {
            let keyword = keyword(other);
            errors.on(&keyword, format!("`#[data]` goes on a `struct` or an `enum`, not on a `{keyword}`"));
        }
    }
    quote!(#item #reader #errors)
}

/// Expands `#[data]` for a schema and removes the schema's own `#[data]`. The traits `own` are not derived.
pub(crate) fn schema(
    item_attrs: &mut Vec<Attribute>,
    fields: &mut Fields,
    ident: &Ident,
    krate: &Path,
    own: &[&'static str],
    errors: &mut Errors,
) {
    let args = own_args(item_attrs, own, errors);
    add_to_struct(item_attrs, fields, ident.span(), &args, krate, errors);
}

/// Like [`schema`], for an enum in a room whose enums use the key `tag`.
pub(crate) fn enum_schema(
    item: &mut ItemEnum,
    krate: &Path,
    tag: &str,
    own: &[&'static str],
    errors: &mut Errors,
) -> Option<Twin> {
    let args = own_args(&mut item.attrs, own, errors);
    add_to_enum(item, &args, krate, Some(tag), errors)
}

/// Replaces the derives of a type with reported mistakes by empty implementations.
///
/// Neither the type nor its users then cause more errors. Returns the implementations, and whether a field's type was
/// replaced.
pub(crate) fn rejected(
    item: &mut Item,
    krate: &Path,
    own: &[&'static str],
    errors: &mut Errors,
) -> (TokenStream, bool) {
    let args = item_attrs(item).map_or_else(DataArgs::default, |attrs| own_args(attrs, own, errors));
    reject(item, &args, krate)
}

fn reject(item: &mut Item, args: &DataArgs, krate: &Path) -> (TokenStream, bool) {
    let is_data = matches!(item, Item::Struct(_) | Item::Enum(_));
    let Some(derived) = item_attrs(item) else { return (TokenStream::new(), false) };
    let names = TRAITS.iter().filter(|name| derives(derived, args, name)).map(|name| (*name).to_owned());
    let names = names.chain(attrs::derives(derived)).collect::<Vec<_>>();
    attrs::remove_derives(derived);
    let (ident, generics, fields): (_, _, Vec<&mut Field>) = match item {
        Item::Struct(item) => (&item.ident, &item.generics, item.fields.iter_mut().collect()),
        Item::Enum(item) => {
            item.variants.iter_mut().for_each(|variant| attrs::remove_derives(&mut variant.attrs));
            (&item.ident, &item.generics, item.variants.iter_mut().flat_map(|variant| &mut variant.fields).collect())
        }
        _ => return (TokenStream::new(), false),
    };
    let lifetimes: Vec<_> = generics.lifetimes().map(|own| own.lifetime.ident.to_string()).collect();
    let mut other = false;
    for field in fields {
        attrs::remove_derives(&mut field.attrs);
        other |= types::mend(&mut field.ty, ident, &lifetimes);
    }
    let stubs = if is_data { types::stubs(ident, generics, &names, krate) } else { TokenStream::new() };
    (stubs, other)
}

/// The attributes of a type; another item has none that matter here.
fn item_attrs(item: &mut Item) -> Option<&mut Vec<Attribute>> {
    Some(match item {
        Item::Struct(item) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        Item::Type(item) => &mut item.attrs,
        Item::Union(item) => &mut item.attrs,
        _ => return None,
    })
}

/// Adds the traits `own` to the `skip` of a type's `#[data]`, and moves `#[data]` above the derives that it must see.
pub(crate) fn adapt(item_attrs: &mut Vec<Attribute>, own: &[&'static str]) {
    let Some(index) = item_attrs.iter().position(is_ours) else { return };
    // An attribute macro does not see the derives above it, and would derive the same traits again.
    let first = item_attrs.iter().position(|attr| attr.path().is_ident("derive") || attr.path().is_ident("serde"));
    if let Some(first) = first.filter(|first| *first < index) {
        let attr = item_attrs.remove(index);
        item_attrs.insert(first, attr);
    }
    if own.is_empty() {
        return;
    }
    let Some(attr) = item_attrs.iter_mut().find(|attr| is_ours(attr)) else { return };
    let given = match &attr.meta {
        Meta::List(list) => list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok(),
        Meta::Path(_) => Some(Punctuated::new()),
        Meta::NameValue(_) => None,
    };
    // `#[data]` reports unreadable options itself.
    let Some(given) = given else { return };
    let (skips, others): (Vec<_>, Vec<_>) = given.into_iter().partition(|option| option.path().is_ident("skip"));
    let skipped: Vec<_> = skips.iter().filter_map(|skip| skip.require_list().ok()).map(|list| &list.tokens).collect();
    if skipped.len() < skips.len() || skips.len() > 1 {
        return;
    }
    let known = skipped.iter().map(ToString::to_string).collect::<String>();
    let own = own.iter().filter(|name| !known.split(|c: char| !c.is_alphanumeric()).any(|word| word == **name));
    let own: Vec<_> = own.map(|name| quote::format_ident!("{name}")).collect();
    let comma = skipped.first().filter(|tokens| !tokens.is_empty()).map(|tokens| quote!(#tokens,));
    let path = attr.path();
    *attr = parse_quote!(#[#path(#(#others,)* skip(#comma #(#own),*))]);
}

fn add_to_struct(
    item_attrs: &mut Vec<Attribute>,
    fields: &mut Fields,
    at: Span,
    args: &DataArgs,
    krate: &Path,
    errors: &mut Errors,
) {
    if let Some(Form { option, .. }) = &args.form {
        let option_name = option.to_token_stream();
        errors
            .on(option, format!("option `{option_name}` goes on an `enum`: a `struct` has no variants to tell apart"));
    }
    add(item_attrs, at, args, krate, None, false);
    bindings::add(item_attrs, fields, at, derives(item_attrs, args, bindings::TRAIT), krate, errors);
}

/// Returns the twin that the runtime reads the enum by, if the runtime can read it. The enum then does not derive
/// `Deserialize`.
fn add_to_enum(
    item: &mut ItemEnum,
    args: &DataArgs,
    krate: &Path,
    room: Option<&str>,
    errors: &mut Errors,
) -> Option<Twin> {
    let twin = add_to_variants(item, args, krate, room, errors);
    let (at, is_wanted) = (item.ident.span(), derives(&item.attrs, args, bindings::TRAIT));
    let fields = item.variants.iter_mut().flat_map(|variant| &mut variant.fields);
    if !bindings::add(&mut item.attrs, fields, at, is_wanted, krate, errors) {
        item.variants.iter_mut().for_each(|variant| bindings::remove_helpers(&mut variant.attrs));
    }
    twin
}

fn add_to_variants(
    item: &mut ItemEnum,
    args: &DataArgs,
    krate: &Path,
    room: Option<&str>,
    errors: &mut Errors,
) -> Option<Twin> {
    if let Some(Form { option, .. }) = &args.form
        && has_tagging(&item.attrs)
    {
        let option_name = option.to_token_stream();
        let message = format!("option `{option_name}` is given beside a tagging with `#[serde(…)]`");
        errors.on(option, format!("{message}\nremove one of them"));
    }
    let key = key(item, args, room);
    // Without the key serde reports nothing besides our own error.
    if let Some(key) = &key
        && !tagging::check(item, key, errors)
    {
        attrs::remove_serde_key(&mut item.attrs, "tag");
        add(&mut item.attrs, item.ident.span(), args, krate, None, false);
        return None;
    }
    // The runtime also reads enums that serde writes under the author's own tag.
    let read_by = key.as_ref().map(|key| key.name.clone());
    let key = key.filter(|key| key.chosen_by != ChosenBy::Serde);
    let tag = key.as_ref().map(|key| &*key.name);
    // If the enum derived no serde trait, rustc would not know its `#[serde(…)]` attributes.
    let writes =
        derives(&item.attrs, args, "Serialize") || attrs::derives(&item.attrs).iter().any(|own| own == "Serialize");
    let reads = writes && derives(&item.attrs, args, "Deserialize");
    let twin = read_by.filter(|_| reads).and_then(|tag| twin::of(item, &tag));
    add(&mut item.attrs, item.ident.span(), args, krate, tag, twin.is_some());
    twin
}

/// The key of the enum's variant name, if the enum uses one and serde derives something.
fn key(item: &ItemEnum, args: &DataArgs, room: Option<&str>) -> Option<Key> {
    if has_tagging(&item.attrs) {
        // With `content`, every kind of variant has a place.
        let is_alone = !attrs::serde_keys(&item.attrs).iter().any(|key| key == "content");
        let tag = attrs::serde_text(&item.attrs, "tag").filter(|_| is_alone)?;
        return Some(Key { name: tag.value(), chosen_by: ChosenBy::Serde });
    }
    let own = attrs::derives(&item.attrs);
    let theirs = ["Serialize", "Deserialize"].iter().any(|name| own.iter().any(|own| own == name));
    let ours = ["Serialize", "Deserialize"].iter().any(|name| derives(&item.attrs, args, name));
    let (name, chosen_by) = match (&args.form, room) {
        (Some(form), _) => (form.tag.as_deref()?, ChosenBy::Data),
        (None, Some(tag)) => (tag, ChosenBy::Room),
        // The author shapes the author's own derives. A unit variant is a string and needs no object.
        (None, None) if !ours || tagging::has_units_only(item) => return None,
        (None, None) => (TAG, ChosenBy::Data),
    };
    (ours || theirs).then(|| Key { name: name.to_owned(), chosen_by })
}

/// Removes the item's own `#[data]` and returns its options. The traits `own` need no `skip`.
fn own_args(item_attrs: &mut Vec<Attribute>, own: &[&'static str], errors: &mut Errors) -> DataArgs {
    let index = item_attrs.iter().position(is_ours);
    let mut args = match index.map(|index| item_attrs.remove(index).meta) {
        Some(Meta::List(list)) => parse_args(list.tokens, errors),
        _ => DataArgs::default(),
    };
    check_twice(item_attrs, errors);
    args.skip.extend(own.iter().map(|name| Path::from(quote::format_ident!("{name}"))));
    args
}

/// A second `#[data]` would derive everything again.
fn check_twice(item_attrs: &mut Vec<Attribute>, errors: &mut Errors) {
    for second in item_attrs.iter().filter(|attr| is_ours(attr)) {
        errors.on(second, "`#[data]` is given twice\nremove one of them");
    }
    item_attrs.retain(|attr| !is_ours(attr));
}

fn is_ours(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|last| last.ident == "data")
}

/// True if a type's `#[data]` chooses a key for the variant's name.
pub(crate) fn has_tag(item_attrs: &[Attribute]) -> bool {
    item_attrs.iter().filter(|attr| is_ours(attr)).any(|attr| match &attr.meta {
        Meta::List(list) => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|options| options.iter().any(|option| option.path().is_ident("tag"))),
        _ => false,
    })
}

/// True if a type has `#[data]`.
pub(crate) fn is_data(item_attrs: &[Attribute]) -> bool {
    item_attrs.iter().any(is_ours)
}

/// True if `#[data]` adds the derive.
fn derives(item_attrs: &[Attribute], args: &DataArgs, name: &str) -> bool {
    !attrs::derives(item_attrs).iter().any(|own| own == name) && !args.skip.iter().any(|path| path.is_ident(name))
}

/// True if the type chooses a serde tagging itself.
pub(crate) fn has_tagging(item_attrs: &[Attribute]) -> bool {
    let keys = attrs::serde_keys(item_attrs);
    keys.iter().any(|key| ["tag", "content", "untagged", "from", "try_from", "into", "transparent"].contains(&&**key))
}

fn parse_args(tokens: TokenStream, errors: &mut Errors) -> DataArgs {
    let mut args = DataArgs::default();
    for option in args::list("#[data]", &["tag", "externally_tagged", "skip", "crate"], tokens, errors).given {
        let form = match option.name {
            "skip" => {
                args.skip = skipped(&option, errors);
                continue;
            }
            "crate" => {
                args.krate = names::krate(&option, errors);
                continue;
            }
            "tag" => Some(names::tag(&option, errors)).filter(Option::is_some),
            _ => {
                externally_tagged(&option, errors);
                Some(None)
            }
        };
        let Some(tag) = form else { continue };
        if let Some(first) = &args.form {
            let (first, second) = (first.option.to_token_stream(), &option.name);
            let message = format!("options `{first}` and `{second}` exclude each other");
            errors.on(&option.key, format!("{message}\nremove one of them"));
        } else {
            args.form = Some(Form { tag, option: option.key });
        }
    }
    args
}

/// Reports a value of `externally_tagged`; the option still counts as given.
fn externally_tagged(option: &Given, errors: &mut Errors) {
    if !matches!(option.value, Value::Nothing) {
        errors.on(option.fault(), "option `externally_tagged` takes no value\nwrite `#[data(externally_tagged)]`");
    }
}

/// The list of the derives, which has one more with the feature `bindings`. `skip` takes that one in any build.
fn derived() -> String {
    if bindings::enabled() { diag::list(TRAITS) } else { diag::list(DERIVES) }
}

fn skipped(option: &Given, errors: &mut Errors) -> Vec<Path> {
    let paths = match &option.value {
        Value::List(list) => Punctuated::<Path, Token![,]>::parse_terminated.parse2(list.clone()).ok(),
        _ => None,
    };
    let Some(paths) = paths.filter(|paths| !paths.is_empty()) else {
        let message = format!("option `skip` takes some of {}", derived());
        errors.on(option.fault(), format!("{message}\nwrite for example `skip(PartialEq)`"));
        return Vec::new();
    };
    for path in &paths {
        let name = path.to_token_stream().to_string();
        if !TRAITS.contains(&&*name) {
            errors.on(path, format!("`#[data]` derives {}, not `{name}`", derived()));
        }
    }
    paths.into_iter().collect()
}

/// `at` is the span of the type's name: errors of a derive about the whole type appear there.
fn add(
    item_attrs: &mut Vec<Attribute>,
    at: Span,
    args: &DataArgs,
    krate: &Path,
    tag: Option<&str>,
    skip_deserialize: bool,
) {
    let wanted = |name: &str| derives(item_attrs, args, name) && !(name == "Deserialize" && skip_deserialize);
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
    if wanted("PartialEq") {
        // The author decides about `Eq`; the lint must not ask authors who wrote no derive.
        item_attrs.insert(0, parse_quote!(#[allow(clippy::derive_partial_eq_without_eq)]));
    }
    if !paths.is_empty() {
        item_attrs.insert(0, parse_quote!(#[derive(#(#paths),*)]));
    }
    // After the user's attributes, because a helper attribute must not come before its derive.
    if added && !keys.iter().any(|key| key == "crate") {
        let path = quote!(#private::serde).to_string().replace(' ', "");
        item_attrs.push(parse_quote!(#[serde(crate = #path)]));
    }
    if let Some(tag) = tag
        && derives_serde
    {
        item_attrs.push(parse_quote!(#[serde(tag = #tag)]));
    }
}

/// The keyword of the item's kind.
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
