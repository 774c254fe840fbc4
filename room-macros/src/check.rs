//! [`RoomModule`] → [`Room`]: the only place that makes semantic errors. All that are independent are reported together.

mod options;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Fields, FnArg, Item, ItemEnum, ItemStruct, ReturnType, Safety, Type, Visibility, ext::IdentExt,
    spanned::Spanned,
};

use crate::{
    args::Written,
    attrs, data,
    diag::{self, Errors},
    model::{
        ALIASES, By, HANDLERS, Handler, HandlerKind, MARKER, Needed, Options, Outcome, Parameter, Room, SCHEMAS,
        Schema, SchemaKind, Sketch,
    },
    parse::{self, Declared, Function, ModuleItem, RoomModule},
};

/// Validates the module. With errors comes what could be said of the room all the same.
pub(crate) fn check(
    mut module: RoomModule,
    written: &Written,
    mut errors: Errors,
) -> Result<Room, Box<(Sketch, Errors)>> {
    let options = options::check(&written.given, &module.ident.unraw().to_string(), &mut errors);
    let names = module.names();
    let marker_taken = check_generated_names(&names, &options.class, &mut errors);
    let declared = parse::declared(&module, SCHEMAS.map(|kind| kind.name));
    let schemas = check_schemas(&mut module, &declared, &options, &mut errors);
    let functions = check_functions(&module, &declared, written, &mut errors);
    check_needed(&module, written, &options, &functions, &mut errors);
    module.drop_receivers();
    let free = |name: &&str| !names.iter().any(|own| own == name);
    let aliases = ALIASES.into_iter().filter(free).collect();

    let Functions { handlers, meant, missed } = functions;
    let missed = SCHEMAS.map(|kind| kind.name).into_iter().filter(|name| missed.contains(name)).filter(free).collect();
    let (krate, tag) = (options.krate.clone(), options.tag.clone());
    let sketch = Sketch { krate, tag, module, schemas, missed, meant, aliases, marker_taken };
    if errors.is_empty() { Ok(Room { sketch, options, handlers }) } else { Err(Box::new((sketch, errors))) }
}

/// What can be said of a room whose body is elsewhere.
pub(crate) fn without_body(
    module: RoomModule,
    tokens: TokenStream,
    written: &Written,
    mut errors: Errors,
) -> (Sketch, Errors) {
    let options = options::check(&written.given, &module.ident.unraw().to_string(), &mut errors);
    let message = format!("`#[room]` needs the module's body here\nwrite `mod {} {{ … }}`", module.ident);
    errors.on(tokens, message);
    let sketch = Sketch {
        krate: options.krate,
        tag: options.tag,
        module,
        schemas: Vec::new(),
        missed: Vec::new(),
        meant: Vec::new(),
        aliases: ALIASES.to_vec(),
        marker_taken: false,
    };
    (sketch, errors)
}

