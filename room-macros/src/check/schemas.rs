//! The types of a room.

use proc_macro2::{Ident, Span};
use syn::{Item, ItemEnum, ItemStruct, Type, Visibility, parse_quote};

use super::written;
use crate::{
    attrs, data,
    diag::{self, Errors},
    model::{Conditional, Options, SCHEMAS, Schema, SchemaKind},
    parse::{self, Declared, ModuleItem, RoomModule},
    twin::Twin,
};

/// What was found of the schemas.
pub(super) struct Schemas {
    pub(super) schemas: Vec<Schema>,
    /// Those that a room has to have, and for which there is nothing.
    pub(super) lacking: Vec<&'static str>,
    pub(super) conditional: Vec<Conditional>,
    /// Items that are there once too often, and have been reported.
    pub(super) doubles: Vec<usize>,
}

pub(super) fn check(module: &mut RoomModule, declared: &[Declared], options: &Options, errors: &mut Errors) -> Schemas {
    let mut schemas: Vec<Schema> = Vec::new();
    let (mut doubles, mut conditional) = (Vec::new(), Vec::new());
    for kind in SCHEMAS {
        let mut items: Vec<_> = declared.iter().filter(|item| item.name == kind.name).cloned().collect();
        if items.is_empty() && !kind.optional {
            if parse::has_public_glob(module) {
                // It may be among what that brings; if not, rustc says so at the name of the module.
                let ident = Ident::new(kind.name, Span::call_site().located_at(module.ident.span()));
                schemas.push(Schema { kind, ident, cfgs: Vec::new(), twin: None });
                continue;
            }
            items.extend(check_missing(module, kind, errors));
        }
        for Declared { ident, index, .. } in items {
            let ModuleItem::Other(item) = &mut module.items[index] else { continue };
            let mut cfgs = attrs::cfgs(parse::item_attrs(item));
            let earlier = || schemas.iter().filter(|other| other.kind == kind).map(|other| &*other.cfgs);
            let (room, name) = (&module.ident, kind.name);
            let message = format!("room `{room}` has two types `{name}`");
            if cfgs.is_empty() && earlier().any(<[_]>::is_empty) {
                errors.on(&ident, format!("{message}\nremove one of them, or tell them apart with `#[cfg(…)]`"));
                doubles.push(index);
                continue;
            }
            // Two behind `cfg` may well exclude each other.
            if earlier().next().is_some() {
                let message = format!("{message} here\nonly one of their `cfg`s may be on");
                let (cfg, error) = (attrs::both(&cfgs, earlier()), syn::Error::new(ident.span(), message));
                conditional.push(Conditional { cfg, error });
                let unless = attrs::unless(earlier());
                parse::add_attribute(item, unless.clone());
                cfgs.push(unless);
            }
            if let Some(twin) = check_schema(item, kind, &ident, options, errors) {
                schemas.push(Schema { kind, ident, cfgs, twin });
            }
        }
    }
    check_parts(module, declared, options, errors);
    let lacking =
        SCHEMAS.into_iter().filter(|kind| !kind.optional || declared.iter().any(|item| item.name == kind.name));
    let lacking = lacking.filter(|kind| schemas.iter().all(|schema| schema.kind != *kind));
    let lacking = lacking.map(|kind| kind.name).collect();
    conditional.extend(check_cfgs(&module.ident, &schemas));
    Schemas { schemas, lacking, conditional, doubles }
}

/// Where `cfg` leaves no type for a schema.
fn check_cfgs(room: &Ident, schemas: &[Schema]) -> Vec<Conditional> {
    let of_kind = |kind: SchemaKind| schemas.iter().filter(move |schema| schema.kind == kind);
    let required = SCHEMAS.into_iter().filter(|kind| !kind.optional);
    let conditional = required.filter_map(|kind| {
        let first = of_kind(kind).next()?;
        let cfg = attrs::otherwise(of_kind(kind).map(|schema| &*schema.cfgs)).filter(|cfg| !cfg.is_empty())?;
        let message =
            format!("room `{room}` has no `{}` type here\nadd one without a `cfg`, or for this one", kind.name);
        Some(Conditional { cfg, error: syn::Error::new(first.ident.span(), message) })
    });
    conditional.collect()
}

/// A type of the module that is part of a schema, without `#[data]`, would be one error for each derive and each field.
fn check_parts(module: &mut RoomModule, declared: &[Declared], options: &Options, errors: &mut Errors) {
    let travels = |name: &str| SCHEMAS.iter().any(|kind| kind.travels && kind.name == name);
    let mut waiting: Vec<_> = declared.iter().filter(|item| travels(item.name)).map(|item| item.index).collect();
    let mut seen = waiting.clone();
    while let Some(whole) = waiting.pop() {
        let ModuleItem::Other(item) = &module.items[whole] else { continue };
        let (parts, owner) = (parse::mentioned(item), parse::type_name(item).map(ToString::to_string));
        let (Some(owner), parts) = (owner, parse::types(module).into_iter().filter(|(name, _)| parts.contains(name)))
        else {
            continue;
        };
        let parts: Vec<_> = parts.filter(|(_, index)| !seen.contains(index)).collect();
        for (name, index) in parts {
            seen.push(index);
            waiting.push(index);
            let has_impl =
                parse::implements(module, &name, "Serialize") || parse::implements(module, &name, "Deserialize");
            let ModuleItem::Other(Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. })) =
                &mut module.items[index]
            else {
                continue;
            };
            let derives = attrs::derives(attrs);
            let derives = derives.iter().any(|derive| derive == "Serialize" || derive == "Deserialize");
            if !derives && !has_impl && !data::is_data(attrs) {
                errors.on(&name, format!("`{name}` is part of `{owner}`, but cannot travel\nput `#[data]` on it"));
                data::schema(attrs, &name, &options.krate, errors);
            }
        }
    }
}

