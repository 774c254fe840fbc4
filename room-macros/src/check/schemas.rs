//! Checks the types of a room.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Item, ItemEnum, ItemStruct, Visibility, parse_quote};

use super::{
    types::{self, Fault, Found, Place},
    written,
};
use crate::{
    attrs, data,
    diag::{self, Errors},
    model::{Conditional, Options, SCHEMAS, Schema, SchemaKind},
    parse::{self, Declared, ModuleItem, RoomModule},
    twin::Twin,
};

/// The result of checking the schemas.
pub(super) struct Schemas {
    pub(super) schemas: Vec<Schema>,
    /// The required schemas that the module lacks.
    pub(super) lacking: Vec<&'static str>,
    pub(super) conditional: Vec<Conditional>,
    /// Duplicate items, which have been reported.
    pub(super) doubles: Vec<usize>,
}

pub(super) fn check(module: &mut RoomModule, declared: &[Declared], options: &Options, errors: &mut Errors) -> Schemas {
    let mut schemas: Vec<Schema> = Vec::new();
    let travels = |item: &&Declared| SCHEMAS.iter().any(|kind| kind.travels && kind.name == item.name);
    let roots: Vec<_> = declared.iter().filter(travels).map(|item| (item.index, item.name)).collect();
    let mut found = types::of_schemas(module, &roots);
    let unseen = check_macros(module, declared, errors);
    let unbound = parse::unbound(module, ["Serialize", "Deserialize"]);
    let roots: Vec<_> = roots.into_iter().map(|(index, _)| index).collect();
    let (mut doubles, mut conditional) = (Vec::new(), Vec::new());
    for kind in SCHEMAS {
        let mut items: Vec<_> = declared.iter().filter(|item| item.name == kind.name).cloned().collect();
        if items.is_empty() && !kind.optional {
            if parse::has_public_glob(module) {
                // A glob import may bring the schema. If it does not, rustc reports the name of the module.
                let ident = Ident::new(kind.name, Span::call_site().located_at(module.ident.span()));
                schemas.push(Schema { kind, ident, cfgs: Vec::new(), twin: None });
                continue;
            }
            items.extend((!unseen).then(|| check_missing(module, kind, errors)).flatten());
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
            // The `cfg`s of two types may exclude each other.
            if earlier().next().is_some() {
                let message = format!("{message} here\nonly one of their `cfg`s may be on");
                let (cfg, error) = (attrs::both(&cfgs, earlier()), syn::Error::new(ident.span(), message));
                conditional.push(Conditional { cfg, error });
                let unless = attrs::unless(earlier());
                parse::add_attribute(item, unless.clone());
                cfgs.push(unless);
            }
            let is_wrong = |(place, _): &mut (Place, _)| *place == [index];
            let faults: Vec<_> = found.faults.extract_if(.., is_wrong).map(|(_, fault)| fault).collect();
            let own = parse::implemented(module, &ident, data::DERIVES);
            let ModuleItem::Other(item) = &mut module.items[index] else { continue };
            if let Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. }) = item {
                // These derives are not in scope; they are added with absolute paths instead.
                unbound.iter().for_each(|name| attrs::remove_derive(attrs, name));
            }
            let (twin, stubs) = check_schema(item, kind, &ident, faults, &own, options, errors);
            if let Some(twin) = twin {
                schemas.push(Schema { kind, ident, cfgs, twin });
            }
            module.items.extend(stubs.map(|stubs| ModuleItem::Other(Item::Verbatim(stubs))));
        }
    }
    adapt_parts(module, &roots);
    check_parts(module, found, &roots, options, errors);
    let lacking =
        SCHEMAS.into_iter().filter(|kind| !kind.optional || declared.iter().any(|item| item.name == kind.name));
    let lacking = lacking.filter(|kind| schemas.iter().all(|schema| schema.kind != *kind));
    let lacking = lacking.map(|kind| kind.name).collect();
    conditional.extend(check_cfgs(&module.ident, &schemas));
    Schemas { schemas, lacking, conditional, doubles }
}

/// Reports a missing schema in a module with item macros, which are not expanded yet. Returns whether it reported one.
fn check_macros(module: &RoomModule, declared: &[Declared], errors: &mut Errors) -> bool {
    let is_there = |kind: &SchemaKind| declared.iter().any(|item| item.name == kind.name);
    let missing = SCHEMAS.into_iter().filter(|kind| !kind.optional && !is_there(kind)).map(|kind| kind.name);
    let missing: Vec<_> = missing.collect();
    let Some(path) = parse::macro_call(module).filter(|_| !missing.is_empty() && !parse::has_public_glob(module))
    else {
        return false;
    };
    let (room, name, types) = (&module.ident, written(path), diag::list(missing.iter().copied()));
    let message = format!("`#[room]` does not see what `{name}!` makes, and room `{room}` has no {types} of its own");
    let advice = "write the types in the module, or have the macro write the whole module with its `#[room]`";
    errors.on(path, format!("{message}\n{advice}"));
    true
}

/// The errors for each combination of `cfg`s that leaves a schema without a type.
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

