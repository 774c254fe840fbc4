//! Checks the types of fields for types that JSON or storage cannot represent, as far as names show it.
//!
//! A name is judged by its meaning: an item of the module, or a path that leads out of it. rustc checks types from
//! elsewhere that have a name of their own.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Expr, ExprLit, Field, Fields, GenericArgument, Ident, Item, Lit, PathArguments, Type, TypeArray, TypePath,
    TypeTuple, UseTree, ext::IdentExt, parse_quote,
};

use super::{serde_attrs, tagging, written};
use crate::{
    attrs, bindings, data,
    diag::Errors,
    model::SCHEMAS,
    parse::{self, ModuleItem, RoomModule},
};

/// The longest array and tuple for which serde and the standard library have trait impls.
const MAX_ARRAY: usize = 32;
const MAX_TUPLE: usize = 12;

/// The place of an item: its index in the module, followed by its indices in inner modules.
pub(super) type Place = Vec<usize>;

/// A mistake, with the tokens at fault.
#[derive(Debug)]
pub(crate) struct Fault {
    tokens: TokenStream,
    message: String,
}

impl Fault {
    pub(super) fn new(tokens: impl ToTokens, message: impl Into<String>) -> Fault {
        Fault { tokens: tokens.to_token_stream(), message: message.into() }
    }

    pub(crate) fn report(self, errors: &mut Errors) {
        errors.on(self.tokens, self.message);
    }
}

/// The result of checking a module's types.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Items with mistakes, and the mistakes.
    pub(super) faults: Vec<(Place, Fault)>,
    /// Parts of schemas without any of serde's traits, and the names of the types that contain them.
    pub(super) lacking: Vec<(Place, Ident, String)>,
}

/// The way in which a value is stored and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Use {
    /// True if an older stored value may be read after a change of the type.
    is_stored: bool,
    /// The reason why serde reads the value from a buffer, in which map keys cannot be numbers.
    buffered: Option<&'static str>,
    /// True if the owner may borrow from its input.
    may_borrow: bool,
}

/// The field or alias that contains a type.
#[derive(Clone, Copy)]
struct Site<'s> {
    place: &'s Place,
    how: Use,
    /// The type that the field belongs to.
    owner: &'s Ident,
    lifetimes: &'s [String],
}

impl Site<'_> {
    /// The module that the names of the type are resolved in.
    fn scope(&self) -> &[usize] {
        scope_of(self.place)
    }
}

/// The module that contains the item at a place; the room's own module is the empty one.
fn scope_of(place: &Place) -> &[usize] {
    place.split_last().map_or(&[], |(_, scope)| scope)
}

/// A map whose key is checked.
struct Map<'t> {
    name: &'t str,
    key: &'t Type,
    value: &'t Type,
    how: Use,
}

impl Map<'_> {
    /// The mistake of a key that JSON does not write as a string.
    fn key_is(&self, what: &str) -> Fault {
        let message = format!("{what}, and a key in JSON is a text");
        let instead = format!("write `Vec<({}, {})>`", written(self.key), written(self.value));
        let instead = format!("{instead}, or a key that is a `String`, an integer or an `enum` without fields");
        Fault::new(self.key, format!("{message}\n{instead}"))
    }
}

/// The mistakes in a type outside of a room.
pub(crate) fn alone(item: &Item) -> Vec<Fault> {
    let mut walk = Walk { items: Vec::new(), room: None, found: Found::default(), seen: HashSet::new() };
    walk.item(&Vec::new(), item, Use { may_borrow: true, ..Use::default() });
    walk.found.faults.into_iter().map(|(_, fault)| fault).collect()
}

