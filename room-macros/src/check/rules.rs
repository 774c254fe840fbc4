//! Checks the option `validate`, and that no schema has rules which the room does not check.

use quote::ToTokens;
use syn::{Attribute, Item, Meta, Token, punctuated::Punctuated, spanned::Spanned};

use super::values::{not_that, refuse};
use crate::{
    args::{self, Given, Value, Written},
    attrs,
    diag::{self, Errors},
    model::{Options, Ruled},
    options::{OptionKind, RULED, RuledSchema},
    parse::{Declared, RoomModule},
};

/// The name of the option.
const VALIDATE: &str = "validate";

/// Validates the value of the option: a list of schemas, each a word.
pub(super) fn chosen(
    kind: &OptionKind,
    schemas: &'static [RuledSchema],
    given: &Given,
    errors: &mut Errors,
) -> Option<Vec<Ruled>> {
    let words: Vec<_> = schemas.iter().map(|schema| schema.word).collect();
    let list = match &given.value {
        Value::List(list) if !list.is_empty() => list,
        _ => {
            let message =
                format!("option `{}` takes one or more of {}{}", kind.name, diag::list(words), not_that(given));
            return refuse(given.fault(), format!("{message}\nwrite for example `{}(event)`", kind.name), errors);
        }
    };
    let before = errors.len();
    let chosen = args::list(given.name, &words, list.clone(), errors).given;
    for word in &chosen {
        if !matches!(word.value, Value::Nothing) {
            let message = format!("`{}` of `{}` takes no value{}", word.name, kind.name, not_that(word));
            errors.on(word.fault(), format!("{message}\nwrite `{}({})`", kind.name, word.name));
        }
    }
    if errors.len() > before {
        return None;
    }
    let chosen = schemas.iter().filter_map(|schema| {
        let word = chosen.iter().find(|word| word.name == schema.word)?;
        Some(Ruled { schema: *schema, span: word.key.span() })
    });
    Some(chosen.collect())
}

/// Checks the rules of the schemas: a schema that the room does not check has none, and no rules have a context.
pub(super) fn check(
    module: &RoomModule,
    declared: &[Declared],
    written: &Written,
    options: &Options,
    errors: &mut Errors,
) {
    // The option has an error of its own.
    if written.meant.contains(&VALIDATE) && options.ruled.is_empty() {
        return;
    }
    for schema in RULED {
        let is_chosen = options.ruled.iter().any(|ruled| ruled.schema.word == schema.word);
        let items = declared.iter().filter(|item| item.name == schema.schema);
        let items = items.filter_map(|declared| Some((&declared.ident, module.other(declared.index)?)));
        for (ident, item) in items {
            if is_chosen {
                check_context(item, errors);
            } else if has_rules(item) {
                let words = options.ruled.iter().map(|ruled| ruled.schema.word).chain([schema.word]);
                let message = format!(
                    "`{}` has rules of garde, but this room does not check them\nwrite `#[room(validate({}))]`",
                    schema.schema,
                    words.collect::<Vec<_>>().join(", ")
                );
                errors.on(ident, message);
                break;
            }
        }
    }
}

/// Reports rules with a context: a room has none to give.
fn check_context(item: &Item, errors: &mut Errors) {
    let item_attrs = match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        _ => return,
    };
    for meta in attrs::metas(item_attrs) {
        let Meta::List(list) = meta else { continue };
        if !list.path.is_ident("garde") {
            continue;
        }
        let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else { continue };
        for part in &parts {
            if let Meta::List(context) = part
                && context.path.is_ident("context")
                && !context.tokens.to_string().starts_with("()")
            {
                errors.on(context, "the rules of a room have no context\nremove `context(…)`");
            }
        }
    }
}

/// True if the type has an attribute of garde, on itself or on a field. The derive can have any name.
fn has_rules(item: &Item) -> bool {
    let mut found = match item {
        Item::Struct(item) => is_ruled(&item.attrs),
        Item::Enum(item) => is_ruled(&item.attrs),
        _ => return false,
    };
    match item {
        Item::Struct(item) => item.fields.iter().for_each(|field| found |= is_ruled(&field.attrs)),
        Item::Enum(item) => item.variants.iter().for_each(|variant| {
            found |= is_ruled(&variant.attrs) || variant.fields.iter().any(|field| is_ruled(&field.attrs));
        }),
        _ => {}
    }
    found
}

fn is_ruled(item_attrs: &[Attribute]) -> bool {
    attrs::metas(item_attrs).iter().any(|meta| match meta {
        Meta::List(list) if list.path.is_ident("derive") => {
            let derived = list.tokens.to_token_stream().to_string();
            derived.contains("garde :: Validate") || derived.contains("garde::Validate")
        }
        meta => meta.path().is_ident("garde"),
    })
}
