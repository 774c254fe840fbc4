//! Checks the `#[serde(…)]` attributes of a type. serde reports a mistake once for each derive, and rustc then reports
//! the missing traits; this check reports one error instead.

use quote::ToTokens;
use syn::{
    Attribute, Expr, ExprLit, Fields, Item, Lit, Meta, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
};

use super::{types::Fault, written};
use crate::diag;

/// The kind of item that an attribute is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Struct,
    Enum,
    Variant,
    Field,
}

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    Text,
    /// `rename = "…"` or `rename(serialize = "…", deserialize = "…")`.
    Texts,
    /// As `Texts`, with a rename rule as the value.
    Rules,
    /// A string literal, or no value.
    MayTakeText,
}

const RULES: [&str; 8] = [
    "lowercase",
    "UPPERCASE",
    "PascalCase",
    "camelCase",
    "snake_case",
    "SCREAMING_SNAKE_CASE",
    "kebab-case",
    "SCREAMING-KEBAB-CASE",
];

/// All keys of serde: <https://serde.rs/attributes.html>.
const KEYS: [(&str, Takes, &[On]); 29] = {
    use On::{Enum, Field, Struct, Variant};
    use Takes::{MayTakeText, Nothing, Rules, Text, Texts};
    [
        ("rename", Texts, &[Struct, Enum, Variant, Field]),
        ("rename_all", Rules, &[Struct, Enum, Variant]),
        ("rename_all_fields", Rules, &[Enum]),
        ("deny_unknown_fields", Nothing, &[Struct, Enum]),
        ("tag", Text, &[Struct, Enum]),
        ("content", Text, &[Enum]),
        ("untagged", Nothing, &[Enum, Variant]),
        ("bound", Texts, &[Struct, Enum, Variant, Field]),
        ("default", MayTakeText, &[Struct, Field]),
        ("remote", Text, &[Struct, Enum]),
        ("transparent", Nothing, &[Struct]),
        ("from", Text, &[Struct, Enum]),
        ("try_from", Text, &[Struct, Enum]),
        ("into", Text, &[Struct, Enum]),
        ("crate", Text, &[Struct, Enum]),
        ("expecting", Text, &[Struct, Enum]),
        ("variant_identifier", Nothing, &[Enum]),
        ("field_identifier", Nothing, &[Enum]),
        ("alias", Text, &[Variant, Field]),
        ("skip", Nothing, &[Variant, Field]),
        ("skip_serializing", Nothing, &[Variant, Field]),
        ("skip_deserializing", Nothing, &[Variant, Field]),
        ("skip_serializing_if", Text, &[Field]),
        ("serialize_with", Text, &[Variant, Field]),
        ("deserialize_with", Text, &[Variant, Field]),
        ("with", Text, &[Variant, Field]),
        ("borrow", MayTakeText, &[Variant, Field]),
        ("other", Nothing, &[Variant]),
        ("flatten", Nothing, &[Field]),
    ]
};

impl On {
    const fn name(self) -> &'static str {
        match self {
            On::Struct => "struct",
            On::Enum => "enum",
            On::Variant => "variant",
            On::Field => "field",
        }
    }
}

/// True if this check knows the key.
pub(crate) fn is_known(key: &str) -> bool {
    KEYS.iter().any(|(known, ..)| *known == key)
}

/// True if the attribute fills a missing field with its type's default.
pub(super) fn is_default(attr: &Attribute) -> bool {
    options(attr).iter().any(|option| matches!(option, Meta::Path(path) if path.is_ident("default")))
}

/// Returns the mistakes in the attributes of a `struct` or an `enum`.
pub(super) fn check(item: &Item) -> Vec<Fault> {
    let mut faults = Vec::new();
    match item {
        Item::Struct(item) => {
            attributes(&item.attrs, On::Struct, &mut faults);
            fields(&item.fields, &item.attrs, &mut faults);
        }
        Item::Enum(item) => {
            attributes(&item.attrs, On::Enum, &mut faults);
            for variant in &item.variants {
                attributes(&variant.attrs, On::Variant, &mut faults);
                fields(&variant.fields, &[&*item.attrs, &*variant.attrs].concat(), &mut faults);
                if !matches!(variant.fields, Fields::Unit)
                    && crate::attrs::serde_keys(&variant.attrs).iter().any(|key| key == "other")
                {
                    let message =
                        format!("`other` stands for any variant that is not known, and `{}` has fields", variant.ident);
                    faults.push(Fault::new(
                        &variant.fields,
                        format!("{message}\nwrite `{}` without them", variant.ident),
                    ));
                }
            }
            combinations(&item.attrs, &mut faults);
            let named = item.variants.iter().map(|variant| (&variant.ident, &*variant.attrs));
            same_names(named, &item.attrs, "variants", &mut faults);
        }
        _ => {}
    }
    faults
}

