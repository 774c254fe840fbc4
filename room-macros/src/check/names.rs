//! Checks the options that name something: the binding, the class, the key of the variant's name and the runtime.

use heck::{ToShoutySnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::{Lit, LitStr, Path, ext::IdentExt};

use super::{
    javascript::{self, Taken},
    values::{not_that, refuse},
};
use crate::{
    args::Given,
    diag::{self, Errors},
    expand,
    model::{ALIASES, Binding, MARKER, SCHEMAS},
};

fn text<'g>(option: &'g Given, errors: &mut Errors) -> Option<&'g LitStr> {
    match option.literal() {
        Some(Lit::Str(text)) if text.suffix().is_empty() => Some(text),
        _ => {
            let name = &option.name;
            let message = format!("option `{name}` takes a text{}\nwrite `{name} = \"…\"`", not_that(option));
            refuse(option.fault(), message, errors)
        }
    }
}

/// A name from an option or derived from the module's name, with its span for errors.
struct Name {
    name: String,
    at: TokenStream,
    span: Span,
    /// The hint for an invalid name.
    advice: String,
}

/// The name in the option `key`, or else the room's own, made by `default`. `None` if the option is not a string
/// literal.
fn name(
    key: &str,
    given: &[Given],
    module: &Ident,
    default: impl Fn(&str) -> String,
    errors: &mut Errors,
) -> Option<Name> {
    let own = default(&module.unraw().to_string());
    let example = if is_plain(&own) { own.clone() } else { default("chat") };
    match given.iter().find(|option| option.name == key) {
        Some(option) => {
            let text = text(option, errors)?;
            let advice = format!("write for example `{key} = \"{example}\"`");
            Some(Name { name: text.value(), at: text.to_token_stream(), span: text.span(), advice })
        }
        None => {
            let advice = format!("add for example `{key} = \"{example}\"` to `#[room]`");
            Some(Name { name: own, at: module.to_token_stream(), span: module.span(), advice })
        }
    }
}

/// True if the name is valid in JavaScript, in a configuration and in Rust.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub(super) fn binding(given: &[Given], module: &Ident, errors: &mut Errors) -> Binding {
    let Some(Name { name, at, span, advice }) = name("binding", given, module, default_binding, errors) else {
        return Binding { name: String::new(), span: module.span() };
    };
    // With neither option, one error covers the class and the binding.
    let with_class = has_neither(given) && !is_plain(&default_class(&module.unraw().to_string()));
    if !is_plain(&name) && !with_class {
        let message = "cannot be the name of a binding, which has letters from a to z, digits and `_`";
        errors.on(at, format!("`{name}` {message}\n{advice}"));
    }
    Binding { name, span }
}

/// True if both names come from the module's name.
fn has_neither(given: &[Given]) -> bool {
    given.iter().all(|option| option.name != "binding" && option.name != "class")
}

fn default_binding(name: &str) -> String {
    name.to_shouty_snake_case()
}

fn default_class(name: &str) -> String {
    format!("{}Room", name.to_upper_camel_case())
}

pub(super) fn class(given: &[Given], module: &Ident, errors: &mut Errors) -> Ident {
    let placeholder = || Ident::new("__Class", Span::call_site());
    let Some(Name { name, at, span, advice }) = name("class", given, module, default_class, errors) else {
        return placeholder();
    };
    let advice = match is_plain(&default_binding(&module.unraw().to_string())) {
        false if has_neither(given) => {
            "add for example `binding = \"CHAT\", class = \"ChatRoom\"` to `#[room]`".to_owned()
        }
        _ => advice,
    };
    let generated = || name == MARKER || ALIASES.contains(&&*name) || SCHEMAS.iter().any(|kind| kind.name == name);
    let why = match (is_plain(&name), javascript::taken(&name)) {
        (false, _) => "it has letters from a to z, digits and `_`",
        (true, Some(Taken::Reserved)) => "it is a reserved word of JavaScript",
        (true, Some(Taken::Global)) => "it would hide JavaScript's own item of that name from the Worker",
        (true, Some(Taken::Worker)) => "the Worker's JavaScript module has an item of that name",
        (true, None) if syn::parse_str::<Ident>(&name).is_err() => "it is a reserved word of Rust",
        (true, None) if generated() => "the room's module has a type of that name",
        (true, None) => return Ident::new(&name, Span::call_site().located_at(span)),
    };
    errors.on(at, format!("`{name}` cannot be the name of a Durable Object class\n{why}; {advice}"));
    placeholder()
}

pub(crate) fn tag(option: &Given, errors: &mut Errors) -> Option<String> {
    let text = text(option, errors)?;
    let tag = text.value();
    let why = match &*tag {
        "" => "takes the name of a key",
        "$room" => "cannot be `$room`, the key of what the room itself says",
        _ => return Some(tag),
    };
    refuse(text, format!("option `tag` {why}\nwrite for example `tag = \"type\"`"), errors)
}

/// The path in `crate = "…"`, with the span of the string literal.
pub(crate) fn krate(option: &Given, errors: &mut Errors) -> Option<Path> {
    let example = "write a path, for example `crate = \"room_runtime\"`";
    let Some(Lit::Str(text)) = option.literal() else {
        errors.on(option.fault(), format!("option `crate` takes a text\n{example}"));
        return None;
    };
    let Ok(path) = text.parse_with(Path::parse_mod_style) else {
        errors.on(text, format!("`{}` cannot be the name of a crate\n{example}", text.value()));
        return None;
    };
    // Without this check rustc would report each path of the expansion.
    if let Some(name) = path.get_ident().map(ToString::to_string)
        && let Some(own) = expand::runtime_name()
        && name != own
        && diag::similar(&name, [&*own]).is_some()
    {
        errors.on(text, format!("unknown crate `{name}`\na similar dependency exists: `{own}`"));
        return None;
    }
    Some(path)
}
