//! [`RoomModule`] → [`Room`]: the only place that makes semantic errors. It reports all independent errors together.

mod handlers;
mod imports;
mod javascript;
mod misplaced;
pub(crate) mod names;
mod options;
mod origins;
mod purge;
mod rules;
mod schemas;
pub(crate) mod serde_attrs;
pub(crate) mod tagging;
pub(crate) mod types;
pub(crate) mod values;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::{Attribute, parse_quote};

use self::{handlers::Functions, schemas::Schemas};
use crate::{
    args::Written,
    calls,
    diag::Errors,
    expand,
    model::{ALIASES, HANDLERS, MARKER, Room, SCHEMAS, SHELL, Sketch},
    parse::{self, RoomModule, is},
};

/// Validates the module. On errors it returns everything that is known about the room.
pub(crate) fn check(
    mut module: RoomModule,
    written: &Written,
    mut errors: Errors,
) -> Result<Room, Box<(Sketch, Errors)>> {
    let options = options::check(&written.given, &module.ident, &mut errors);
    check_attributes(&mut module, &mut errors);
    check_unread(&module, &mut errors);
    check_worker(&module, &mut errors);
    let names = module.names();
    let marker_taken = check_generated_names(&names, &options.class, &mut errors);
    let declared = parse::declared(&module, SCHEMAS.map(|kind| kind.name));
    let Schemas { schemas, lacking, conditional, doubles } =
        schemas::check(&mut module, &declared, &options, &mut errors);
    rules::check(&module, &declared, written, &options, &mut errors);
    let calls = calls::check(&mut module, &mut errors);
    calls::check_types(&mut module, &calls, &options.krate, &mut errors);
    let functions = handlers::check(&module, &declared, written, &options, &mut errors);
    let unimported = imports::check(&module, &functions.hidden, &options.krate, &mut errors);
    let Functions { handlers, meant, hidden, missed, conditional: twice, unless } = functions;
    let conditional = conditional.into_iter().chain(twice).collect();
    module.mark(unless);
    let hides = !hidden.is_empty();
    module.mark(hidden.into_iter().map(|index| (index, parse_quote!(#[cfg(rust_analyzer)]))).collect());
    // Otherwise rustc would report the duplicates again, once for each derive.
    module.remove(&doubles);
    module.drop_receivers();
    purge::check(&mut module, &mut errors);
    let free = |name: &&str| !names.iter().any(|own| is(own, name));
    let aliases = ALIASES.into_iter().filter(free).collect();
    let missing = [missed, lacking].concat();
    let judged = missing.is_empty();
    let kinds = SCHEMAS.into_iter().map(|kind| kind.name);
    // An item macro may define the missing type.
    let lacks = |name: &&str| missing.contains(name) && parse::macro_call(&module).is_none();
    let missing = kinds.filter(lacks).filter(free).collect();
    let krate = options.krate.clone();
    let class = Some(options.class.clone()).filter(|class| !names.contains(class));
    let sketch = Sketch {
        krate,
        class,
        module,
        schemas,
        missing,
        calls,
        meant,
        unimported,
        hides,
        aliases,
        marker_taken,
        conditional,
        judged,
    };
    if errors.is_empty() { Ok(Room { sketch, options, handlers }) } else { Err(Box::new((sketch, errors))) }
}

/// Describes a room whose body is in another file.
pub(crate) fn without_body(
    module: RoomModule,
    tokens: TokenStream,
    written: &Written,
    mut errors: Errors,
) -> (Sketch, Errors) {
    let options = options::check(&written.given, &module.ident, &mut errors);
    let message = format!("`#[room]` needs the module's body here\nwrite `mod {} {{ … }}`", module.ident);
    errors.on(tokens, message);
    let sketch = Sketch {
        krate: options.krate,
        class: Some(options.class),
        module,
        schemas: Vec::new(),
        missing: SCHEMAS.into_iter().filter(|kind| !kind.optional).map(|kind| kind.name).collect(),
        calls: Vec::new(),
        meant: Vec::new(),
        unimported: Vec::new(),
        hides: false,
        aliases: ALIASES.to_vec(),
        marker_taken: false,
        conditional: Vec::new(),
        judged: false,
    };
    (sketch, errors)
}

/// A second `#[room]` would expand the output of the first one.
fn check_attributes(module: &mut RoomModule, errors: &mut Errors) {
    let is_room = |attr: &Attribute| attr.path().segments.last().is_some_and(|last| last.ident == "room");
    for second in module.attrs.iter().filter(|attr| is_room(attr)) {
        errors.on(second, "`#[room]` is given twice\nremove one of them");
    }
    module.attrs.retain(|attr| !is_room(attr));
}

/// Without this check `#[durable_object]` would report about ten errors in generated code.
fn check_worker(module: &RoomModule, errors: &mut Errors) {
    if expand::lacks_worker() {
        let message = "a room needs the crate `worker`, under that name\nadd `worker = \"0.8\"` to `[dependencies]`";
        errors.on(&module.ident, message);
    }
}

/// Reports unreadable items that may be a schema or a handler; rustc reports the rest.
fn check_unread(module: &RoomModule, errors: &mut Errors) {
    for unread in module.unread() {
        let ours = |name: &Ident| {
            SCHEMAS.iter().any(|kind| is(name, kind.name)) || HANDLERS.iter().any(|kind| is(name, kind.name))
        };
        if unread.name.as_ref().is_none_or(ours) {
            errors.push(unread.error.clone());
        }
    }
}

/// Reports names that collide with generated ones. Returns whether the marker's name is taken.
fn check_generated_names(names: &[Ident], class: &Ident, errors: &mut Errors) -> bool {
    let mut marker_taken = false;
    for name in names {
        if is(name, MARKER) || is(name, SHELL) || name == class {
            marker_taken |= is(name, MARKER);
            errors.on(
                name,
                format!(
                    "`#[room]` generates an item of the name `{name}`\nrename this one; the generated names are \
                     `{MARKER}` and the Durable Object class `{class}`, which `#[room(class = \"…\")]` changes"
                ),
            );
        }
    }
    marker_taken
}

/// Formats tokens as a user would write them.
pub(crate) fn written(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.replace(" < ", "<")
        .replace(" > ", ">")
        .replace(" >", ">")
        .replace("& ", "&")
        .replace(" :: ", "::")
        .replace(" ,", ",")
        .replace(" : ", ": ")
}
