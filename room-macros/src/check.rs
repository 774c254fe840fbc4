//! [`RoomModule`] → [`Room`]: the only place that makes semantic errors. All that are independent are reported together.

use heck::{ToShoutySnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span};
use quote::{ToTokens, format_ident, quote};
use syn::{Fields, FnArg, Item, ReturnType, Safety, Type, Visibility, ext::IdentExt, spanned::Spanned};

use crate::{
    args::Args,
    attrs, data,
    diag::{self, Errors},
    expand,
    model::{ALIASES, HANDLERS, Handler, HandlerKind, MARKER, Room, SCHEMAS, Schema, Sketch},
    parse::{self, Function, ModuleItem, RoomModule},
};

/// Validates the module. With errors comes what could be said of the room all the same.
pub(crate) fn check(mut module: RoomModule, args: Args, mut errors: Errors) -> Result<Room, Box<(Sketch, Errors)>> {
    let krate = args.krate.clone().unwrap_or_else(expand::default_crate);
    let name = module.ident.unraw().to_string();
    let tag = args.tag.as_ref().map_or("type", |tag| tag.as_str());
    let class = class(&name, &args, &mut errors);
    let binding = binding(&name, &args, &mut errors);

    let names = module.names();
    let marker_taken = check_generated_names(&names, &class, &mut errors);
    let schemas = SCHEMAS.map(|schema| check_schema(&mut module, schema, &krate, tag, &mut errors));
    let handlers = check_functions(&module, &mut errors);
    module.drop_receivers();
    let aliases = ALIASES.into_iter().filter(|alias| !names.iter().any(|name| name == alias)).collect();

    let sketch = Sketch { krate, module, schemas, aliases, marker_taken };
    if errors.is_empty() { Ok(Room { sketch, binding, class, handlers }) } else { Err(Box::new((sketch, errors))) }
}

/// What can be said of a room of which only the name is known.
pub(crate) fn empty(module: RoomModule, args: &Args) -> Sketch {
    let krate = args.krate.clone().unwrap_or_else(expand::default_crate);
    Sketch { krate, module, schemas: [None, None, None, None], aliases: ALIASES.to_vec(), marker_taken: false }
}

fn class(name: &str, args: &Args, errors: &mut Errors) -> Ident {
    let default = format_ident!("{}Room", name.to_upper_camel_case());
    let Some(class) = &args.class else { return default };
    match syn::parse_str::<Ident>(class) {
        Ok(ident) => Ident::new(&ident.to_string(), class.span()),
        Err(_) => {
            errors.at(
                class.span(),
                format!(
                    "`{}` cannot be the name of a Durable Object class\nwrite an identifier, for example `{default}`",
                    class.as_str()
                ),
            );
            default
        }
    }
}

fn binding(name: &str, args: &Args, errors: &mut Errors) -> String {
    let default = name.to_shouty_snake_case();
    let Some(binding) = &args.binding else { return default };
    let mut chars = binding.chars();
    let valid = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        errors.at(
            binding.span(),
            format!(
                "`{}` cannot be the name of a binding\nwrite letters, digits and `_`, for example `{default}`",
                binding.as_str()
            ),
        );
    }
    binding.to_string()
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

fn check_schema(
    module: &mut RoomModule,
    name: &'static str,
    krate: &syn::Path,
    tag: &str,
    errors: &mut Errors,
) -> Option<Schema> {
    let Some((index, item)) = parse::schema_item(module, name).into_iter().next() else {
        let example = match name {
            "Event" | "Broadcast" => format!("pub enum {name} {{ … }}"),
            _ => format!("pub struct {name} {{ … }}"),
        };
        errors.on(&module.ident, format!("room `{}` has no `{name}` type\nadd `{example}`", module.ident));
        return None;
    };
    let (vis, ident, generics) = match item {
        Item::Struct(item) => (&item.vis, &item.ident, Some(&item.generics)),
        Item::Enum(item) => (&item.vis, &item.ident, Some(&item.generics)),
        Item::Type(item) => (&item.vis, &item.ident, Some(&item.generics)),
        Item::Use(item) => (&item.vis, &format_ident!("{name}", span = item.span()), None),
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
    let schema = Schema { ident: ident.clone(), cfgs: attrs::cfgs(item_attrs(item)) };
    if matches!(vis, Visibility::Inherited) {
        errors
            .on(ident, format!("`{name}` is private, but the room's client speaks of it\nwrite `pub` in front of it"));
    }
    if let Some(generics) = generics.filter(|generics| !generics.params.is_empty()) {
        errors.on(generics, format!("`{name}` cannot be generic\na room has exactly one type of each schema"));
        return None;
    }
    // Without the tag serde has nothing to add to our own error.
    let tag = check_tagging(item, tag, errors).then_some(tag);

    if let ModuleItem::Other(item) = &mut module.items[index] {
        match item {
            Item::Struct(item) => data::schema(&mut item.attrs, krate, None, errors),
            Item::Enum(item) => data::schema(&mut item.attrs, krate, tag, errors),
            // An alias or a re-export is what it is.
            _ => {}
        }
    }
    Some(schema)
}

fn item_attrs(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
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

fn check_functions(module: &RoomModule, errors: &mut Errors) -> Vec<Handler> {
    let mut handlers: Vec<Handler> = Vec::new();
    for function in module.functions() {
        let ident = &function.sig.ident;
        let Some(kind) = HANDLERS.into_iter().find(|kind| ident == kind.name) else {
            check_near_miss(function, errors);
            continue;
        };
        let cfgs = attrs::cfgs(&function.attrs);
        // rustc says that the name is taken. Two behind `cfg` may well exclude each other.
        if handlers.iter().any(|other| other.kind == kind && other.cfgs.is_empty() && cfgs.is_empty()) {
            continue;
        }
        handlers.extend(check_handler(function, kind, cfgs, errors));
    }
    handlers
}

/// A function that was probably meant to be a handler would silently never run.
fn check_near_miss(function: &Function, errors: &mut Errors) {
    let ident = &function.sig.ident;
    let name = ident.unraw().to_string();
    let known = || HANDLERS.iter().map(|kind| kind.name);
    let takes_ctx = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) => written(&argument.ty).ends_with("Ctx"),
        _ => false,
    };
    match diag::similar(&name, known()) {
        Some(similar) => errors.on(
            ident,
            format!(
                "unknown handler `{name}`\na similar handler exists: `{similar}`\nthe handlers are {}",
                diag::list(known())
            ),
        ),
        None if name.starts_with("on_") && takes_ctx => errors.on(
            ident,
            format!(
                "unknown handler `{name}`\nthe handlers are {}; a helper function is better not called `on_…`",
                diag::list(known())
            ),
        ),
        None => {}
    }
}

