//! Checks the option `validate`, and that no schema has rules which the room does not check.

use quote::ToTokens;
use syn::{Attribute, Item, Meta, spanned::Spanned};

use super::values::{not_that, refuse};
use crate::{
    args::{self, Given, Value, Written},
    attrs,
    diag::{self, Errors},
    model::Ruled,
    options::{OptionKind, RULED, RuledSchema},
    parse::{Declared, ModuleItem, RoomModule},
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

/// Reports a schema with rules that the room would not check: they would be silent.
pub(super) fn check_unused(module: &RoomModule, declared: &[Declared], written: &Written, errors: &mut Errors) {
    let given = written.given.iter().find(|given| given.name == VALIDATE);
    // The option was meant, and has an error of its own.
    if given.is_none() && written.meant.contains(&VALIDATE) {
        return;
    }
    let list = match given.map(|given| &given.value) {
        Some(Value::List(list)) => list.to_string(),
        Some(_) => return,
        None => String::new(),
    };
    for schema in RULED {
        let is_chosen = list.split(|char: char| !char.is_alphanumeric() && char != '_').any(|word| word == schema.word);
        if is_chosen {
            continue;
        }
        let of_schema = declared.iter().filter(|item| item.name == schema.schema);
        let ruled = of_schema.filter(|item| match &module.items[item.index] {
            ModuleItem::Other(item) => has_rules(item),
            _ => false,
        });
        if let Some(Declared { ident, .. }) = ruled.into_iter().next() {
            let words = [list.trim().trim_end_matches(','), schema.word].map(str::trim);
            let words: Vec<_> = words.into_iter().filter(|words| !words.is_empty()).collect();
            errors.on(
                ident,
                format!(
                    "`{}` has rules of garde, but this room does not check them\nwrite `#[room(validate({}))]`",
                    schema.schema,
                    words.join(", ")
                ),
            );
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
