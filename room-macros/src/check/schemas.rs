//! Checks the types of a room.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{Attribute, Fields, Item, ItemEnum, ItemStruct, ItemType, ItemUnion, ItemUse, Visibility, parse_quote};

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
    let travels = |item: &&Declared| SCHEMAS.iter().any(|kind| kind.travels && kind.name == item.name);
    let roots: Vec<_> = declared.iter().filter(travels).map(|item| (item.index, item.name)).collect();
    let found = types::of_schemas(module, &roots);
    let unseen = check_macros(module, declared, errors);
    let unbound = parse::unbound(module, ["Serialize", "Deserialize"]);
    let roots: Vec<_> = roots.into_iter().map(|(index, _)| index).collect();
    let mut walk = Walk { options, unbound, found, schemas: Vec::new(), conditional: Vec::new(), doubles: Vec::new() };
    for kind in SCHEMAS {
        let mut items: Vec<_> = declared.iter().filter(|item| item.name == kind.name).cloned().collect();
        if items.is_empty() && !kind.optional {
            if parse::has_public_glob(module) {
                // A glob import may bring the schema. If it does not, rustc reports the name of the module.
                let ident = Ident::new(kind.name, Span::call_site().located_at(module.ident.span()));
                walk.schemas.push(Schema { kind, ident, cfgs: Vec::new(), twin: None });
                continue;
            }
            items.extend((!unseen).then(|| check_missing(module, kind, errors)).flatten());
        }
        for item in items {
            walk.check(module, kind, item, errors);
        }
    }
    let Walk { found, schemas, mut conditional, doubles, .. } = walk;
    adapt_parts(module, &roots);
    check_parts(module, found, &roots, options, errors);
    let lacking =
        SCHEMAS.into_iter().filter(|kind| !kind.optional || declared.iter().any(|item| item.name == kind.name));
    let lacking = lacking.filter(|kind| schemas.iter().all(|schema| schema.kind != *kind));
    let lacking = lacking.map(|kind| kind.name).collect();
    conditional.extend(check_cfgs(&module.ident, &schemas));
    Schemas { schemas, lacking, conditional, doubles }
}

/// The walk through the items that are schemas.
struct Walk<'o> {
    options: &'o Options,
    /// The derives of serde that are not in scope.
    unbound: Vec<&'static str>,
    /// The mistakes in the types, until they are reported.
    found: Found,
    schemas: Vec<Schema>,
    conditional: Vec<Conditional>,
    doubles: Vec<usize>,
}