/// Reports taggings that exclude each other.
fn combinations(attrs: &[Attribute], faults: &mut Vec<Fault>) {
    let keys: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("serde")).flat_map(options).collect();
    let given = |name: &str| keys.iter().map(Meta::path).find(|path| path.is_ident(name));
    if let (Some(_), Some(untagged)) = (given("tag"), given("untagged")) {
        faults.push(Fault::new(untagged, "`tag` and `untagged` exclude each other\nremove one of them"));
    } else if let (Some(content), None) = (given("content"), given("tag")) {
        faults.push(Fault::new(
            content,
            "`content` is the key beside the one that says the variant\nadd `tag = \"…\"` to it",
        ));
    }
}

/// Reports two fields or variants with one name, of which serde reads only the first.
fn same_names<'i>(
    things: impl Iterator<Item = (&'i syn::Ident, &'i [Attribute])>,
    of: &[Attribute],
    what: &str,
    faults: &mut Vec<Fault>,
) {
    // Items with `cfg`s may replace each other.
    let things: Vec<_> = things.filter(|(_, attrs)| crate::attrs::cfgs(attrs).is_empty()).collect();
    let keys = crate::attrs::serde_keys(of);
    if keys.iter().any(|key| key == "untagged" && what == "variants") {
        return;
    }
    let follows_rule = keys.iter().any(|key| key.starts_with("rename_all"));
    let mut seen: Vec<String> = Vec::new();
    let (renamed, others): (Vec<_>, Vec<_>) =
        things.into_iter().partition(|(_, attrs)| crate::attrs::serde_text(attrs, "rename").is_some());
    // A rename rule or another serde attribute may change the name.
    let others = others.into_iter().filter(|(_, attrs)| !follows_rule && crate::attrs::serde_keys(attrs).is_empty());
    seen.extend(others.map(|(ident, _)| ident.unraw().to_string()));
    for (_, attrs) in renamed {
        let alone = crate::attrs::serde_keys(attrs).iter().all(|key| !key.contains("skip") && key != "untagged");
        let Some(text) = crate::attrs::serde_text(attrs, "rename").filter(|_| alone) else { continue };
        let name = text.value();
        if seen.contains(&name) {
            faults.push(Fault::new(text, format!("two {what} have the name `{name}`\ngive one of them another")));
        } else {
            seen.push(name);
        }
    }
}

fn fields(fields: &Fields, of: &[Attribute], faults: &mut Vec<Fault>) {
    let named = fields.iter().filter_map(|field| Some((field.ident.as_ref()?, &*field.attrs)));
    same_names(named, of, "fields", faults);
    for field in fields {
        attributes(&field.attrs, On::Field, faults);
        if field.ident.is_none()
            && let Some(flatten) = field.attrs.iter().flat_map(options).find(|meta| meta.path().is_ident("flatten"))
        {
            faults.push(Fault::new(
                flatten.path(),
                "`flatten` puts fields beside others, and here they have no names\nremove it, or name the field",
            ));
        }
    }
}