/// Whether the marker's name is taken.
fn check_generated_names(names: &[Ident], class: &Ident, errors: &mut Errors) -> bool {
    let mut marker_taken = false;
    for name in names {
        if name == MARKER || name == class {
            marker_taken |= name == MARKER;
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

fn check_schemas(
    module: &mut RoomModule,
    declared: &[Declared],
    options: &Options,
    errors: &mut Errors,
) -> Vec<Schema> {
    let mut schemas: Vec<Schema> = Vec::new();
    for kind in SCHEMAS {
        let mut items = declared.iter().filter(|item| item.name == kind.name).peekable();
        if items.peek().is_none() && !kind.optional {
            let (room, name, example) = (&module.ident, kind.name, kind.example);
            errors.on(room, format!("room `{room}` has no `{name}` type\nadd `{example}`"));
        }
        for Declared { ident, index, .. } in items {
            let ModuleItem::Other(item) = &mut module.items[*index] else { continue };
            let cfgs = attrs::cfgs(item_attrs(item));
            // rustc says that the name is taken. Two behind `cfg` may well exclude each other.
            let twice = schemas.iter().any(|other| other.kind == kind && other.cfgs.is_empty() && cfgs.is_empty());
            if !twice && let Some(twin) = check_schema(item, kind, ident, options, errors) {
                schemas.push(Schema { kind, ident: ident.clone(), cfgs, twin });
            }
        }
    }
    schemas
}

/// The twin of the type, if it has one; `None` when it cannot be named as that schema.
fn check_schema(
    item: &mut Item,
    kind: SchemaKind,
    ident: &Ident,
    options: &Options,
    errors: &mut Errors,
) -> Option<Option<ItemEnum>> {
    let name = kind.name;
    let (vis, generics) = match item {
        Item::Struct(item) => (&item.vis, Some(&item.generics)),
        Item::Enum(item) => (&item.vis, Some(&item.generics)),
        Item::Type(item) => (&item.vis, Some(&item.generics)),
        Item::Use(item) => (&item.vis, None),
        Item::Union(item) if !kind.travels => (&item.vis, Some(&item.generics)),
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
    if matches!(vis, Visibility::Inherited) {
        let speaker = if kind.travels { "the room's client speaks of it" } else { "the room's public type names it" };
        errors.on(ident, format!("`{name}` is private, but {speaker}\nwrite `pub` in front of it"));
    }
    if let Some(generics) = generics.filter(|generics| !generics.params.is_empty()) {
        errors.on(generics, format!("`{name}` cannot be generic\na room has exactly one type of each schema"));
        return None;
    }
    if !kind.travels {
        return Some(None);
    }
    let fits = check_tagging(item, &options.tag, errors);
    Some(match item {
        Item::Enum(item) if fits => data::tagged_schema(item, &options.krate, &options.tag, errors),
        // Without the tag serde has nothing to add to our own error.
        Item::Enum(ItemEnum { attrs, .. }) | Item::Struct(ItemStruct { attrs, .. }) => {
            data::schema(attrs, &options.krate, errors);
            None
        }
        // An alias or a re-export is what it is.
        _ => None,
    })
}

fn item_attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// A tuple variant has no place for the tag: serde finds that out when the message is sent.
fn check_tagging(item: &Item, tag: &str, errors: &mut Errors) -> bool {
    let Item::Enum(item) = item else { return true };
    if data::has_tagging(&item.attrs) {
        return true;
    }
    let mut fits = true;
    for variant in &item.variants {
        if let Fields::Unnamed(fields) = &variant.fields {
            let named: Vec<_> = fields.unnamed.iter().enumerate().map(named_field).collect();
            errors.on(
                variant,
                format!(
                    "variant `{name}` has no field names, but it travels as `{{\"{tag}\": \"{name}\", …}}`\n\
                     write `{name} {{ {} }}`, or choose a tagging with `#[serde(…)]`",
                    named.join(", "),
                    name = variant.ident,
                ),
            );
            fits = false;
        }
    }
    fits
}

fn named_field((index, field): (usize, &syn::Field)) -> String {
    let ty = written(&field.ty);
    match (index, &*ty) {
        (0, "String" | "&str") => format!("text: {ty}"),
        (0, _) => format!("value: {ty}"),
        (n, _) => format!("value{}: {ty}", n + 1),
    }
}

/// Tokens as a person writes them.
fn written(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    text.replace(" < ", "<")
        .replace(" > ", ">")
        .replace(" >", ">")
        .replace("& ", "&")
        .replace(" :: ", "::")
        .replace(" ,", ",")
}

/// What the module's functions are.
#[derive(Default)]
struct Functions {
    handlers: Vec<Handler>,
    /// The handlers that are meant, also by a function that is wrong.
    meant: Vec<&'static str>,
    /// The optional schemas that a handler needs and the module does not have.
    missed: Vec<&'static str>,
}

fn check_functions(module: &RoomModule, declared: &[Declared], written: &Written, errors: &mut Errors) -> Functions {
    let mut functions = Functions::default();
    for function in module.functions() {
        let ident = &function.sig.ident;
        let Some(kind) = HANDLERS.into_iter().find(|kind| ident == kind.name) else {
            functions.meant.extend(check_near_miss(function, errors));
            continue;
        };
        functions.meant.push(kind.name);
        // Whether it is meant as a handler at all is the first question.
        if kind.makes.is_some_and(|schema| !declared.iter().any(|item| item.name == schema))
            || kind.needs.is_some_and(|needed| !written.meant.contains(&needed.option))
        {
            continue;
        }
        let cfgs = attrs::cfgs(&function.attrs);
        // rustc says that the name is taken. Two behind `cfg` may well exclude each other.
        if functions.handlers.iter().any(|other| other.kind == kind && other.cfgs.is_empty() && cfgs.is_empty()) {
            continue;
        }
        check_handler(function, kind, cfgs, declared, &mut functions, errors);
    }
    check_made(module, declared, &mut functions, errors);
    functions
}

/// A function that was probably meant to be a handler would silently never run: which one, if so.
fn check_near_miss(function: &Function, errors: &mut Errors) -> Option<&'static str> {
    let ident = &function.sig.ident;
    let name = ident.unraw().to_string();
    // `unit` is a name for many things besides `init`, unless it gives a state.
    let plausible = |kind: &HandlerKind| kind.name.starts_with("on_") || returns(function, kind.outcome.ty());
    let similar = diag::similar(&name, HANDLERS.iter().filter(|kind| plausible(kind)).map(|kind| kind.name));
    let takes_ctx = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) => written(&argument.ty).ends_with("Ctx"),
        _ => false,
    };
    if let Some(similar) = similar {
        errors.on(ident, format!("unknown handler `{name}`\na similar handler exists: `{similar}`"));
    } else if name.starts_with("on_") && takes_ctx {
        let known = diag::list(HANDLERS.iter().map(|kind| kind.name));
        let helper = "a helper function is better not called `on_…`";
        errors.on(ident, format!("unknown handler `{name}`\nthe handlers are {known}\n{helper}"));
    }
    similar
}

/// Whether the function's return type is written like that.
fn returns(function: &Function, ty: &str) -> bool {
    match &function.sig.output {
        ReturnType::Default => false,
        ReturnType::Type(_, written_type) => written(written_type) == ty,
    }
}

/// A handler that makes a schema and the schema that it makes: neither goes without the other.
fn check_made(module: &RoomModule, declared: &[Declared], functions: &mut Functions, errors: &mut Errors) {
    for kind in HANDLERS {
        let Some(made) = SCHEMAS.into_iter().find(|schema| kind.makes == Some(schema.name)) else { continue };
        let schema = declared.iter().find(|item| item.name == made.name);
        match (schema, functions.meant.contains(&kind.name)) {
            (Some(schema), false) => {
                let (made, signature) = (made.name, kind.signature(kind.parameters));
                let message = format!("room `{}` has a type `{made}`, but no handler that makes it", module.ident);
                errors.on(&schema.ident, format!("{message}\nadd `{signature} {{ … }}`"));
            }
            (None, true) => {
                functions.missed.push(made.name);
                let function = module.functions().find(|function| function.sig.ident == kind.name);
                if let Some(function) = function {
                    let message = format!("handler `{}` makes `{}`, a type that room", kind.name, made.name);
                    let message = format!("{message} `{}` does not have\nadd `{}`", module.ident, made.example);
                    let hint = "or give this function another name if it is none of the room's handlers";
                    errors.on(&function.sig.ident, format!("{message}, {hint}"));
                }
            }
            _ => {}
        }
    }
}

/// A handler that never runs without an option, and the option that is of no use without a handler.
fn check_needed(module: &RoomModule, written: &Written, options: &Options, functions: &Functions, errors: &mut Errors) {
    for kind in HANDLERS {
        let Some(Needed { option, example }) = kind.needs else { continue };
        let function = module.functions().find(|function| function.sig.ident == kind.name);
        if let Some(function) = function.filter(|_| !written.meant.contains(&option)) {
            let message = format!("handler `{}` never runs without the option `{option}`", kind.name);
            let hint = "or give this function another name if it is none of the room's handlers";
            errors.on(&function.sig.ident, format!("{message}\nadd `{example}` to `#[room]`, {hint}"));
        }
        // A version with a mistake counts as not given.
        let lacking = kind.outcome == Outcome::Migrated
            && options.state_version.is_some()
            && !functions.meant.contains(&kind.name);
        if let Some(given) = written.given.iter().find(|given| lacking && given.name == option) {
            let (room, name, signature) = (&module.ident, kind.name, kind.signature(kind.parameters));
            let message = format!("room `{room}` has the option `{option}`, but no handler `{name}`");
            errors.on(given.fault(), format!("{message}\nadd `{signature} {{ … }}`"));
        }
    }
}

fn check_handler(
    function: &Function,
    kind: HandlerKind,
    cfgs: Vec<Attribute>,
    declared: &[Declared],
    functions: &mut Functions,
    errors: &mut Errors,
) {
    let sig = &function.sig;
    let taken = kind.taken(|schema| declared.iter().any(|item| item.name == schema));
    let signature = kind.signature(&taken);
    let before = errors.len();
    let plain = "handlers are plain functions; the engine calls them with the room's types";
    if let Some(keyword) = &sig.constness {
        errors.on(keyword, format!("handler `{}` cannot be `const`\n{plain}", kind.name));
    }
    if let (Some(keyword), Some(why)) = (&sig.asyncness, kind.sync) {
        errors.on(keyword, format!("handler `{}` cannot be `async`\n{why}", kind.name));
    }
    if let Safety::Unsafe(keyword) = &sig.safety {
        errors.on(keyword, format!("handler `{}` cannot be `unsafe`\n{plain}", kind.name));
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, format!("handler `{}` cannot be `extern`\n{plain}", kind.name));
    }
    if sig.generics.params.iter().any(|p| !matches!(p, syn::GenericParam::Lifetime(_))) {
        errors.on(&sig.generics, format!("handler `{}` cannot be generic\n{plain}", kind.name));
    }
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        errors.on(receiver, format!("handler `{}` cannot take `self`\n{plain}\nwrite `{signature}`", kind.name));
    } else if sig.inputs.len() != taken.len() {
        let (expected, found) = (taken.len(), sig.inputs.len());
        let plural = if expected == 1 { "" } else { "s" };
        let depends = depends(kind, &taken, found, functions);
        let message = format!("handler `{}` takes {expected} parameter{plural}, not {found}", kind.name);
        errors.at(parse::parentheses(sig), format!("{message}\nwrite `{signature}`{depends}"));
    }
    if errors.len() > before {
        return;
    }

    let mut parameter_spans = Vec::new();
    for (argument, parameter) in sig.inputs.iter().zip(&taken) {
        let FnArg::Typed(argument) = argument else { continue };
        let ty = ungrouped(&argument.ty);
        let (by, bare) = match ty {
            Type::Reference(reference) if reference.mutability.is_some() => (By::MutableReference, &*reference.elem),
            Type::Reference(reference) => (By::Reference, &*reference.elem),
            ty => (By::Value, ty),
        };
        if by != parameter.by() {
            let (name, expected, found) = (parameter.name(), parameter.ty(), written(ty));
            let message = format!("parameter `{name}` of `{}` must be `{expected}`, not `{found}`", kind.name);
            errors.on(&argument.ty, format!("{message}\nwrite `{signature}`"));
        }
        parameter_spans.push(span_of(bare));
    }
    if errors.len() > before {
        return;
    }
    functions.handlers.push(Handler {
        kind,
        ident: sig.ident.clone(),
        cfgs,
        is_async: sig.asyncness.is_some(),
        parameter_spans,
        return_span: match &sig.output {
            ReturnType::Default => sig.ident.span(),
            ReturnType::Type(_, ty) => span_of(ty),
        },
    });
}

/// What the number of a handler's parameters has to do with the room's optional schemas.
fn depends(kind: HandlerKind, taken: &[Parameter], found: usize, functions: &mut Functions) -> String {
    let schema = kind.parameters.iter().find_map(|parameter| parameter.schema());
    let Some(schema) = SCHEMAS.into_iter().find(|other| Some(other.name) == schema) else { return String::new() };
    if taken.len() == kind.parameters.len() {
        return format!(", as the room has a type `{}`", schema.name);
    }
    if found == kind.parameters.len() {
        functions.missed.push(schema.name);
        return format!(", or add `{}` to the room", schema.example);
    }
    String::new()
}

/// A type that came through a `macro_rules!` fragment is wrapped in an invisible group.
fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        ty => ty,
    }
}

fn span_of(tokens: &impl ToTokens) -> Span {
    quote!(#tokens).span()
}