fn check_handler(
    function: &Function,
    kind: HandlerKind,
    cfgs: Vec<syn::Attribute>,
    errors: &mut Errors,
) -> Option<Handler> {
    let sig = &function.sig;
    let mut wrong = false;
    let mut refuse = |tokens: &dyn ToTokens, message: String| {
        errors.on(tokens.to_token_stream(), message);
        wrong = true;
    };
    let plain = "handlers are plain functions; the engine calls them with the room's types";
    if let Some(keyword) = &sig.constness {
        refuse(keyword, format!("handler `{}` cannot be `const`\n{plain}", kind.name));
    }
    if let Safety::Unsafe(keyword) = &sig.safety {
        refuse(keyword, format!("handler `{}` cannot be `unsafe`\n{plain}", kind.name));
    }
    if let Some(abi) = &sig.abi {
        refuse(abi, format!("handler `{}` cannot be `extern`\n{plain}", kind.name));
    }
    if !sig.generics.params.is_empty()
        && sig.generics.params.iter().any(|p| !matches!(p, syn::GenericParam::Lifetime(_)))
    {
        refuse(&sig.generics, format!("handler `{}` cannot be generic\n{plain}", kind.name));
    }
    if let Some(FnArg::Receiver(receiver)) = sig.inputs.first() {
        let message = format!("handler `{}` cannot take `self`\n{plain}\nwrite `{}`", kind.name, kind.signature());
        refuse(receiver, message);
    } else if sig.inputs.len() != kind.parameters.len() {
        let (expected, found) = (kind.parameters.len(), sig.inputs.len());
        let plural = if expected == 1 { "" } else { "s" };
        let message = format!(
            "handler `{}` takes {expected} parameter{plural}, not {found}\nwrite `{}`",
            kind.name,
            kind.signature()
        );
        errors.at(parse::parentheses(sig), message);
        wrong = true;
    }
    if wrong {
        return None;
    }

    let mut parameter_spans = Vec::new();
    for (argument, parameter) in sig.inputs.iter().zip(kind.parameters) {
        let FnArg::Typed(argument) = argument else { continue };
        let ty = ungrouped(&argument.ty);
        let reference = match ty {
            Type::Reference(reference) => Some(reference),
            _ => None,
        };
        let fits = match (reference, parameter.is_reference()) {
            (Some(reference), true) => reference.mutability.is_none(),
            (reference, expected) => reference.is_some() == expected,
        };
        if !fits {
            errors.on(
                &argument.ty,
                format!(
                    "parameter `{}` of `{}` must be `{}`, not `{}`\nwrite `{}`",
                    parameter.name(),
                    kind.name,
                    parameter.ty(),
                    written(ty),
                    kind.signature()
                ),
            );
            wrong = true;
        }
        parameter_spans.push(match reference {
            Some(reference) => span_of(&reference.elem),
            None => span_of(ty),
        });
    }
    (!wrong).then(|| Handler {
        kind,
        ident: sig.ident.clone(),
        cfgs,
        is_async: sig.asyncness.is_some(),
        parameter_spans,
        return_span: match &sig.output {
            ReturnType::Default => sig.ident.span(),
            ReturnType::Type(_, ty) => span_of(ty),
        },
    })
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
