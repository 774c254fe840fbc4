//! `#[data]`: the derives of a type that travels or is stored.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Ident, Item, ItemEnum, Path, Token, parse::Parser, parse_quote, punctuated::Punctuated};

use crate::{
    args::{self, Given, Value},
    attrs,
    check::{
        options,
        tagging::{self, ChosenBy, Key},
    },
    diag::{self, Errors},
    expand,
    twin::{self, Twin},
};

/// What `#[data]` derives.
const DERIVES: [&str; 5] = ["Serialize", "Deserialize", "Clone", "Debug", "PartialEq"];

/// The key that says the variant, where the author chooses none.
const TAG: &str = "type";

/// The options in `#[data(…)]`.
#[derive(Debug, Default)]
struct DataArgs {
    skip: Vec<Path>,
    krate: Option<Path>,
    form: Option<Form>,
}

/// How the variants of an enum are told apart, and the option that says so.
#[derive(Debug)]
struct Form {
    /// By a key, if it is not by an object around each.
    tag: Option<String>,
    option: Path,
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
    let mut reader = None;
    match &mut item {
        Item::Struct(item) => add_to_struct(&mut item.attrs, item.ident.span(), &args, &krate, &mut errors),
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

/// Gives a schema what `#[data]` gives, in place of a `#[data]` attribute of its own.
pub(crate) fn schema(item_attrs: &mut Vec<Attribute>, ident: &Ident, krate: &Path, errors: &mut Errors) {
    let args = own_args(item_attrs, errors);
    add_to_struct(item_attrs, ident.span(), &args, krate, errors);
}

/// The same for an enum, in a room whose enums have the key `tag`.
pub(crate) fn enum_schema(item: &mut ItemEnum, krate: &Path, tag: &str, errors: &mut Errors) -> Option<Twin> {
    let args = own_args(&mut item.attrs, errors);
    add_to_enum(item, &args, krate, Some(tag), errors)
}

fn add_to_struct(item_attrs: &mut Vec<Attribute>, at: Span, args: &DataArgs, krate: &Path, errors: &mut Errors) {
    if let Some(Form { option, .. }) = &args.form {
        let option_name = option.to_token_stream();
        errors
            .on(option, format!("option `{option_name}` goes on an `enum`: a `struct` has no variants to tell apart"));
    }
    add(item_attrs, at, args, krate, None, false);
}

/// Where the runtime's way to read a message with a key that says the variant does, the twin to read it by is returned, and
/// the enum does not derive `Deserialize`.
fn add_to_enum(
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
    // Without the key serde has nothing to add to our own error.
    if let Some(key) = &key
        && !tagging::check(item, key, errors)
    {
        attrs::remove_serde_key(&mut item.attrs, "tag");
        add(&mut item.attrs, item.ident.span(), args, krate, None, false);
        return None;
    }
    let key = key.filter(|key| key.chosen_by != ChosenBy::Serde);
    let tag = key.as_ref().map(|key| &*key.name);
    // Without a derive of serde's on the enum, its `#[serde(…)]` attributes would be unknown there.
    let writes =
        derives(&item.attrs, args, "Serialize") || attrs::derives(&item.attrs).iter().any(|own| own == "Serialize");
    let reads = writes && derives(&item.attrs, args, "Deserialize");
    let twin = tag.filter(|_| reads).and_then(|tag| twin::of(item, tag));
    add(&mut item.attrs, item.ident.span(), args, krate, tag, twin.is_some());
    twin
}

/// The key that says the variant of the enum, if one does and serde derives something.
fn key(item: &ItemEnum, args: &DataArgs, room: Option<&str>) -> Option<Key> {
    if has_tagging(&item.attrs) {
        // Beside `content` there is a place for every variant.
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
        // What the author derives is the author's to shape; and a name needs no object around it.
        (None, None) if !ours || tagging::has_units_only(item) => return None,
        (None, None) => (TAG, ChosenBy::Data),
    };
    (ours || theirs).then(|| Key { name: name.to_owned(), chosen_by })
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
    for option in args::list("#[data]", &["tag", "externally_tagged", "skip", "crate"], tokens, errors).given {
        let form = match &*option.name {
            "skip" => {
                args.skip = skipped(&option, errors);
                continue;
            }
            "crate" => {
                args.krate = args::krate(&option, errors);
                continue;
            }
            "tag" => Some(options::tag(&option, errors)).filter(Option::is_some),
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

/// With a value it is meant all the same.
fn externally_tagged(option: &Given, errors: &mut Errors) {
    if !matches!(option.value, Value::Nothing) {
        errors.on(option.fault(), "option `externally_tagged` takes no value\nwrite `#[data(externally_tagged)]`");
    }
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