/// The mistakes in the schemas at `roots` and in the module's types that are part of them.
pub(super) fn of_schemas(module: &RoomModule, roots: &[(usize, &'static str)]) -> Found {
    let mut items = Vec::new();
    for (index, item) in module.items.iter().enumerate() {
        if let ModuleItem::Other(item) = item {
            collect(item, vec![index], &mut items);
        }
    }
    let mut walk = Walk { items, room: Some(&module.ident), found: Found::default(), seen: HashSet::new() };
    for (index, name) in roots {
        walk.enter(&vec![*index], Use { is_stored: ["State", "Connection"].contains(name), ..Use::default() }, None);
    }
    walk.found
}

fn collect<'m>(item: &'m Item, place: Place, items: &mut Vec<(Place, &'m Item)>) {
    if let Item::Mod(inner) = item
        && let Some((_, content)) = &inner.content
    {
        for (index, item) in content.iter().enumerate() {
            collect(item, [&*place, &[index]].concat(), items);
        }
    }
    items.push((place, item));
}

/// The meaning of a path.
enum Named {
    Own(Place),
    /// A name that leads out of the module.
    Elsewhere(Vec<String>),
    /// A name that a glob may bring, or that cannot be resolved.
    Unknown,
}

struct Walk<'m> {
    items: Vec<(Place, &'m Item)>,
    room: Option<&'m Ident>,
    found: Found,
    seen: HashSet<(Place, Use)>,
}

impl<'m> Walk<'m> {
    fn at(&self, place: &Place) -> Option<&'m Item> {
        self.items.iter().find(|(other, _)| other == place).map(|(_, item)| *item)
    }

    /// The items of the inner module at `scope`; an empty `scope` is the module itself.
    fn within<'s>(&'s self, scope: &'s [usize]) -> impl Iterator<Item = &'s (Place, &'m Item)> {
        self.items.iter().filter(move |(place, _)| place.len() == scope.len() + 1 && place.starts_with(scope))
    }

    fn resolve(&self, scope: &[usize], path: &syn::Path) -> Named {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect();
        if self.room.is_none() || path.leading_colon.is_some() {
            return Named::Elsewhere(segments);
        }
        self.follow(scope, segments, 8)
    }

    fn follow(&self, scope: &[usize], mut segments: Vec<String>, depth: u8) -> Named {
        let Some(first) = segments.first().filter(|_| depth > 0).cloned() else { return Named::Unknown };
        match &*first {
            "self" => return self.follow(scope, segments.split_off(1), depth - 1),
            "super" if scope.is_empty() => {
                // The path returns to the module by its own name.
                let room = self.room.is_some_and(|room| segments.get(1).is_some_and(|next| room.unraw() == next));
                return if room { self.follow(&[], segments.split_off(2), depth - 1) } else { Named::Unknown };
            }
            "super" => {
                let above = scope.split_last().map_or(scope, |(_, above)| above);
                return self.follow(above, segments.split_off(1), depth - 1);
            }
            "crate" => {
                let room = self.room.and_then(|room| segments.iter().position(|segment| room.unraw() == segment));
                return room.map_or(Named::Unknown, |room| self.follow(&[], segments.split_off(room + 1), depth - 1));
            }
            _ => {}
        }
        let named = |item: &Item| match item {
            Item::Mod(item) => item.ident.unraw() == first,
            item => parse::type_name(item).is_some_and(|name| name.unraw() == first),
        };
        if let Some((place, _)) = self.within(scope).find(|(_, item)| named(item)) {
            return match segments.len() {
                1 => Named::Own(place.clone()),
                _ => self.follow(&place.clone(), segments.split_off(1), depth - 1),
            };
        }
        let mut has_glob = false;
        for (_, item) in self.within(scope) {
            let Item::Use(item) = item else { continue };
            if let Some(path) = imported_path(&item.tree, &first, &mut has_glob) {
                let path = [path, segments.split_off(1)].concat();
                let is_itself = matches!(&*path, [only] if *only == first);
                return if is_itself { Named::Unknown } else { self.follow(scope, path, depth - 1) };
            }
        }
        Named::Elsewhere(segments)
    }

    /// Checks an item of the module, once for each use.
    fn enter(&mut self, place: &Place, how: Use, part_of: Option<&Ident>) {
        if !self.seen.insert((place.clone(), how)) {
            return;
        }
        let Some(item) = self.at(place) else { return };
        if let (Some(owner), Item::Struct(_) | Item::Enum(_) | Item::Union(_), Some(name)) =
            (part_of, item, parse::type_name(item))
            && !self.found.lacking.iter().any(|(other, ..)| other == place)
            && !self.is_data(place, name, item)
        {
            self.found.lacking.push((place.clone(), name.clone(), owner.to_string()));
        }
        // The part's own `#[data]` reports these mistakes.
        if is_part(place, item) && data::is_data(parse::item_attrs(item)) && !alone(item).is_empty() {
            return;
        }
        self.item(place, item, how);
    }

    /// True if a type has one of serde's traits, or will get them from `#[room]`.
    fn is_data(&self, place: &Place, name: &Ident, item: &Item) -> bool {
        let attrs = parse::item_attrs(item);
        let derives = attrs::derives(attrs).iter().any(|derive| derive == "Serialize" || derive == "Deserialize");
        derives || data::is_data(attrs) || self.has_impl(place, name) || !is_part(place, item)
    }

    fn has_impl(&self, place: &Place, name: &Ident) -> bool {
        let scope = scope_of(place);
        let serdes = ["Serialize", "Deserialize"];
        let mut items = self.items.iter().map(|(place, item)| (place.starts_with(scope), *item));
        items.any(|(_, item)| serdes.iter().any(|of| parse::is_impl(item, name, of)))
    }

    fn item(&mut self, place: &Place, item: &'m Item, how: Use) {
        let name = parse::type_name(item);
        // A manual impl may represent any field.
        if name.is_some_and(|name| self.room.is_some() && self.has_impl(place, name)) {
            return;
        }
        for fault in serde_attrs::check(item) {
            self.fault(place, fault);
        }
        match item {
            Item::Type(alias) if alias.generics.params.is_empty() => {
                self.ty(Site { place, how, owner: &alias.ident, lifetimes: &[] }, &alias.ty);
            }
            Item::Struct(item) => self.fields(place, item.fields.iter(), how, &item.ident, &item.generics),
            Item::Enum(item) => {
                let keys = attrs::serde_keys(&item.attrs);
                let has = |key: &str| keys.iter().any(|own| own == key);
                let derives = attrs::derives(&item.attrs).iter().any(|derive| derive == "Deserialize");
                let is_tagged = has("tag") && !has("content");
                let is_newtype = item.variants.iter().any(|variant| matches!(variant.fields, Fields::Unnamed(_)));
                let buffered = match how.buffered {
                    Some(why) => Some(why),
                    None if has("untagged") => Some("an `untagged` enum"),
                    None if is_tagged && derives => Some("a tagged enum that derives `Deserialize` itself"),
                    None if is_tagged && is_newtype => Some("a tagged enum with tuple variants"),
                    None => None,
                };
                let how = Use { buffered, ..how };
                for variant in &item.variants {
                    let keys = attrs::serde_keys(&variant.attrs);
                    if keys.iter().any(|key| key == "skip" || key.contains("with")) {
                        continue;
                    }
                    let untagged = keys.iter().any(|key| key == "untagged");
                    let how = match how.buffered {
                        None if untagged => Use { buffered: Some("an `untagged` variant"), ..how },
                        _ => how,
                    };
                    self.fields(place, variant.fields.iter(), how, &item.ident, &item.generics);
                }
            }
            _ => {}
        }
    }

    fn fields(
        &mut self,
        place: &Place,
        fields: impl Iterator<Item = &'m Field>,
        how: Use,
        owner: &Ident,
        generics: &syn::Generics,
    ) {
        let lifetimes: Vec<_> = generics.lifetimes().map(|param| param.lifetime.ident.to_string()).collect();
        for field in fields {
            let keys = attrs::serde_keys(&field.attrs);
            if keys.iter().any(|key| (key.contains("skip") && key != "skip_serializing_if") || key.contains("with")) {
                continue;
            }
            let is_flat = keys.iter().any(|key| key == "flatten");
            let how = match how.buffered {
                None if is_flat => Use { buffered: Some("a `flatten`ed field"), ..how },
                _ => how,
            };
            if field.attrs.iter().any(serde_attrs::is_default)
                && let Some(fault) = self.default(place, &field.ty)
            {
                self.fault(place, fault);
            }
            if self.is_itself(place, &field.ty) {
                let message = format!("`{owner}` contains itself, so it has no size");
                let boxed = written(&field.ty).replace(&owner.to_string(), &format!("Box<{owner}>"));
                self.fault(place, Fault::new(&field.ty, format!("{message}\nwrite `{boxed}`")));
                continue;
            }
            self.ty(Site { place, how, owner, lifetimes: &lifetimes }, &field.ty);
        }
    }

    /// The mistake of a field with `default` whose type, an item of the module, has no `Default`.
    fn default(&self, place: &Place, ty: &Type) -> Option<Fault> {
        let Type::Path(path) = ty else { return None };
        let Named::Own(part) = self.resolve(scope_of(place), &path.path) else { return None };
        let item @ (Item::Struct(_) | Item::Enum(_)) = self.at(&part)? else { return None };
        let name = parse::type_name(item)?;
        // Another derive or a macro may implement `Default`.
        let derives = attrs::derives(parse::item_attrs(item));
        let may_have = derives.iter().any(|derive| !WITHOUT_DEFAULT.contains(&&**derive));
        let is_given = |item: &Item| parse::is_impl(item, name, "Default") || matches!(item, Item::Macro(_));
        if may_have || self.items.iter().any(|(_, item)| is_given(item)) {
            return None;
        }
        let message = format!("a field that may be missing becomes the default of its type, and `{name}` has none");
        let default = if matches!(item, Item::Enum(_)) { " and `#[default]` to one of its variants" } else { "" };
        Some(Fault::new(ty, format!("{message}\nadd `#[derive(Default)]` to `{name}`{default}")))
    }

    /// True if a value of the type contains the item at `place` without a pointer.
    fn is_itself(&self, place: &Place, ty: &Type) -> bool {
        match ty {
            Type::Paren(inner) => self.is_itself(place, &inner.elem),
            Type::Group(inner) => self.is_itself(place, &inner.elem),
            Type::Array(inner) => self.is_itself(place, &inner.elem),
            Type::Tuple(tuple) => tuple.elems.iter().any(|elem| self.is_itself(place, elem)),
            Type::Path(path) if path.qself.is_none() => {
                if path.path.is_ident("Self") {
                    return true;
                }
                match self.resolve(scope_of(place), &path.path) {
                    Named::Own(part) => part == *place,
                    _ => option_of(ty).is_some_and(|inner| self.is_itself(place, inner)),
                }
            }
            _ => false,
        }
    }

    fn fault(&mut self, place: &Place, fault: Fault) {
        let text = |fault: &Fault| (format!("{:?}", span_key(&fault.tokens)), fault.message.clone());
        let new = text(&fault);
        if !self.found.faults.iter().any(|(other, known)| other == place && text(known) == new) {
            self.found.faults.push((place.clone(), fault));
        }
    }

    fn ty(&mut self, site: Site<'_>, ty: &Type) {
        match ty {
            Type::Paren(inner) => self.ty(site, &inner.elem),
            Type::Group(inner) => self.ty(site, &inner.elem),
            Type::Reference(reference) => {
                let lifetime = reference.lifetime.as_ref();
                let borrows = lifetime.is_some_and(|own| site.lifetimes.contains(&own.ident.to_string()));
                if !(borrows && site.how.may_borrow) {
                    self.fault(site.place, reference_fault(reference, site.how.may_borrow));
                }
            }
            Type::Array(array) => self.array(site, array),
            Type::Tuple(tuple) => self.tuple(site, tuple),
            Type::Path(path) if path.qself.is_none() => self.path(site, ty, path),
            _ => {
                if let Some(fault) = form_fault(ty) {
                    self.fault(site.place, fault);
                }
            }
        }
    }

    fn array(&mut self, site: Site<'_>, array: &TypeArray) {
        if let Some(len) = self.length(site.scope(), &array.len).filter(|len| *len > MAX_ARRAY) {
            let element = written(&array.elem);
            let message = format!("serde has no arrays of more than {MAX_ARRAY} values, and this one has {len}");
            self.fault(site.place, Fault::new(array, format!("{message}\nwrite `Vec<{element}>`")));
            return;
        }
        self.ty(site, &array.elem);
    }

    fn tuple(&mut self, site: Site<'_>, tuple: &TypeTuple) {
        let len = tuple.elems.len();
        if len > MAX_TUPLE {
            let message = format!("a tuple of data has at most {MAX_TUPLE} values, and this one has {len}");
            self.fault(site.place, Fault::new(tuple, format!("{message}\nwrite a `struct` with `#[data]`")));
            return;
        }
        tuple.elems.iter().for_each(|elem| self.ty(site, elem));
    }

    fn path(&mut self, site: Site<'_>, ty: &Type, path: &TypePath) {
        let arguments = type_arguments(&path.path);
        match self.resolve(site.scope(), &path.path) {
            Named::Own(part) => {
                self.own(site, ty, &part);
                arguments.iter().for_each(|inner| self.ty(site, inner));
            }
            Named::Elsewhere(name) => self.elsewhere(site, ty, &name, &arguments),
            Named::Unknown => arguments.iter().for_each(|inner| self.ty(site, inner)),
        }
    }

    /// Checks a type that is an item of the module.
    fn own(&mut self, site: Site<'_>, ty: &Type, part: &Place) {
        let Some(item) = self.at(part) else { return };
        let is_services = part.len() == 1 && parse::type_name(item).is_some_and(|name| parse::is(name, "Services"));
        if is_services {
            let message =
                "`Services` is what the room is given when it starts, and is not data\nread it with `ctx.services()`";
            self.fault(site.place, Fault::new(ty, message));
            return;
        }
        let has_lifetime = match item {
            Item::Struct(item) => item.generics.lifetimes().next().is_some(),
            Item::Enum(item) => item.generics.lifetimes().next().is_some(),
            _ => false,
        };
        if has_lifetime && !site.how.may_borrow {
            let name = written(ty);
            let message = format!("data owns what it is read into, and `{name}` borrows");
            self.fault(site.place, Fault::new(ty, format!("{message}\nuse a type without lifetimes")));
            return;
        }
        self.enter(part, site.how, Some(site.owner));
    }

    fn elsewhere(&mut self, site: Site<'_>, ty: &Type, name: &[String], arguments: &[&Type]) {
        let Some(last) = name.last().map(String::as_str) else { return };
        let root = name.first().filter(|_| name.len() > 1).map(String::as_str);
        if let Some(fault) = self.judge(ty, root, last, arguments, site.how) {
            self.fault(site.place, fault);
            return;
        }
        if let (true, [key, others @ ..]) = (MAPS.contains(&last), arguments)
            && let [value, ..] = others
        {
            let map = Map { name: last, key, value, how: site.how };
            if let Some(fault) = self.key(site.scope(), &map, key, 8) {
                self.fault(site.place, fault);
                // The map's values may have mistakes of their own.
                others.iter().for_each(|inner| self.ty(site, inner));
                return;
            }
        }
        if SETS.contains(&last)
            && let [element] = arguments
            && let Some(fault) = self.order(site.scope(), element, last, "an element of a set")
        {
            self.fault(site.place, fault);
            return;
        }
        let is_pointer = ["Box", "Rc", "Arc", "Cow"].contains(&last);
        for inner in arguments {
            match inner {
                // Behind a pointer, an unsized type has a known size.
                Type::Slice(slice) if is_pointer => self.ty(site, &slice.elem),
                Type::Path(path) if is_pointer && path.path.is_ident("str") => {}
                Type::TraitObject(_) if is_pointer => {
                    self.fault(site.place, not_data(inner, "one of many types", "an `enum` of the types it can be"));
                }
                inner => self.ty(site, inner),
            }
        }
    }

    /// The mistake in a type from elsewhere that is known not to be serializable.
    fn judge(&self, ty: &Type, root: Option<&str>, last: &str, arguments: &[&Type], how: Use) -> Option<Fault> {
        if is_cell(root, last, how) {
            return Some(cell_fault(ty, last, arguments));
        }
        let (std, bare) = (is_std(root), root.is_none());
        let (what, instead) = match last {
            "str" if bare => return Some(unsized_fault(ty, "String")),
            "Weak" if std => ("a reference that does not keep its value", "an id or an index"),
            "Instant" if std => {
                ("a time that means nothing in another process", "`std::time::Duration`, or a `u64` of milliseconds")
            }
            "File" | "TcpStream" | "JoinHandle" | "Sender" | "Receiver" if std => {
                ("a resource of this process", "what it is made from")
            }
            "Ctx" | "RoomContext" if self.is_runtimes(root) => ("the room itself", "what you need of it"),
            "Peer" if self.is_runtimes(root) => ("a live connection", "`PeerId`"),
            "UpgradeRequest" if self.is_runtimes(root) => ("a request that is being answered", "what you need of it"),
            "RoomClient" if self.is_runtimes(root) => {
                ("a handle to rooms", "`RoomId`, and `ctx.room(…)` where it is needed")
            }
            "Room" if self.room.is_some() && bare => ("the room as a type", "`RoomId`"),
            "Env" if root == Some("worker") => {
                ("the Worker's bindings", "a type `Services`, which `ctx.services()` gives")
            }
            "WebSocket" | "Request" | "Response" | "Context" | "State" | "Stub" if root == Some("worker") => {
                ("a handle of the platform", "what you need of it")
            }
            "Bytes" | "BytesMut" if matches!(root, Some("room_runtime" | "bytes")) => ("a buffer", "`Vec<u8>`"),
            "i128" | "u128" if bare => {
                let why = how.buffered?;
                let message = format!("serde reads {why} from a buffer, which has no `{last}`");
                let instead = last.replace("128", "64");
                return Some(Fault::new(ty, format!("{message}\nwrite `{instead}`, or `String`")));
            }
            _ => return None,
        };
        Some(not_data(ty, what, instead))
    }

    /// True if a path that starts with this name refers to the runtime or to the macro's aliases.
    fn is_runtimes(&self, root: Option<&str>) -> bool {
        match root {
            None => self.room.is_some(),
            Some(root) => root == "room_runtime",
        }
    }

    /// The mistake in the key type of a map, if there is one. `key` is the map's key or a type inside it.
    fn key(&self, scope: &[usize], map: &Map<'_>, key: &Type, depth: u8) -> Option<Fault> {
        let depth = depth.checked_sub(1)?;
        match key {
            Type::Paren(inner) => self.key(scope, map, &inner.elem, depth),
            Type::Group(inner) => self.key(scope, map, &inner.elem, depth),
            Type::Tuple(tuple) if tuple.elems.is_empty() => Some(map.key_is("`()` is `null`")),
            Type::Tuple(_) => Some(map.key_is("a tuple is an array")),
            Type::Array(_) | Type::Slice(_) => Some(map.key_is(&format!("`{}` is an array", written(key)))),
            Type::Path(path) if path.qself.is_none() => match self.resolve(scope, &path.path) {
                Named::Elsewhere(name) => {
                    self.elsewhere_key(scope, map, key, &name, &type_arguments(&path.path), depth)
                }
                Named::Own(part) => {
                    self.own_key(map, &part, depth).or_else(|| self.order(scope, map.key, map.name, "the key of a map"))
                }
                Named::Unknown => None,
            },
            _ => None,
        }
    }

    /// The mistake in a type from elsewhere that is used as a key.
    fn elsewhere_key(
        &self,
        scope: &[usize],
        map: &Map<'_>,
        key: &Type,
        name: &[String],
        arguments: &[&Type],
        depth: u8,
    ) -> Option<Fault> {
        let last = name.last().map(String::as_str)?;
        match (last, arguments) {
            ("Box" | "Rc" | "Arc" | "Cow", [.., inner]) => self.key(scope, map, inner, depth),
            ("Vec" | "VecDeque" | "HashSet" | "BTreeSet", [_, ..]) => {
                Some(map.key_is(&format!("`{}` is an array", written(key))))
            }
            ("HashMap" | "BTreeMap", [_, _, ..]) => Some(map.key_is(&format!("`{}` is an object", written(key)))),
            ("Option", [_]) => Some(map.key_is("`None` is `null`")),
            ("f32" | "f64", []) if name.len() == 1 => {
                let message = format!("`{last}` cannot be the key of a map: `NaN` equals nothing");
                Some(Fault::new(map.key, format!("{message}\nwrite a key that is an integer or a `String`")))
            }
            _ => {
                let why = map.how.buffered.filter(|_| name.len() == 1 && NUMBERS.contains(&last))?;
                let message = format!("serde reads {why} from a buffer, in which keys are text, not `{last}`");
                let instead = "`String`, or a form without `flatten` and `untagged`, such as that of `#[data]`";
                Some(Fault::new(map.key, format!("{message}\nwrite {instead}")))
            }
        }
    }

    /// The mistake in a type of the module that is used as a key.
    fn own_key(&self, map: &Map<'_>, part: &Place, depth: u8) -> Option<Fault> {
        let item = self.at(part)?;
        let name = parse::type_name(item)?;
        let scope = scope_of(part);
        let bad = |what: &str| Some(map.key_is(&format!("`{name}` is {what}")));
        if self.has_impl(part, name) {
            return None;
        }
        let keys = attrs::serde_keys(parse::item_attrs(item));
        if keys.iter().any(|key| ["into", "from", "try_from", "remote", "transparent", "untagged"].contains(&&**key)) {
            return None;
        }
        match item {
            Item::Type(alias) if alias.generics.params.is_empty() => self.key(scope, map, &alias.ty, depth),
            Item::Struct(item) => match &item.fields {
                Fields::Unnamed(fields) => {
                    let only = fields.unnamed.first().filter(|_| fields.unnamed.len() == 1);
                    let Some(field) = only else { return bad("an array") };
                    // A wrapper of a float may have an order, which the float itself lacks.
                    let is_float =
                        matches!(&field.ty, Type::Path(path) if path.path.is_ident("f64") || path.path.is_ident("f32"));
                    let is_own = !attrs::serde_keys(&field.attrs).is_empty() || !item.generics.params.is_empty();
                    if is_own || is_float { None } else { self.key(scope, map, &field.ty, depth) }
                }
                Fields::Unit => bad("`null`"),
                Fields::Named(_) => bad("an object"),
            },
            Item::Enum(item) => {
                let is_schema =
                    part.len() == 1 && SCHEMAS.iter().any(|kind| kind.travels && parse::is(name, kind.name));
                let tagged = keys.iter().any(|key| key == "tag") || is_schema || data::has_tag(&item.attrs);
                match tagging::has_units_only(item) {
                    true if tagged => bad("an object with the name of the variant in it"),
                    true => None,
                    false => bad("an `enum` with fields"),
                }
            }
            _ => None,
        }
    }

    /// The mistake of a type of the module that lacks the traits of map keys. rustc would report it once for each
    /// derive.
    fn order(&self, scope: &[usize], ty: &Type, of: &str, what: &str) -> Option<Fault> {
        let Type::Path(path) = ty else { return None };
        let Named::Own(part) = self.resolve(scope, &path.path) else { return None };
        let (Item::Struct(syn::ItemStruct { attrs, .. }) | Item::Enum(syn::ItemEnum { attrs, .. })) = self.at(&part)?
        else {
            return None;
        };
        let name = parse::type_name(self.at(&part)?)?;
        let needed: &[&str] = if of.starts_with("BTree") { &["Eq", "PartialOrd", "Ord"] } else { &["Eq", "Hash"] };
        let derives = attrs::derives(attrs);
        let has = |of: &str| {
            derives.iter().any(|own| own == of) || self.items.iter().any(|(_, item)| parse::is_impl(item, name, of))
        };
        let lacking: Vec<_> = needed.iter().copied().filter(|needed| !has(needed)).collect();
        if lacking.is_empty() {
            return None;
        }
        let message = format!("`{name}` is {what}, but does not have {}", crate::diag::list(lacking.iter().copied()));
        Some(Fault::new(ty, format!("{message}\nadd `#[derive({})]` to `{name}`", lacking.join(", "))))
    }

    /// The length of an array, if it is a literal or a constant of the module.
    fn length(&self, scope: &[usize], len: &Expr) -> Option<usize> {
        match len {
            Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse().ok(),
            Expr::Path(path) => {
                let name = path.path.get_ident()?;
                let constant = self.within(scope).find_map(|(_, item)| match item {
                    Item::Const(item) if item.ident == *name => Some(&*item.expr),
                    _ => None,
                })?;
                match constant {
                    Expr::Lit(_) => self.length(scope, constant),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// The derives that do not imply a `Default`.
const WITHOUT_DEFAULT: [&str; 10] =
    ["Serialize", "Deserialize", "Clone", "Copy", "Debug", "PartialEq", "Eq", "PartialOrd", "Ord", "Hash"];
const MAPS: [&str; 3] = ["HashMap", "BTreeMap", "IndexMap"];
const SETS: [&str; 3] = ["HashSet", "BTreeSet", "IndexSet"];
const NUMBERS: [&str; 13] =
    ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "bool"];

/// True if the item is not one of the schemas.
fn is_part(place: &Place, item: &Item) -> bool {
    let is_schema = |name: &Ident| SCHEMAS.iter().any(|kind| parse::is(name, kind.name));
    place.len() != 1 || !parse::type_name(item).is_some_and(is_schema)
}

/// The type inside an `Option`.
fn option_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().find_map(type_argument),
        _ => None,
    }
}

fn span_key(tokens: &TokenStream) -> Vec<String> {
    tokens.clone().into_iter().map(|token| format!("{:?}", token.span())).collect()
}

/// The types in the last segment of a path.
fn type_arguments(path: &syn::Path) -> Vec<&Type> {
    match path.segments.last().map(|last| &last.arguments) {
        Some(PathArguments::AngleBracketed(list)) => list.args.iter().filter_map(type_argument).collect(),
        _ => Vec::new(),
    }
}

fn type_argument(argument: &GenericArgument) -> Option<&Type> {
    match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

/// The path by which an import brings `name`.
fn imported_path(tree: &UseTree, name: &str, has_glob: &mut bool) -> Option<Vec<String>> {
    match tree {
        UseTree::Path(path) => {
            let rest = imported_path(&path.tree, name, has_glob)?;
            let own = path.ident.unraw().to_string();
            Some(if rest == ["self"] { vec![own] } else { [vec![own], rest].concat() })
        }
        UseTree::Name(own) if own.ident.unraw() == name => Some(vec![name.to_owned()]),
        UseTree::Rename(own) if own.rename.unraw() == name => Some(vec![own.ident.unraw().to_string()]),
        UseTree::Group(group) => group.items.iter().find_map(|tree| imported_path(tree, name, has_glob)),
        UseTree::Glob(_) => {
            *has_glob = true;
            None
        }
        _ => None,
    }
}

fn reference_fault(reference: &syn::TypeReference, may_borrow: bool) -> Fault {
    let owned = match &*reference.elem {
        Type::Slice(slice) => format!("Vec<{}>", written(&slice.elem)),
        other => match written(other).as_str() {
            "str" => "String".to_owned(),
            other => other.to_owned(),
        },
    };
    let owner = if may_borrow { "data" } else { "a schema" };
    let message = format!("{owner} owns what it is read into, and cannot have a reference");
    Fault::new(reference, format!("{message}\nwrite `{owned}`"))
}

fn is_std(root: Option<&str>) -> bool {
    root.is_some_and(|root| ["std", "core", "alloc"].contains(&root))
}

/// True for a type of the standard library whose value changes behind a shared reference.
fn is_cell(root: Option<&str>, last: &str, how: Use) -> bool {
    let (std, bare) = (is_std(root), root.is_none());
    match last {
        "RefCell" => how.is_stored && (std || bare),
        "Cell" => how.is_stored && std,
        "Mutex" | "RwLock" => std || bare || root == Some("parking_lot"),
        "OnceCell" | "OnceLock" | "LazyCell" | "LazyLock" | "UnsafeCell" => std || bare,
        "AtomicBool" | "AtomicU8" | "AtomicU16" | "AtomicU32" | "AtomicU64" | "AtomicUsize" | "AtomicI8"
        | "AtomicI16" | "AtomicI32" | "AtomicI64" | "AtomicIsize" => std || bare,
        _ => false,
    }
}

fn cell_fault(ty: &Type, last: &str, arguments: &[&Type]) -> Fault {
    let plain = match arguments {
        [inner] => written(inner),
        _ => last.to_lowercase().trim_start_matches("atomic").to_owned(),
    };
    let message = "what changes behind a shared reference is never stored";
    let advice = "the state changes through `ctx.update`, a peer's data through `update_data`";
    Fault::new(ty, format!("{message}\nwrite `{plain}`: {advice}"))
}

/// The mistake in a type that no field of data can have, as its form shows.
fn form_fault(ty: &Type) -> Option<Fault> {
    match ty {
        Type::Slice(slice) => Some(unsized_fault(ty, &format!("Vec<{}>", written(&slice.elem)))),
        Type::TraitObject(_) => Some(unsized_fault(ty, "an `enum` of the types it can be")),
        Type::FnPtr(_) => Some(not_data(ty, "code", "an `enum` of what it can do")),
        Type::Ptr(_) => Some(not_data(ty, "an address in memory", "an owned value")),
        Type::Never(_) => Some(not_data(ty, "no value", "an `enum` without variants")),
        Type::ImplTrait(_) => Some(Fault::new(ty, "a field has one type, not an `impl Trait`\nwrite the type")),
        _ => None,
    }
}

fn unsized_fault(ty: &Type, instead: &str) -> Fault {
    let instead = if instead.contains('`') { instead.to_owned() } else { format!("`{instead}`") };
    let message = format!("`{}` has no size that is known beforehand", written(ty));
    Fault::new(ty, format!("{message}\nwrite {instead}"))
}

fn not_data(ty: &Type, what: &str, instead: &str) -> Fault {
    let name = written(ty).replace("* ", "*");
    Fault::new(ty, format!("`{name}` is not serializable: it is {what}\nwrite {instead}"))
}

/// Replaces a type by one that causes no more errors from rustc. Returns whether the new type differs.
pub(crate) fn mend(ty: &mut Type, own: &Ident, lifetimes: &[String]) -> bool {
    match ty {
        Type::Paren(inner) => mend(&mut inner.elem, own, lifetimes),
        Type::Group(inner) => mend(&mut inner.elem, own, lifetimes),
        Type::Array(inner) => mend(&mut inner.elem, own, lifetimes),
        Type::Tuple(tuple) => tuple.elems.iter_mut().fold(false, |other, elem| mend(elem, own, lifetimes) | other),
        Type::Reference(reference) => {
            let is_known = |own: &syn::Lifetime| own.ident == "static" || lifetimes.contains(&own.ident.to_string());
            if !reference.lifetime.as_ref().is_some_and(is_known) {
                reference.lifetime = Some(parse_quote!('static));
            }
            match &mut *reference.elem {
                Type::Slice(slice) => mend(&mut slice.elem, own, lifetimes),
                Type::TraitObject(_) => false,
                Type::Path(path) if path.path.is_ident("str") => false,
                elem => mend(elem, own, lifetimes),
            }
        }
        Type::Slice(_) | Type::TraitObject(_) | Type::Never(_) | Type::ImplTrait(_) => {
            *ty = parse_quote!(());
            true
        }
        Type::Path(path) if path.qself.is_none() && (path.path.is_ident("str") || is_own(&path.path, own)) => {
            *ty = parse_quote!(());
            true
        }
        Type::Path(path) if path.qself.is_none() => {
            let Some(last) = path.path.segments.last_mut() else { return false };
            let is_pointer = ["Box", "Rc", "Arc", "Cow"].iter().any(|name| last.ident == name);
            let is_option = last.ident == "Option";
            let PathArguments::AngleBracketed(list) = &mut last.arguments else { return false };
            list.args.iter_mut().fold(false, |other, argument| match argument {
                GenericArgument::Type(Type::Slice(slice)) if is_pointer => {
                    mend(&mut slice.elem, own, lifetimes) | other
                }
                GenericArgument::Type(Type::TraitObject(_)) if is_pointer => other,
                GenericArgument::Type(Type::Path(inner)) if is_pointer && inner.path.is_ident("str") => other,
                // Generic types other than `Option`, such as `Vec`, usually hold it behind a pointer.
                GenericArgument::Type(Type::Path(inner)) if !is_option && is_own(&inner.path, own) => other,
                GenericArgument::Type(inner) => mend(inner, own, lifetimes) | other,
                _ => other,
            })
        }
        _ => false,
    }
}

/// True if a path names the type that contains the field.
fn is_own(path: &syn::Path, own: &Ident) -> bool {
    path.is_ident("Self") || path.segments.last().is_some_and(|last| last.ident == *own)
}

/// Empty impls of the traits `names`, for a type with mistakes, so that code that uses the type causes no more errors.
pub(crate) fn stubs(ident: &Ident, generics: &syn::Generics, names: &[String], krate: &syn::Path) -> TokenStream {
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let mut reading = generics.clone();
    reading.params.insert(0, parse_quote!('__de));
    let (reading, _, _) = reading.split_for_impl();
    let serde = quote!(#krate::__private::serde);
    let never = quote!(::core::unreachable!());
    let of = |path: TokenStream, body: TokenStream| {
        quote! {
            #[automatically_derived]
            impl #impl_generics #path for #ident #ty_generics #where_clause { #body }
        }
    };
    let mut done = HashSet::new();
    let stubs = names.iter().filter(|name| done.insert(name.as_str())).map(|name| match &**name {
        "Clone" => of(quote!(::core::clone::Clone), quote!(fn clone(&self) -> Self { #never })),
        "Debug" => of(
            quote!(::core::fmt::Debug),
            quote!(fn fmt(&self, _: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result { #never }),
        ),
        "PartialEq" => of(quote!(::core::cmp::PartialEq), quote!(fn eq(&self, _: &Self) -> bool { #never })),
        "Eq" => of(quote!(::core::cmp::Eq), TokenStream::new()),
        "PartialOrd" => of(
            quote!(::core::cmp::PartialOrd),
            quote!(fn partial_cmp(&self, _: &Self) -> ::core::option::Option<::core::cmp::Ordering> { #never }),
        ),
        "Ord" => of(quote!(::core::cmp::Ord), quote!(fn cmp(&self, _: &Self) -> ::core::cmp::Ordering { #never })),
        "Hash" => {
            of(quote!(::core::hash::Hash), quote!(fn hash<__H: ::core::hash::Hasher>(&self, _: &mut __H) { #never }))
        }
        "Default" => of(quote!(::core::default::Default), quote!(fn default() -> Self { #never })),
        "Serialize" => of(
            quote!(#serde::Serialize),
            quote! {
                fn serialize<__S: #serde::Serializer>(&self, _: __S) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #never
                }
            },
        ),
        "Deserialize" => quote! {
            #[automatically_derived]
            impl #reading #serde::Deserialize<'__de> for #ident #ty_generics #where_clause {
                fn deserialize<__D: #serde::Deserializer<'__de>>(_: __D) -> ::core::result::Result<Self, __D::Error> {
                    #never
                }
            }
        },
        bindings::TRAIT => bindings::stub(krate).map(|(path, body)| of(path, body)).unwrap_or_default(),
        _ => TokenStream::new(),
    });
    stubs.collect()
}
