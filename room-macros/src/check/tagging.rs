//! Checks that an enum has a place for the key of the variant's name.

use syn::{Fields, ItemEnum, Type, Variant, ext::IdentExt};

use super::written;
use crate::{attrs, diag::Errors};

/// The key of the variant's name.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) chosen_by: ChosenBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChosenBy {
    /// The author chose it, with `#[serde(tag = "…")]`.
    Serde,
    /// The room's option `tag` chose it.
    Room,
    /// `#[data]` chose it.
    Data,
}

/// Reports tuple variants, which have no place for the key: serde would fail only when the message is sent.
pub(crate) fn check(item: &ItemEnum, key: &Key, errors: &mut Errors) -> bool {
    let Key { name: tag, chosen_by } = key;
    let own = *chosen_by == ChosenBy::Serde;
    let mut fits = true;
    let renames = attrs::serde_keys(&item.attrs).iter().any(|key| key == "rename_all_fields");
    for variant in &item.variants {
        let renames = renames || attrs::serde_keys(&variant.attrs).iter().any(|key| key == "rename_all");
        for field in &variant.fields {
            let Some(ident) = &field.ident else { continue };
            let renamed = attrs::serde_text(&field.attrs, "rename");
            let clashes = match &renamed {
                Some(renamed) => renamed.value() == *tag,
                // With other serde attributes on the field, serde checks the name.
                None => !renames && ident.unraw() == tag && attrs::serde_keys(&field.attrs).is_empty(),
            };
            if clashes {
                let message = format!("field `{tag}` has the name of the key that says the variant");
                let advice = match chosen_by {
                    ChosenBy::Serde => "rename the field, or choose another key",
                    ChosenBy::Room => "rename the field, or choose another key with `#[room(tag = \"…\")]`",
                    ChosenBy::Data => "rename the field, or choose another key with `#[data(tag = \"…\")]`",
                };
                match &renamed {
                    Some(renamed) => errors.on(renamed, format!("{message}\n{advice}")),
                    None => errors.on(ident, format!("{message}\n{advice}")),
                }
                fits = false;
            }
        }
        if let Fields::Unnamed(fields) = &variant.fields
            && !stays_at_home(variant)
            // An author who chooses the tagging may know that the type of the only field has named fields.
            && (!own || fields.unnamed.len() > 1 || fields.unnamed.iter().any(|field| is_scalar(&field.ty)))
        {
            let named: Vec<_> = fields.unnamed.iter().enumerate().map(named_field).collect();
            let advice = match own {
                true => "add `content = \"…\"` to it",
                false => "choose another form for the enum with `#[data(externally_tagged)]` or `#[serde(…)]`",
            };
            errors.on(
                variant,
                format!(
                    "variant `{name}` has no field names, but it travels as `{{\"{tag}\": \"{name}\", …}}`\n\
                     write `{name} {{ {} }}`, or {advice}",
                    named.join(", "),
                    name = variant.ident,
                ),
            );
            fits = false;
        }
    }
    fits
}

/// True if a type is written as one value, without a place for a key.
fn is_scalar(ty: &Type) -> bool {
    const SCALARS: [&str; 19] = [
        "String", "str", "char", "bool", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128",
        "isize", "f32", "f64", "Vec",
    ];
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| SCALARS.iter().any(|name| last.ident == name)),
        Type::Reference(reference) => is_scalar(&reference.elem),
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) => true,
        _ => false,
    }
}

/// True if all variants are unit variants, except those that serde skips or leaves untagged.
pub(crate) fn has_units_only(item: &ItemEnum) -> bool {
    item.variants.iter().all(|variant| matches!(variant.fields, Fields::Unit) || stays_at_home(variant))
}

/// True if serde skips the variant or leaves it untagged, so that it never has the key.
fn stays_at_home(variant: &Variant) -> bool {
    let keys = attrs::serde_keys(&variant.attrs);
    let has = |key: &str| keys.iter().any(|other| other == key);
    has("skip") || has("untagged") || (has("skip_serializing") && has("skip_deserializing"))
}

fn named_field((index, field): (usize, &syn::Field)) -> String {
    let ty = written(&field.ty);
    match (index, &*ty) {
        (0, "String" | "&str") => format!("text: {ty}"),
        (0, _) => format!("value: {ty}"),
        (n, _) => format!("value{}: {ty}", n + 1),
    }
}