/// The options in a readable `#[serde(…)]`.
fn options(attr: &Attribute) -> Vec<Meta> {
    match &attr.meta {
        Meta::List(list) if list.path.is_ident("serde") => list
            .parse_args_with(syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated)
            .map(|options| options.into_iter().collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn attributes(attrs: &[Attribute], on: On, faults: &mut Vec<Fault>) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
        let Meta::List(list) = &attr.meta else {
            faults.push(Fault::new(
                attr,
                "`#[serde]` takes its options in parentheses\nwrite for example `#[serde(rename_all = \"camelCase\")]`",
            ));
            continue;
        };
        let parse = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if input.peek(Lit) {
                    let text: Lit = input.parse()?;
                    faults.push(Fault::new(text, "an option of `#[serde(…)]` begins with its name\nwrite for example `rename_all = \"camelCase\"`"));
                } else {
                    option(&input.parse()?, on, faults);
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        if let Err(error) = parse.parse2(list.tokens.clone()) {
            let message = format!("this `#[serde(…)]` cannot be read: {error}");
            faults.push(Fault::new(
                attr,
                format!("{message}\nwrite options with commas between them, for example `rename = \"a\", default`"),
            ));
        }
    }
}

fn option(meta: &Meta, on: On, faults: &mut Vec<Fault>) {
    let path = meta.path();
    let name = written(path);
    let Some((_, takes, places)) = KEYS.into_iter().find(|(key, ..)| *key == name) else {
        // These keys are valid in one place only, or belong to old versions of serde.
        if name == "getter" {
            return;
        }
        let here = KEYS.into_iter().filter(|(_, _, places)| places.contains(&on)).map(|(key, ..)| key);
        let snake = heck::ToSnakeCase::to_snake_case(&*name);
        // A key without a similar known one may belong to a newer serde, which checks it.
        if let Some(similar) = diag::similar(&snake, here) {
            let message = format!("serde has no option `{name}`\na similar option exists: `{similar}`");
            faults.push(Fault::new(path, message));
        }
        return;
    };
    if !places.contains(&on) {
        let thing = on.name();
        let places: Vec<_> = places.iter().map(|on| on.name()).collect();
        let places = places.join(" or a ").replace("a enum", "an enum");
        let message = format!("option `{name}` goes on a {places}, not on a {thing}").replace("a enum", "an enum");
        let advice = match (&*name, on) {
            ("rename_all", On::Field) => "\nwrite `rename = \"…\"` here, or put it on the type",
            ("default", On::Variant) => "\nput it on the fields that may be missing",
            ("default", On::Enum) => "\nput it on the field that has this type",
            ("untagged", On::Struct) => "\nremove it",
            ("flatten", On::Variant | On::Struct | On::Enum) => {
                "\nput it on the field whose fields are to be among the others"
            }
            _ => "",
        };
        faults.push(Fault::new(path, format!("{message}{advice}")));
        return;
    }
    let example = match takes {
        Takes::Nothing => name.clone(),
        Takes::Rules => format!("{name} = \"camelCase\""),
        _ => format!("{name} = \"…\""),
    };
    match (meta, takes) {
        (Meta::Path(_), Takes::Nothing | Takes::MayTakeText) => {}
        (Meta::NameValue(pair), Takes::Text | Takes::Texts | Takes::MayTakeText) if text(&pair.value).is_some() => {}
        (Meta::NameValue(pair), Takes::Rules) if text(&pair.value).is_some() => rule(&pair.value, faults),
        (Meta::NameValue(pair), Takes::Nothing) => {
            faults.push(Fault::new(&pair.value, format!("option `{name}` takes no value\nwrite `{example}`")));
        }
        (Meta::NameValue(pair), _) => {
            let given = match &pair.value {
                Expr::Path(path) if takes != Takes::Rules => format!("{name} = \"{}\"", written(path)),
                Expr::Path(path) if RULES.contains(&&*written(path)) => format!("{name} = \"{}\"", written(path)),
                _ => example,
            };
            faults.push(Fault::new(&pair.value, format!("option `{name}` takes a string literal\nwrite `{given}`")));
        }
        (Meta::List(list), Takes::Texts | Takes::Rules) => both(list, &name, takes, &example, faults),
        _ => faults.push(Fault::new(meta, format!("option `{name}` is not written like this\nwrite `{example}`"))),
    }
}

/// `rename(serialize = "…", deserialize = "…")`.
fn both(list: &syn::MetaList, name: &str, takes: Takes, example: &str, faults: &mut Vec<Fault>) {
    let parts = list.parse_args_with(syn::punctuated::Punctuated::<Meta, Token![,]>::parse_terminated);
    let directions = ["serialize", "deserialize"];
    let is_fine = |part: &Meta| match part {
        Meta::NameValue(pair) => {
            directions.iter().any(|direction| pair.path.is_ident(direction)) && text(&pair.value).is_some()
        }
        _ => false,
    };
    match parts {
        Ok(parts) if parts.iter().all(is_fine) => {
            if takes == Takes::Rules {
                for part in parts {
                    if let Meta::NameValue(pair) = part {
                        rule(&pair.value, faults);
                    }
                }
            }
        }
        _ => {
            let message = format!("option `{name}` is not written like this");
            faults.push(Fault::new(list, format!("{message}\nwrite `{example}`")));
        }
    }
}

fn rule(value: &Expr, faults: &mut Vec<Fault>) {
    let Some(given) = text(value).filter(|given| !RULES.contains(&&**given)) else { return };
    let plain = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    let message = format!("serde has no rule `{given}` for names");
    let message = match RULES.into_iter().find(|rule| plain(rule) == plain(&given)) {
        Some(rule) => format!("{message}\nwrite `\"{rule}\"`"),
        None => format!("{message}\nthe rules are {}", diag::list(RULES)),
    };
    faults.push(Fault::new(value.to_token_stream(), message));
}

fn text(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
        Expr::Group(group) => text(&group.expr),
        // `concat!` and other macros: serde checks them.
        _ => None,
    }
}
