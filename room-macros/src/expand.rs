//! [`Room`] → tokens. The expansion cannot fail and contains no behaviour: each generated body is one call into the
//! runtime.

use std::iter;

use proc_macro_crate::FoundCrate;
use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Attribute, Ident, Path, Visibility, ext::IdentExt, parse_quote};

use crate::{
    attrs, bindings, calls,
    diag::Errors,
    model::{
        Accepted, Conditional, HANDLERS, Handler, ON_ALARM, ON_UNDELIVERED, Options, Outcome, Parameter, Room, Ruled,
        SCHEMAS, Schema, Sketch,
    },
    options::{OPTIONS, Sets, Takes},
    parse::{self, Function, ModuleItem, is},
    twin,
};

/// The runtime's name in the user's `Cargo.toml`, if that file is readable and contains it.
pub(crate) fn runtime_name() -> Option<String> {
    match proc_macro_crate::crate_name("room-runtime") {
        Ok(FoundCrate::Name(name)) => Some(name),
        Ok(FoundCrate::Itself) | Err(_) => None,
    }
}

/// True if the user's `Cargo.toml` has a dependency of this name, or cannot be read.
pub(crate) fn is_dependency(name: &str) -> bool {
    match proc_macro_crate::crate_name(name) {
        Ok(FoundCrate::Name(found)) => found == name,
        Err(proc_macro_crate::Error::CrateNotFound { .. }) => false,
        Ok(FoundCrate::Itself) | Err(_) => true,
    }
}

/// True if the user's crate lacks the dependency `worker`, whose name `#[durable_object]` writes into its expansion.
pub(crate) fn lacks_worker() -> bool {
    runtime_name().is_some() && !is_dependency("worker")
}

/// The path of the runtime without the option `crate`.
pub(crate) fn default_crate() -> Path {
    let name = Ident::new(runtime_name().as_deref().unwrap_or("room_runtime"), Span::call_site());
    parse_quote!(::#name)
}

/// An unreadable item: it is emitted unchanged, together with the errors.
pub(crate) fn rejected(item: &TokenStream, errors: &Errors) -> TokenStream {
    quote!(#item #errors)
}

/// The expansion of a valid room.
pub(crate) fn room(room: &Room) -> TokenStream {
    let Room { sketch, options, handlers } = room;
    let Options { krate, binding, class, .. } = options;
    let name = sketch.module.ident.unraw().to_string();
    let (marker, unique) = (marker(sketch), unique(options));
    let binding = &binding.name;
    let class_name = class.to_string();
    let start = format_ident!("__room_start_{class_name}");
    let class_doc = format!("The Durable Object class of the room `{name}`, bound as `{binding}`.");
    let (settings, types, made) = (settings(options), types(sketch), made_by_default(sketch, handlers));
    let (rules, needs_garde) = (rules(options), needs_garde(options));
    let described = bindings::describe(sketch, &room_name(sketch));
    let table = calls::table(&sketch.calls, krate);
    let calls = calls::items(&sketch.calls, krate, &sketch.module.ident, &room_name(sketch), false);
    let (absent, present) = (absent(handlers), present(handlers));
    let enabled: TokenStream =
        handlers.iter().map(|handler| enables(handler.kind.name, krate, &parse_quote!(Room), &handler.cfgs)).collect();
    let handlers = handlers.iter().map(|each| handler(each, krate));
    let generated = quote! {
        #marker

        #[automatically_derived]
        #[allow(deprecated)]
        impl #krate::Room for Room {
            const NAME: &'static str = #name;
            const BINDING: &'static str = #binding;
            const CLASS: &'static str = #class_name;
            #settings
            #rules
            #absent
            #present
            #table
            #types
            #made
            #(#handlers)*
        }
        #calls
        #enabled
        #needs_garde
        #described

        #[allow(missing_docs, tail_expr_drop_order, clippy::same_name_method)]
        mod __room {
            #krate::__room_shell! {
                #[doc = #class_doc]
                #class = #class_name, super::Room, start = #start
            }
        }
        #[allow(clippy::pub_use)]
        pub use __room::#class;
        #unique
    };
    module(sketch, generated)
}