impl Walk<'_> {
    /// Checks an item with the name of a schema.
    fn check(&mut self, module: &mut RoomModule, kind: SchemaKind, declared: Declared, errors: &mut Errors) {
        let Declared { ident, index, .. } = declared;
        let Some(cfgs) = self.exclusive_cfgs(module, kind, &ident, index, errors) else { return };
        let is_wrong = |(place, _): &mut (Place, _)| *place == [index];
        let faults: Vec<_> = self.found.faults.extract_if(.., is_wrong).map(|(_, fault)| fault).collect();
        let own = parse::implemented(module, &ident, data::TRAITS);
        let Some(item) = module.other_mut(index) else { return };
        if let Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. }) = item {
            // These derives are not in scope; they are added with absolute paths instead.
            self.unbound.iter().for_each(|name| attrs::remove_derive(attrs, name));
        }
        let Checked { twin, stubs } = check_schema(item, kind, &ident, faults, &own, self.options, errors);
        if let Some(twin) = twin {
            self.schemas.push(Schema { kind, ident, cfgs, twin });
        }
        module.items.extend(stubs.map(|stubs| ModuleItem::Other(Item::Verbatim(stubs))));
    }

    /// The item's `cfg`s, with one that removes it where an earlier type of its name is compiled. `None` if both are
    /// always compiled, which is reported.
    fn exclusive_cfgs(
        &mut self,
        module: &mut RoomModule,
        kind: SchemaKind,
        ident: &Ident,
        index: usize,
        errors: &mut Errors,
    ) -> Option<Vec<Attribute>> {
        let message = format!("room `{}` has two types `{}`", module.ident, kind.name);
        let item = module.other_mut(index)?;
        let mut cfgs = attrs::cfgs(parse::item_attrs(item));
        let earlier = || self.schemas.iter().filter(|other| other.kind == kind).map(|other| &*other.cfgs);
        if cfgs.is_empty() && earlier().any(<[_]>::is_empty) {
            errors.on(ident, format!("{message}\nremove one of them, or tell them apart with `#[cfg(…)]`"));
            self.doubles.push(index);
            return None;
        }
        // The `cfg`s of two types may exclude each other.
        if earlier().next().is_some() {
            let message = format!("{message} here\nonly one of their `cfg`s may be on");
            let (cfg, error) = (attrs::both(&cfgs, earlier()), syn::Error::new(ident.span(), message));
            let unless = attrs::unless(earlier());
            self.conditional.push(Conditional { cfg, error });
            parse::add_attribute(item, unless.clone());
            cfgs.push(unless);
        }
        Some(cfgs)
    }
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
        let own = parse::implemented(module, &name, data::TRAITS);
        let is_rejected = rejected.contains(&place);
        let Some(item) = parse::at_place(module, &place) else { continue };
        errors.on(&name, format!("`{name}` is part of `{owner}`, but is not serializable\n{}", advice(item)));
        if let Item::Union(union) = item {
            let stubs = types::stubs(&name, &union.generics, &data::TRAITS.map(str::to_owned), &options.krate);
            parse::add_beside(module, &place, stubs);
            continue;
        }
        match item {
            // A type with its own tag needs no twin to count as valid.
            Item::Struct(ItemStruct { attrs, fields, .. }) if !is_rejected => {
                data::schema(attrs, fields, &name, &options.krate, &own, errors);
            }
            Item::Enum(ItemEnum { attrs, .. }) if !is_rejected => {
                data::schema(attrs, &mut Fields::Unit, &name, &options.krate, &own, errors);
            }
            _ => {}
        }
    }
    for place in rejected {
        let Some(item) = parse::at_place(module, &place) else { continue };
        let Some(name) = parse::type_name(item).cloned() else { continue };
        let own = parse::implemented(module, &name, data::TRAITS);
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
        let name = match module.other(index) {
            Some(Item::Struct(ItemStruct { ident, .. }) | Item::Enum(ItemEnum { ident, .. })) => ident.clone(),
            _ => continue,
        };
        let own = parse::implemented(module, &name, data::TRAITS);
        if let Some(Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. })) =
            module.other_mut(index)
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
    let similar = diag::similar(name, candidates).and_then(|similar| others.iter().find(|(name, _)| name == similar));
    if let Some((ident, index)) = similar.cloned() {
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

/// The result of checking a schema.
#[derive(Default)]
struct Checked {
    /// The schema's twin, if it has one. `None` if the type cannot be the schema.
    twin: Option<Option<Twin>>,
    /// Stubs for the derives of a type with mistakes.
    stubs: Option<TokenStream>,
}

/// A schema without a twin.
const PLAIN: Checked = Checked { twin: Some(None), stubs: None };

fn check_schema(
    item: &mut Item,
    kind: SchemaKind,
    ident: &Ident,
    faults: Vec<Fault>,
    own: &[&'static str],
    options: &Options,
    errors: &mut Errors,
) -> Checked {
    if !check_kind(item, kind, errors) {
        return Checked::default();
    }
    check_visibility(item, kind, ident, errors);
    if !check_generics(item, kind, errors) {
        return Checked::default();
    }
    if !kind.travels {
        return PLAIN;
    }
    if !faults.is_empty() {
        faults.into_iter().for_each(|fault| fault.report(errors));
        let (stubs, is_another) = match item {
            Item::Struct(_) | Item::Enum(_) => data::rejected(item, &options.krate, own, errors),
            _ => return PLAIN,
        };
        // A field's type was replaced, so errors about handlers that use the field would be misleading.
        return Checked { twin: (!is_another).then_some(None), stubs: Some(stubs) };
    }
    let twin = match item {
        Item::Enum(item) => data::enum_schema(item, &options.krate, &options.tag, own, errors),
        Item::Struct(ItemStruct { attrs, fields, ident, .. }) => {
            data::schema(attrs, fields, ident, &options.krate, own, errors);
            None
        }
        // An alias or a re-export is unchanged.
        _ => None,
    };
    Checked { twin: Some(twin), stubs: None }
}

/// Reports an item that cannot be the schema. Returns whether it can.
fn check_kind(item: &Item, kind: SchemaKind, errors: &mut Errors) -> bool {
    let message = format!("`{}` must be a `struct` or an `enum`, not a", kind.name);
    match item {
        Item::Struct(_) | Item::Enum(_) | Item::Type(_) | Item::Use(_) => true,
        Item::Union(_) if !kind.travels => true,
        Item::Union(item) => {
            errors.on(item.union_token, format!("{message} `union`"));
            false
        }
        Item::Trait(item) => {
            errors.on(item.trait_token, format!("{message} `trait`"));
            false
        }
        _ => false,
    }
}

/// Reports a schema that other crates do not see, and makes it public.
fn check_visibility(item: &mut Item, kind: SchemaKind, ident: &Ident, errors: &mut Errors) {
    let name = kind.name;
    let is_import = matches!(item, Item::Use(_));
    let (Item::Struct(ItemStruct { vis, .. })
    | Item::Enum(ItemEnum { vis, .. })
    | Item::Union(ItemUnion { vis, .. })
    | Item::Type(ItemType { vis, .. })
    | Item::Use(ItemUse { vis, .. })) = item
    else {
        return;
    };
    let speaker = if kind.travels { "the room's client speaks of it" } else { "the room's public type names it" };
    match &*vis {
        Visibility::Public(_) => return,
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
    *vis = parse_quote!(pub);
}

/// Reports a generic schema. Returns whether it is not generic.
fn check_generics(item: &Item, kind: SchemaKind, errors: &mut Errors) -> bool {
    let (Item::Struct(ItemStruct { generics, .. })
    | Item::Enum(ItemEnum { generics, .. })
    | Item::Union(ItemUnion { generics, .. })
    | Item::Type(ItemType { generics, .. })) = item
    else {
        return true;
    };
    if !generics.params.is_empty() {
        let message = format!("`{}` cannot be generic over `{}`", kind.name, written(&generics.params));
        errors.on(generics, format!("{message}\na room has exactly one type of each schema"));
    }
    generics.params.is_empty()
}
