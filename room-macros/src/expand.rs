//! [`Room`] → tokens. Infallible, and without behaviour: every generated body is one call into the runtime.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, Path, ext::IdentExt, parse_quote};

use crate::{
    diag::Errors,
    model::{Handler, Parameter, Room, SCHEMAS, Sketch},
};

/// The runtime, where nobody says otherwise.
pub(crate) fn default_crate() -> Path {
    parse_quote!(::room_runtime)
}

/// An item that could not be read at all: it stays as it is, beside the errors.
pub(crate) fn rejected(item: &TokenStream, errors: &Errors) -> TokenStream {
    quote!(#item #errors)
}

/// The module of a room.
pub(crate) fn room(room: &Room) -> TokenStream {
    let Room { sketch, binding, class, handlers } = room;
    let krate = &sketch.krate;
    let name = sketch.module.ident.unraw().to_string();
    let marker = marker(sketch);
    let class_name = class.to_string();
    let start = format_ident!("__room_start_{}", class_name.to_lowercase());
    let class_doc = format!("The Durable Object class of the room `{name}`, bound as `{binding}`.");
    let handlers = handlers.iter().map(|each| handler(each, krate));
    let implementation = implementation(sketch, &name, binding, &class_name, quote!(#(#handlers)*));
    let generated = quote! {
        #marker
        #implementation

        #[allow(missing_docs)]
        mod __room {
            #krate::__room_shell! {
                #[doc = #class_doc]
                #class = #class_name, super::Room, start = #start
            }
        }
        pub use __room::#class;
    };
    module(sketch, generated)
}

/// The module of a room with errors: as it was written, with the names that the rest of the crate uses.
pub(crate) fn sketch(sketch: &Sketch, errors: &Errors) -> TokenStream {
    let generated = if sketch.marker_taken {
        TokenStream::new()
    } else {
        let marker = marker(sketch);
        let implementation = implementation(sketch, "", "", "", TokenStream::new());
        quote!(#marker #implementation)
    };
    let module = module(sketch, generated);
    quote!(#module #errors)
}

fn module(sketch: &Sketch, generated: TokenStream) -> TokenStream {
    let module = &sketch.module;
    let (attrs, vis, ident, items) = (&module.attrs, &module.vis, &module.ident, &module.items);
    let (outer, inner): (Vec<_>, Vec<_>) = attrs.iter().partition(|attr| matches!(attr.style, syn::AttrStyle::Outer));
    quote! {
        #(#outer)*
        #vis mod #ident {
            #(#inner)*
            #(#items)*
            #generated
        }
    }
}

/// The marker type and the aliases.
fn marker(sketch: &Sketch) -> TokenStream {
    let krate = &sketch.krate;
    let name = sketch.module.ident.unraw().to_string();
    let doc = format!("The room `{name}`, as a type.");
    let aliases = sketch.aliases.iter().map(|alias| {
        let ident = Ident::new(alias, Span::call_site());
        match *alias {
            "Result" => quote! {
                /// What a handler returns.
                #[allow(dead_code)]
                pub type #ident<T = (), E = #krate::Failure> = ::core::result::Result<T, E>;
            },
            "Ctx" => quote! {
                /// The room, as its handlers see it.
                #[allow(dead_code)]
                pub type #ident = #krate::RoomContext<Room>;
            },
            "Peer" => quote! {
                /// A connected peer.
                #[allow(dead_code)]
                pub type #ident = #krate::Peer<Room>;
            },
            _ => quote! {
                /// The rooms of this type, as the Worker sees them.
                #[allow(dead_code)]
                pub type #ident = #krate::RoomClient<Room>;
            },
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(#krate::__private::Clone, #krate::__private::Copy, #krate::__private::Debug)]
        pub enum Room {}
        #(#aliases)*
    }
}

fn implementation(sketch: &Sketch, name: &str, binding: &str, class: &str, handlers: TokenStream) -> TokenStream {
    let krate = &sketch.krate;
    let types = SCHEMAS.into_iter().zip(&sketch.schemas).map(|(name, schema)| {
        let name = Ident::new(name, Span::call_site());
        match schema {
            Some(schema) => {
                let (cfgs, ident) = (&schema.cfgs, &schema.ident);
                quote!(#(#cfgs)* type #name = #ident;)
            }
            None => quote!(type #name = #krate::__private::Missing;),
        }
    });
    let initial = match &sketch.schemas[0] {
        // The error for a state without a default is on the state's name.
        Some(state) => {
            let span = state.ident.span();
            call_at(span, quote!(#krate::__private::InitialState::initial), TokenStream::new())
        }
        None => quote!(#krate::__private::Missing),
    };
    quote! {
        #[automatically_derived]
        impl #krate::Room for Room {
            const NAME: &'static str = #name;
            const BINDING: &'static str = #binding;
            const CLASS: &'static str = #class;
            #(#types)*
            type Alarm = ();

            fn initial_state() -> Self::State {
                #initial
            }
            #handlers
        }
    }
}

/// A call that rustc's errors place at `span`. The arguments keep their own.
fn call_at(span: Span, function: TokenStream, arguments: TokenStream) -> TokenStream {
    let function = respanned(function, span);
    quote_spanned!(span=> #function(#arguments))
}

fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let each = tokens.into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    each.collect()
}

fn handler(handler: &Handler, krate: &Path) -> TokenStream {
    let Handler { kind, ident, cfgs, is_async, parameter_spans, return_span } = handler;
    let private = quote!(#krate::__private);
    // Not at the mixed site: an error about an argument would then be on `#[room]`, not on the user's type.
    let binder = |parameter: &Parameter, span: Span| format_ident!("__{}", parameter.name(), span = span);
    let parameters = kind.parameters.iter().map(|parameter| {
        let binder = binder(parameter, Span::call_site());
        let ty = match parameter {
            Parameter::Ctx => quote!(&#krate::RoomContext<Self>),
            Parameter::Peer => quote!(&#krate::Peer<Self>),
            Parameter::Event => quote!(Self::Event),
            Parameter::Close => quote!(#krate::Close),
        };
        quote!(#binder: #ty)
    });
    let ignored = (kind.name == "on_alarm").then(|| quote!(, (): Self::Alarm));
    let arguments = kind.parameters.iter().zip(parameter_spans).map(|(parameter, span)| {
        let (passing, binder) = (format_ident!("{}", parameter.passing_trait()), binder(parameter, *span));
        call_at(*span, quote!(#private::#passing::pass), quote!(#binder))
    });
    let call = call_at(*return_span, quote!(#ident), quote!(#(#arguments),*));
    let await_it = is_async.then(|| quote_spanned!(*return_span=> .await));
    let outcome = call_at(*return_span, quote!(#private::Outcome::into_outcome), quote!(#call #await_it));
    let name = Ident::new(kind.name, Span::call_site());
    quote! {
        #(#cfgs)*
        async fn #name(#(#parameters),* #ignored) -> #private::Result<(), #krate::Failure> {
            #outcome
        }
    }
    .to_token_stream()
}