/// A macro for each name that must be unique in the crate. Exported macros share one namespace across all modules, so
/// rustc reports a duplicate at the option or module of the second room.
fn unique(options: &Options) -> TokenStream {
    let Options { binding, class, .. } = options;
    let names = [("class", class.to_string(), class.span()), ("binding", binding.name.clone(), binding.span)];
    let macros = names.into_iter().map(|(what, name, span)| {
        let span = Span::call_site().located_at(span);
        let name = format_ident!("two_rooms_have_the_{what}_{name}", span = span);
        quote_spanned! {span=>
            #[doc(hidden)]
            #[allow(non_local_definitions)]
            #[macro_export]
            macro_rules! #name {
                () => {};
            }
        }
    });
    macros.collect()
}

/// The expansion of a room with errors: the module as written, with the names that the rest of the crate uses.
pub(crate) fn sketch(sketch: &Sketch, errors: &Errors) -> TokenStream {
    let krate = &sketch.krate;
    let missing = sketch.missing.iter().map(|name| {
        let ident = Ident::new(name, Span::call_site());
        quote! {
            #[allow(missing_docs)]
            pub type #ident = #krate::__private::Missing;
        }
    });
    let imports = sketch.unimported.iter().map(|name| quote!(#[allow(unused_imports)] use #krate::#name;));
    let rest = {
        let (marker, types) = (marker(sketch), types(sketch));
        let class = sketch.class.as_ref().map(|class| {
            quote! {
                #[allow(missing_docs, dead_code)]
                #[derive(#krate::__private::Debug)]
                pub struct #class {}
            }
        });
        let name = room_name(sketch);
        let described = bindings::describe(sketch, &name);
        let calls = calls::items(&sketch.calls, krate, &sketch.module.ident, &name, true);
        let never = quote!(::core::unreachable!());
        let first = if sketch.meant.contains(&"init") { never.clone() } else { initial(sketch) };
        let (init, services) = (init(krate, first), services(krate, never));
        // A missing handler is one error already; a call that needs it must not be another.
        let meant =
            [ON_ALARM, ON_UNDELIVERED].into_iter().filter(|handler| !sketch.judged || sketch.meant.contains(handler));
        let enabled: TokenStream = meant.map(|handler| enables(handler, krate, &name, &[])).collect();
        quote! {
            #marker

            #[automatically_derived]
            #[allow(deprecated)]
            impl #krate::Room for #name {
                const NAME: &'static str = "";
                const BINDING: &'static str = "";
                const CLASS: &'static str = "";
                #types
                #init
                #services
            }
            #calls
            #enabled
            #described

            #class
        }
    };
    let module = module(sketch, quote!(#(#imports)* #(#missing)* #rest));
    quote!(#module #errors)
}

fn module(sketch: &Sketch, generated: TokenStream) -> TokenStream {
    let module = &sketch.module;
    let (attrs, vis, ident) = (&module.attrs, &module.vis, &module.ident);
    let (unread, items): (Vec<_>, Vec<_>) = module.items.iter().partition(|item| matches!(item, ModuleItem::Unread(_)));
    let items = items.into_iter().map(|item| match item {
        ModuleItem::Fn(function) if !sketch.judged => for_editors(function),
        ModuleItem::Fn(function) if is_handler(function) || sketch.calls.iter().any(|call| call.is(function)) => {
            // Clippy would ask for a signature that `#[room]` rejects: the engine calls handlers with exactly this one.
            let lints =
                quote!(clippy::missing_const_for_fn, clippy::needless_pass_by_ref_mut, clippy::needless_pass_by_value);
            let call = (!is_handler(function)).then(|| quote!(, clippy::must_use_candidate));
            quote!(#[allow(#lints #call)] #function)
        }
        item => item.to_token_stream(),
    });
    let quiet = (!sketch.judged || sketch.hides).then(|| quote!(#[allow(unused, unexpected_cfgs)]));
    // Handlers run on one thread, so a future need not be `Send`. Schemas are `pub` even in a private module.
    let visible = (!matches!(vis, Visibility::Public(_))).then(|| quote!(, unreachable_pub));
    let twins = sketch
        .schemas
        .iter()
        .filter_map(|schema| Some(twin::expand(schema.twin.as_ref()?, &schema.ident, &sketch.krate)));
    let (outer, inner): (Vec<_>, Vec<_>) = attrs.iter().partition(|attr| matches!(attr.style, syn::AttrStyle::Outer));
    let conditional = sketch.conditional.iter().map(|Conditional { cfg, error }| {
        let error = error.to_compile_error();
        quote!(#cfg #error)
    });
    quote! {
        #[allow(clippy::future_not_send #visible)]
        #(#outer)*
        #quiet
        #vis mod #ident {
            #(#inner)*
            #(#items)*
            #(#twins)*
            #generated
            #(#conditional)*
            // Last, because unreadable tokens may break the items after them.
            #(#unread)*
        }
    }
}

/// A function of a room that lacks a schema. Editors see it unchanged. rustc does not, because each mention of the
/// missing schema would be another error.
fn for_editors(function: &Function) -> TokenStream {
    let Function { attrs, vis, sig, body, is_call: _ } = function;
    let whole = quote!(#[cfg(rust_analyzer)] #function);
    let hides = matches!(&sig.output, syn::ReturnType::Type(_, ty) if parse::impl_trait(ty).is_some());
    let rest = match (is_handler(function), hides) {
        // No other code calls the function.
        (true, _) => TokenStream::new(),
        (false, true) => quote!(#(#attrs)* #vis #sig #body),
        (false, false) => quote!(#(#attrs)* #vis #sig { ::core::unreachable!() }),
    };
    let rest = (!rest.is_empty()).then(|| quote!(#[cfg(not(rust_analyzer))] #rest));
    quote!(#whole #rest)
}

fn is_handler(function: &Function) -> bool {
    HANDLERS.into_iter().any(|kind| is(&function.sig.ident, kind.name))
}

/// The marker's name. If the module has an item of that name, which is a reported error, another name.
fn room_name(sketch: &Sketch) -> Ident {
    Ident::new(if sketch.marker_taken { "__Room" } else { "Room" }, Span::call_site())
}

/// The marker type and the aliases.
fn marker(sketch: &Sketch) -> TokenStream {
    let krate = &sketch.krate;
    let marker = room_name(sketch);
    let name = sketch.module.ident.unraw().to_string();
    let doc = format!("The room `{name}`, as a type.");
    let aliases = sketch.aliases.iter().map(|alias| {
        let ident = Ident::new(alias, Span::call_site());
        match *alias {
            "Result" => quote! {
                /// The result of a handler.
                #[allow(dead_code)]
                pub type #ident<T = (), E = #krate::Failure> = ::core::result::Result<T, E>;
            },
            "Ctx" => quote! {
                /// The room, as its handlers see it.
                #[allow(dead_code)]
                pub type #ident = #krate::RoomContext<#marker>;
            },
            "Peer" => quote! {
                /// A connected peer.
                #[allow(dead_code)]
                pub type #ident = #krate::Peer<#marker>;
            },
            "UpgradeRequest" => quote! {
                /// A socket that asks to be let in.
                #[allow(dead_code)]
                pub type #ident = #krate::UpgradeRequest<#marker>;
            },
            _ => quote! {
                /// The rooms of this type, as the Worker sees them.
                #[allow(dead_code)]
                pub type #ident = #krate::RoomClient<#marker>;
            },
        }
    });
    quote! {
        #[doc = #doc]
        #[allow(clippy::exhaustive_enums)]
        #[derive(#krate::__private::Clone, #krate::__private::Copy, #krate::__private::Debug)]
        pub enum #marker {}
        #(#aliases)*
    }
}

/// The constants for the options that the user set.
fn settings(options: &Options) -> TokenStream {
    let krate = &options.krate;
    let (mut limits, mut constants) = (TokenStream::new(), TokenStream::new());
    for kind in OPTIONS {
        let Some(value) = options.setting(kind.name).map(|value| accepted(value, krate)) else { continue };
        match kind.sets {
            Sets::Limit(_) => {
                let name = format_ident!("{}", kind.name);
                limits.extend(quote!(.#name(#value)));
            }
            Sets::Constant(name, takes) => {
                let (name, ty) = (format_ident!("{name}"), constant_type(takes, krate));
                constants.extend(quote!(const #name: #ty = #value;));
            }
            Sets::Binding | Sets::Class | Sets::Tag | Sets::Crate | Sets::Rules(_) => {}
        }
    }
    let limits = (!limits.is_empty()).then(|| quote!(const LIMITS: #krate::Limits = #krate::Limits::DEFAULT #limits;));
    quote!(#limits #constants)
}

/// The constants with the rules of the schemas. An error about a schema's rules appears at the option.
fn rules(options: &Options) -> TokenStream {
    let krate = &options.krate;
    let rules = options.ruled.iter().map(|Ruled { schema, span }| {
        let (constant, name) = (format_ident!("{}", schema.constant), format_ident!("{}", schema.schema));
        let span = Span::call_site().located_at(*span);
        let violations = respanned(quote!(<Self::#name as #krate::__private::Validated>::violations), span);
        quote! {
            const #constant: #krate::__private::Option<fn(&Self::#name) -> #krate::Violations> =
                #krate::__private::Some(#violations);
        }
    });
    rules.collect()
}

/// The item that reports the option `validate` if the runtime lacks its feature.
fn needs_garde(options: &Options) -> Option<TokenStream> {
    let first = options.ruled.first()?;
    let krate = &options.krate;
    Some(respanned(quote!(#krate::__needs_garde! {}), Span::call_site().located_at(first.span)))
}

/// The type of the constant for an option with this kind of value.
fn constant_type(takes: Takes, krate: &Path) -> TokenStream {
    match takes {
        Takes::WholeNumber { .. } | Takes::Bytes { .. } => quote!(u32),
        Takes::Fraction => quote!(f64),
        Takes::Time { .. } => quote!(u64),
        Takes::TwoTexts { .. } => quote!((&'static str, &'static str)),
        Takes::Origins => quote!(&'static [&'static str]),
        Takes::OneOf { ty, .. } | Takes::Parts { ty, .. } => {
            let ty = format_ident!("{ty}");
            quote!(#krate::#ty)
        }
    }
}

/// The expression for a value.
fn accepted(value: &Accepted, krate: &Path) -> TokenStream {
    match value {
        Accepted::Number(number) => Literal::u64_unsuffixed(*number).to_token_stream(),
        Accepted::Fraction(number) => Literal::f64_unsuffixed(*number).to_token_stream(),
        Accepted::Texts([first, second]) => quote!((#first, #second)),
        Accepted::Variant { ty, variant } => {
            let (ty, variant) = (format_ident!("{ty}"), format_ident!("{variant}"));
            quote!(#krate::#ty::#variant)
        }
        Accepted::Origins(origins) => quote!(&[#(#origins),*]),
        Accepted::Made { ty, parts, methods } => {
            let (ty, parts) = (format_ident!("{ty}"), parts.iter().map(|part| accepted(part, krate)));
            let methods = methods.iter().map(|(name, argument)| {
                let (name, argument) = (format_ident!("{name}"), accepted(argument, krate));
                quote!(.#name(#argument))
            });
            quote!(#krate::#ty::new(#(#parts),*)#(#methods)*)
        }
    }
}

/// The constants that declare absent handlers to the engine.
fn absent(handlers: &[Handler]) -> TokenStream {
    let absent = HANDLERS.into_iter().filter_map(|kind| {
        let name = format_ident!("{}", kind.has?);
        let having = handlers.iter().filter(|handler| handler.kind == kind);
        let cfg = attrs::otherwise(having.map(|handler| &*handler.cfgs))?;
        Some(quote!(#cfg const #name: bool = false;))
    });
    absent.collect()
}

/// The constants that declare handlers to the engine that a room lacks by default.
fn present(handlers: &[Handler]) -> TokenStream {
    let present = handlers.iter().filter_map(|handler| {
        let (name, cfgs) = (format_ident!("{}", handler.kind.declares?), &handler.cfgs);
        Some(quote!(#(#cfgs)* const #name: bool = true;))
    });
    present.collect()
}

/// The impl by which a handler allows a room to schedule alarms or to make durable calls. Most handlers have none.
fn enables(handler: &str, krate: &Path, marker: &Ident, cfgs: &[Attribute]) -> TokenStream {
    let enabled = match handler {
        ON_ALARM => quote!(HandlesAlarms),
        ON_UNDELIVERED => quote!(HandlesUndelivered),
        _ => return TokenStream::new(),
    };
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #krate::#enabled for #marker {}
    }
}

/// The associated types.
fn types(sketch: &Sketch) -> TokenStream {
    let krate = &sketch.krate;
    let types = SCHEMAS.into_iter().map(|kind| {
        let name = Ident::new(kind.name, Span::call_site());
        let schemas = || sketch.schemas.iter().filter(|schema| schema.kind == kind);
        let given = schemas().map(|Schema { ident, cfgs, .. }| quote!(#(#cfgs)* type #name = #ident;));
        let otherwise = match attrs::otherwise(schemas().map(|schema| &*schema.cfgs)) {
            Some(cfg) if kind.optional => quote!(#cfg type #name = ();),
            Some(cfg) => quote!(#cfg type #name = #krate::__private::Missing;),
            None => TokenStream::new(),
        };
        quote!(#(#given)* #otherwise)
    });
    types.collect()
}

/// Default bodies for the required handlers that the room does not define.
fn made_by_default(sketch: &Sketch, handlers: &[Handler]) -> TokenStream {
    let krate = &sketch.krate;
    let without = |outcome: Outcome| {
        let having = handlers.iter().filter(move |handler| handler.kind.outcome == outcome);
        attrs::otherwise(having.map(|handler| &*handler.cfgs))
    };
    let init = without(Outcome::State).map(|cfg| {
        let init = init(krate, initial(sketch));
        quote!(#cfg #init)
    });
    let services = without(Outcome::Services).map(|cfg| {
        let services = services(krate, quote!(#krate::__private::Ok(())));
        quote!(#cfg #services)
    });
    quote!(#init #services)
}

/// The first state of a room without `init`.
fn initial(sketch: &Sketch) -> TokenStream {
    let krate = &sketch.krate;
    let private = quote!(#krate::__private);
    match sketch.schemas.iter().find(|schema| schema.kind.name == "State") {
        // The span of the state's name, for the error about a state without `Default`.
        Some(state) => {
            let state = call_at(state.ident.span(), quote!(#private::InitialState::initial), TokenStream::new());
            quote!(#private::Ok(#state))
        }
        None => quote!(#private::Ok(#private::Missing)),
    }
}

/// A call that rustc's errors place at `span`. The arguments keep their own spans.
pub(crate) fn call_at(span: Span, function: TokenStream, arguments: TokenStream) -> TokenStream {
    let function = respanned(function, span);
    quote_spanned!(span=> #function(#arguments))
}

pub(crate) fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let each = tokens.into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    each.collect()
}

fn init(krate: &Path, body: TokenStream) -> TokenStream {
    let private = quote!(#krate::__private);
    quote! {
        fn init(_: &#krate::RoomContext<Self>) -> #private::Result<Self::State, #krate::Failure> {
            #body
        }
    }
}

fn services(krate: &Path, body: TokenStream) -> TokenStream {
    let private = quote!(#krate::__private);
    quote! {
        fn services(_: &#private::worker::Env) -> #private::Result<Self::Services, #krate::Failure> {
            #body
        }
    }
}

fn handler(handler: &Handler, krate: &Path) -> TokenStream {
    let Handler { kind, ident, cfgs, is_async, parameter_spans, return_span } = handler;
    let private = quote!(#krate::__private);
    // The mixed site would move errors about an argument from the user's type to `#[room]`.
    let binder = |parameter: &Parameter, span: Span| format_ident!("__{}", parameter.name(), span = span);
    // The declaration needs the same span: a macro may write the user's type, and its names have another hygiene.
    let spans = parameter_spans.iter().copied().chain(iter::repeat(Span::call_site()));
    let parameters = kind.parameters.iter().zip(spans).map(|(parameter, span)| {
        let binder = binder(parameter, span);
        let ty = match parameter {
            Parameter::Ctx => quote!(&#krate::RoomContext<Self>),
            Parameter::Version => quote!(u32),
            Parameter::Value => quote!(#krate::serde_json::Value),
            Parameter::Env => quote!(&#private::worker::Env),
            Parameter::Upgrade => quote!(&mut #krate::UpgradeRequest<Self>),
            Parameter::Peer => quote!(&#krate::Peer<Self>),
            Parameter::User => quote!(&#krate::PeerId),
            Parameter::Event => quote!(Self::Event),
            Parameter::EventRef => quote!(&Self::Event),
            Parameter::Close => quote!(#krate::Close),
            Parameter::Alarm => quote!(Self::Alarm),
            Parameter::Undelivered => quote!(&#krate::Undelivered),
            Parameter::Bytes => quote!(#krate::Bytes),
            Parameter::Request => quote!(#krate::http::Request<#krate::Bytes>),
            Parameter::DecodeError => quote!(&#krate::DecodeError),
            Parameter::HandlerError => quote!(&#krate::HandlerError),
        };
        quote!(#binder: #ty)
    });
    // A handler may take fewer parameters than its kind has.
    let arguments = kind.parameters.iter().zip(parameter_spans).map(|(parameter, span)| {
        let (passing, binder) = (format_ident!("{}", parameter.passing_trait()), binder(parameter, *span));
        call_at(*span, quote!(#private::#passing::pass), quote!(#binder))
    });
    let call = call_at(*return_span, quote!(#ident), quote!(#(#arguments),*));
    let await_it = is_async.then(|| quote_spanned!(*return_span=> .await));
    let (output, error) = match kind.outcome {
        Outcome::Done => (quote!(()), Some(quote!(#krate::Failure))),
        Outcome::State | Outcome::Migrated => (quote!(Self::State), Some(quote!(#krate::Failure))),
        Outcome::Services => (quote!(Self::Services), Some(quote!(#krate::Failure))),
        Outcome::Upgrade => (quote!(()), Some(quote!(#krate::Reject))),
        Outcome::Cost => (quote!(u32), None),
        Outcome::Response => (quote!(#krate::http::Response<#krate::Bytes>), Some(quote!(#krate::Failure))),
    };
    let returns = error.map_or_else(|| output.clone(), |error| quote!(#private::Result<#output, #error>));
    let (passing, pass) = kind.outcome.passing();
    let (passing, pass) = (format_ident!("{passing}"), format_ident!("{pass}"));
    // The type is explicit: inferred from a wrong return type, the error would be about generated code.
    let named = matches!(kind.outcome, Outcome::State | Outcome::Migrated | Outcome::Services);
    let expected = named.then(|| quote!(::<#output>));
    let outcome = call_at(*return_span, quote!(#private::#passing #expected::#pass), quote!(#call #await_it));
    let name = Ident::new(kind.name, Span::call_site());
    let async_fn = if kind.sync.is_some() { quote!(fn) } else { quote!(async fn) };
    let stores = (kind.outcome == Outcome::State).then(|| quote!(#(#cfgs)* const STORES_FIRST_STATE: bool = true;));
    quote! {
        #stores
        #(#cfgs)*
        #async_fn #name(#(#parameters),*) -> #returns {
            #outcome
        }
    }
}