/// What is said of a schema that the module does not have. A type that was probably meant to be it takes its place: what
/// else the crate says of it is then right.
fn check_missing(module: &RoomModule, kind: SchemaKind, errors: &mut Errors) -> Option<Declared> {
    let (room, name, example) = (&module.ident, kind.name, kind.example);
    // It is there, and what is wrong with it has been said.
    if module.unread().any(|unread| unread.name.as_ref().is_some_and(|own| parse::is(own, name))) {
        return None;
    }
    if let Some((token, what)) = parse::other_item(module, name) {
        errors.on(token, format!("`{name}` must be a `struct` or an `enum`, not a `{what}`\nadd `{example}`"));
        return None;
    }
    let message = format!("room `{room}` has no `{name}` type");
    let others = parse::types(module);
    let names: Vec<_> = others.iter().map(|(ident, _)| ident.to_string()).collect();
    let candidates = names.iter().map(String::as_str).filter(|other| SCHEMAS.iter().all(|kind| kind.name != *other));
    let similar = diag::similar(name, candidates).and_then(|similar| names.iter().position(|name| name == similar));
    if let Some((ident, index)) = similar.map(|similar| others[similar].clone()) {
        errors.on(&ident, format!("{message}, but it has `{ident}`\nwrite `{name}`, or add `{example}`"));
        return Some(Declared { name, ident, index });
    }
    let advice = match parse::inner_type(module, name) {
        Some(inner) => format!("add `pub use {inner}::{name};`"),
        None => format!("add `{example}`"),
    };
    errors.on(room, format!("{message}\n{advice}"));
    None
}

/// The twin of the type, if it has one; `None` when it cannot be named as that schema.
fn check_schema(
    item: &mut Item,
    kind: SchemaKind,
    ident: &Ident,
    options: &Options,
    errors: &mut Errors,
) -> Option<Option<Twin>> {
    let name = kind.name;
    let is_import = matches!(item, Item::Use(_));
    let (vis, generics) = match item {
        Item::Struct(item) => (&mut item.vis, Some(&item.generics)),
        Item::Enum(item) => (&mut item.vis, Some(&item.generics)),
        Item::Type(item) => (&mut item.vis, Some(&item.generics)),
        Item::Use(item) => (&mut item.vis, None),
        Item::Union(item) if !kind.travels => (&mut item.vis, Some(&item.generics)),
        Item::Union(item) => {
            errors.on(item.union_token, format!("`{name}` must be a `struct` or an `enum`, not a `union`"));
            return None;
        }
        Item::Trait(item) => {
            errors.on(item.trait_token, format!("`{name}` must be a `struct` or an `enum`, not a `trait`"));
            return None;
        }
        _ => return None,
    };
    let speaker = if kind.travels { "the room's client speaks of it" } else { "the room's public type names it" };
    match &*vis {
        Visibility::Public(_) => {}
        Visibility::Restricted(_) => {
            let found = written(vis);
            errors.on(&*vis, format!("`{name}` is not visible everywhere, but {speaker}\nwrite `pub`, not `{found}`"));
        }
        Visibility::Inherited => {
            let advice = if is_import { "write `pub use`" } else { "write `pub` in front of it" };
            errors.on(ident, format!("`{name}` is private, but {speaker}\n{advice}"));
        }
    }
    // It has been said; whoever uses it is not to blame.
    if !matches!(vis, Visibility::Public(_)) {
        *vis = parse_quote!(pub);
    }
    if let Some(generics) = generics.filter(|generics| !generics.params.is_empty()) {
        let over = written(&generics.params);
        let message = format!("`{name}` cannot be generic over `{over}`");
        errors.on(generics, format!("{message}\na room has exactly one type of each schema"));
        return None;
    }
    if !kind.travels {
        return Some(None);
    }
    let before = errors.len();
    check_references(item, errors);
    if errors.len() > before {
        return None;
    }
    Some(match item {
        Item::Enum(item) => data::enum_schema(item, &options.krate, &options.tag, errors),
        Item::Struct(ItemStruct { attrs, ident, .. }) => {
            data::schema(attrs, ident, &options.krate, errors);
            None
        }
        // An alias or a re-export is what it is.
        _ => None,
    })
}

/// A reference cannot be read: there is nothing that it could point into.
fn check_references(item: &Item, errors: &mut Errors) {
    for field in parse::fields(item) {
        let keys = attrs::serde_keys(&field.attrs);
        if let Type::Reference(reference) = &field.ty
            && !keys.iter().any(|key| key.contains("skip") || key.contains("with"))
        {
            let owned = match written(&reference.elem).as_str() {
                "str" => "String".to_owned(),
                other => other.to_owned(),
            };
            let message = "a schema owns what it is read into, and cannot have a reference";
            errors.on(&field.ty, format!("{message}\nwrite `{owned}`"));
        }
    }
}