/// Reports mistakes in the module's types that are parts of schemas.
fn check_parts(module: &mut RoomModule, found: Found, schemas: &[usize], options: &Options, errors: &mut Errors) {
    let Found { faults, lacking } = found;
    let mut rejected: Vec<Place> = Vec::new();
    for (place, fault) in faults.into_iter().filter(|(place, _)| !is_schema(place, schemas)) {
        fault.report(errors);
        if !rejected.contains(&place) {
            rejected.push(place);
        }
    }
    for (place, name, owner) in lacking {
        let own = parse::implemented(module, &name, data::DERIVES);
        let is_rejected = rejected.contains(&place);
        let Some(item) = parse::at_place(module, &place) else { continue };
        errors.on(&name, format!("`{name}` is part of `{owner}`, but is not serializable\n{}", advice(item)));
        if let Item::Union(union) = item {
            let stubs = types::stubs(&name, &union.generics, &data::DERIVES.map(str::to_owned), &options.krate);
            parse::add_beside(module, &place, stubs);
            continue;
        }
        match item {
            // A type with its own tag needs no twin to count as valid.
            Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. }) if !is_rejected => {
                data::schema(attrs, &name, &options.krate, &own, errors);
            }
            _ => {}
        }
    }
    for place in rejected {
        let Some(item) = parse::at_place(module, &place) else { continue };
        let Some(name) = parse::type_name(item).cloned() else { continue };
        let own = parse::implemented(module, &name, data::DERIVES);
        let Some(item) = parse::at_place(module, &place) else { continue };
        if let Item::Struct(_) | Item::Enum(_) = item {
            let (stubs, _) = data::rejected(item, &options.krate, &own, errors);
            parse::add_beside(module, &place, stubs);
        }
    }
}

fn is_schema(place: &[usize], schemas: &[usize]) -> bool {
    matches!(place, [index] if schemas.contains(index))
}

/// The hint that makes a type serializable.
fn advice(item: &Item) -> &'static str {
    match item {
        Item::Union(_) => "write an `enum` with `#[data]`",
        _ => "put `#[data]` on it",
    }
}

/// Adds the traits that the module implements itself to the `skip` of each part's `#[data]`.
fn adapt_parts(module: &mut RoomModule, schemas: &[usize]) {
    for index in (0..module.items.len()).filter(|index| !schemas.contains(index)) {
        let name = match &module.items[index] {
            ModuleItem::Other(Item::Struct(ItemStruct { ident, .. }) | Item::Enum(ItemEnum { ident, .. })) => ident,
            _ => continue,
        };
        let own = parse::implemented(module, &name.clone(), data::DERIVES);
        if let ModuleItem::Other(Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. })) =
            &mut module.items[index]
        {
            data::adapt(attrs, &own);
        }
    }
}

/// Reports a schema that the module lacks. A type with a similar name replaces it, so that other code of the crate
/// causes no more errors.
fn check_missing(module: &RoomModule, kind: SchemaKind, errors: &mut Errors) -> Option<Declared> {
    let (room, name, example) = (&module.ident, kind.name, kind.example);
    // The schema exists but could not be parsed, which is reported.
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

/// Checks one schema. Returns its twin, if it has one (`None` if the type cannot serve as the schema), and stubs for
/// the derives of a type with mistakes.
fn check_schema(
    item: &mut Item,
    kind: SchemaKind,
    ident: &Ident,
    faults: Vec<Fault>,
    own: &[&'static str],
    options: &Options,
    errors: &mut Errors,
) -> (Option<Option<Twin>>, Option<TokenStream>) {
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
            return (None, None);
        }
        Item::Trait(item) => {
            errors.on(item.trait_token, format!("`{name}` must be a `struct` or an `enum`, not a `trait`"));
            return (None, None);
        }
        _ => return (None, None),
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
    // The missing `pub` is reported; it must not cause errors in code that uses the schema.
    if !matches!(vis, Visibility::Public(_)) {
        *vis = parse_quote!(pub);
    }
    if let Some(generics) = generics.filter(|generics| !generics.params.is_empty()) {
        let over = written(&generics.params);
        let message = format!("`{name}` cannot be generic over `{over}`");
        errors.on(generics, format!("{message}\na room has exactly one type of each schema"));
        return (None, None);
    }
    if !kind.travels {
        return (Some(None), None);
    }
    if !faults.is_empty() {
        faults.into_iter().for_each(|fault| fault.report(errors));
        let (stubs, is_another) = match item {
            Item::Struct(_) | Item::Enum(_) => data::rejected(item, &options.krate, own, errors),
            _ => return (Some(None), None),
        };
        // A field's type was replaced, so errors about handlers that use the field would be misleading.
        return ((!is_another).then_some(None), Some(stubs));
    }
    let twin = match item {
        Item::Enum(item) => data::enum_schema(item, &options.krate, &options.tag, own, errors),
        Item::Struct(ItemStruct { attrs, ident, .. }) => {
            data::schema(attrs, ident, &options.krate, own, errors);
            None
        }
        // An alias or a re-export is unchanged.
        _ => None,
    };
    (Some(twin), None)
}
