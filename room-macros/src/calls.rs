//! `#[call]`: the functions that clients call. Checks them, and makes the types and methods for their callers.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, GenericArgument, GenericParam, Ident, Item, ItemEnum, ItemStruct, Meta, Pat, Path, PathArguments,
    ReturnType, Safety, Type, TypeImplTrait, TypeParamBound, Visibility, ext::IdentExt, parse_quote, spanned::Spanned,
};

use crate::{
    attrs, bindings,
    check::written,
    diag::{self, Errors},
    expand,
    model::HANDLERS,
    parse::{self, Function, ModuleItem, RoomModule, is},
};

/// The attribute.
pub(crate) const ATTRIBUTE: &str = "call";

/// The trait with the methods.
pub(crate) const TRAIT: &str = "Calls";

/// The methods of the callers, which a function of the same name would be hidden by. `then` would make the client's object of
/// calls a promise in JavaScript.
const TAKEN: [&str; 78] = [
    "advance",
    "assert_no_errors",
    "begin_connect",
    "borrow",
    "borrow_mut",
    "broadcast",
    "call",
    "call_function",
    "clock",
    "clone",
    "clone_from",
    "clone_into",
    "close",
    "close_with",
    "closed",
    "connect",
    "connect_raw",
    "crash",
    "deploy",
    "deref",
    "disconnect",
    "fail_calls",
    "fail_reads",
    "fail_sends",
    "fail_writes",
    "fire_alarm",
    "fmt",
    "from",
    "handle",
    "heartbeat",
    "hibernate",
    "id",
    "incarnations",
    "into",
    "is_busy",
    "is_in_memory",
    "is_open",
    "location_hint",
    "lose_alarm",
    "lose_answers",
    "nudge",
    "peers",
    "pending",
    "protocol",
    "query",
    "receive",
    "receive_any",
    "receive_bytes",
    "receive_error",
    "receive_raw",
    "received",
    "reconnect",
    "request",
    "restart",
    "resume_token",
    "send",
    "send_binary",
    "send_bytes",
    "send_raw",
    "send_unacknowledged",
    "sink",
    "state",
    "stats",
    "status",
    "stop_responding",
    "store_state",
    "stored_state",
    "tags",
    "take_log",
    "then",
    "to_owned",
    "try_connect",
    "try_connect_with",
    "try_from",
    "try_into",
    "upgrade",
    "wait_for_open",
    "world",
];

/// A function that clients call.
#[derive(Debug)]
pub(crate) struct Call {
    ident: Ident,
    cfgs: Vec<Attribute>,
    /// The documentation, and a deprecation.
    notes: Vec<Attribute>,
    /// True if only the Worker and other rooms call it.
    is_for_workers: bool,
    is_async: bool,
    ctx_span: Span,
    arguments: Vec<(Ident, Type)>,
    returns: ReturnType,
}

/// Checks the functions with `#[call]`, and removes the attribute.
pub(crate) fn check(module: &mut RoomModule, errors: &mut Errors) -> Vec<Call> {
    for item in module.others() {
        for attr in parse::item_attrs(item).iter().filter(|attr| attr.path().is_ident(ATTRIBUTE)) {
            errors
                .on(attr, "`#[call]` goes on a function\nwrite `#[call] pub fn name(ctx: &Ctx, …) -> Result<…> { … }`");
        }
    }
    module.remove_item_attributes(ATTRIBUTE);
    report_nested(module, errors);
    let mut calls: Vec<Call> = Vec::new();
    let names = module.names();
    for function in module.functions_mut() {
        let given: Vec<_> = function.attrs.extract_if(.., |attr| attr.path().is_ident(ATTRIBUTE)).collect();
        let Some(first) = given.first() else { continue };
        if let Some(second) = given.get(1) {
            errors.on(second, "`#[call]` is given twice\nremove one of them");
        }
        function.is_call = true;
        let is_for_workers = check_options(first, errors);
        let Some(arguments) = check_function(function, errors) else { continue };
        let Function { attrs, sig, .. } = &*function;
        let ctx_span = sig.inputs.first().map_or_else(Span::call_site, span_of_ctx);
        let cfgs = attrs::cfgs(attrs);
        // rustc reports two functions of one name.
        if calls.iter().any(|other| other.ident == sig.ident && other.cfgs.is_empty() && cfgs.is_empty()) {
            continue;
        }
        let is_note =
            |attr: &&Attribute| ["allow", "deprecated", "doc", "expect"].iter().any(|name| attr.path().is_ident(name));
        calls.push(Call {
            ident: sig.ident.clone(),
            cfgs,
            notes: attrs.iter().filter(is_note).cloned().collect(),
            is_for_workers,
            is_async: sig.asyncness.is_some(),
            ctx_span,
            arguments,
            returns: sig.output.clone(),
        });
    }
    if !calls.is_empty() {
        for name in names.iter().filter(|name| is(name, TRAIT)) {
            let message = format!("`#[room]` generates a trait `{TRAIT}` with the room's calls\nrename this item");
            errors.on(name, message);
            // Otherwise rustc would report the two items too.
            calls.clear();
        }
    }
    calls
}

/// Reports and removes the attribute in an `impl` and in a module, where the room does not see the function.
fn report_nested(module: &mut RoomModule, errors: &mut Errors) {
    for item in &mut module.items {
        let ModuleItem::Other(item @ (Item::Impl(_) | Item::Mod(_))) = item else { continue };
        let mut found = Vec::new();
        let rest = without_calls(item.to_token_stream(), &mut found);
        if found.is_empty() {
            continue;
        }
        let place = if matches!(item, Item::Impl(_)) { "an `impl`" } else { "a module of its own" };
        for attr in found {
            let message = format!("`#[call]` is in {place}, where the room does not find it");
            errors.on(attr, format!("{message}\nwrite the function into the room's module, beside the handlers"));
        }
        if let Ok(parsed) = syn::parse2(rest) {
            *item = parsed;
        }
    }
}

/// Returns the tokens without each `#[call]`, and collects those.
fn without_calls(tokens: TokenStream, found: &mut Vec<TokenStream>) -> TokenStream {
    let is_call = |group: &Group| {
        let mut inner = group.stream().into_iter();
        let is_name = matches!(inner.next(), Some(TokenTree::Ident(name)) if name == ATTRIBUTE);
        let is_end = matches!(inner.next(), None | Some(TokenTree::Group(_))) && inner.next().is_none();
        group.delimiter() == Delimiter::Bracket && is_name && is_end
    };
    let mut rest = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match (token, tokens.peek()) {
            (TokenTree::Punct(hash), Some(TokenTree::Group(group))) if hash.as_char() == '#' && is_call(group) => {
                found.push(quote!(#hash #group));
                tokens.next();
            }
            (TokenTree::Group(group), _) => {
                let mut inner = Group::new(group.delimiter(), without_calls(group.stream(), found));
                inner.set_span(group.span());
                rest.extend([TokenTree::Group(inner)]);
            }
            (other, _) => rest.extend([other]),
        }
    }
    rest
}

/// Reports types of the module that a client would send or receive and that are not serializable.
pub(crate) fn check_types(module: &mut RoomModule, calls: &[Call], krate: &Path, errors: &mut Errors) {
    for call in calls.iter().filter(|call| call.cfgs.is_empty()) {
        let arguments = call.arguments.iter().map(|(_, ty)| ty.to_token_stream());
        let returns = match &call.returns {
            ReturnType::Type(_, ty) => ty.to_token_stream(),
            ReturnType::Default => TokenStream::new(),
        };
        let returned = parse::single_names(returns.clone());
        for name in parse::single_names(arguments.chain([returns]).collect()) {
            let Some(index) = module.own_type(&name) else { continue };
            let implements = !parse::implemented(module, &name, ["Serialize", "Deserialize"]).is_empty();
            let Some(item) = module.other_mut(index) else { continue };
            if returned.contains(&name) {
                make_public(item, &call.name(), errors);
            }
            let attrs = parse::item_attrs(item);
            let derives = attrs::derives(attrs).iter().any(|derive| derive == "Serialize" || derive == "Deserialize");
            let is_data = |attr: &Attribute| attr.path().segments.last().is_some_and(|last| last.ident == "data");
            if implements || derives || attrs.iter().any(is_data) {
                continue;
            }
            let message = format!("`{name}` is part of the call `{}`, but is not serializable", call.name());
            errors.on(parse::type_name(item), format!("{message}\nput `#[data]` on it"));
            // Otherwise rustc would report each use of it.
            parse::add_attribute(item, parse_quote!(#[#krate::data]));
        }
    }
}

/// Reports a type that callers in other modules get and do not see, and makes it public.
fn make_public(item: &mut Item, call: &str, errors: &mut Errors) {
    let (Item::Struct(ItemStruct { vis, ident, .. }) | Item::Enum(ItemEnum { vis, ident, .. })) = item else { return };
    let reason = format!("call `{call}` returns it, and its callers are in other modules");
    match &*vis {
        Visibility::Public(_) => return,
        Visibility::Restricted(_) => {
            let found = written(&*vis);
            errors.on(&*vis, format!("`{ident}` is not visible everywhere, but {reason}\nwrite `pub`, not `{found}`"));
        }
        Visibility::Inherited => {
            errors.on(&*ident, format!("`{ident}` is private, but {reason}\nwrite `pub` in front of it"));
        }
    }
    *vis = parse_quote!(pub);
}

/// Returns whether the function is for the Worker and other rooms only.
fn check_options(attr: &Attribute, errors: &mut Errors) -> bool {
    const ADVICE: &str = "write `#[call]`, or `#[call(worker)]` for a function that no peer can call";
    match &attr.meta {
        Meta::Path(_) => false,
        Meta::NameValue(meta) => {
            errors.on(&meta.value, format!("`#[call]` takes no value\n{ADVICE}"));
            false
        }
        Meta::List(list) if list.tokens.is_empty() => false,
        Meta::List(list) => match list.parse_args::<Ident>() {
            Ok(option) if option == "worker" => true,
            _ => {
                let found = written(&list.tokens);
                let message = match diag::similar(&found, ["worker"]) {
                    Some(_) => format!("unknown `#[call]` option `{found}`\na similar option exists: `worker`"),
                    None => format!("unknown `#[call]` option `{found}`\n{ADVICE}"),
                };
                errors.on(list, message);
                false
            }
        },
    }
}

/// Checks a function. Returns its arguments without `ctx`, as they are meant: with them the function's callers compile, and
/// rustc reports no second error there. Returns `None` if they are unknown.
fn check_function(function: &Function, errors: &mut Errors) -> Option<Vec<(Ident, Type)>> {
    const PLAIN: &str = "calls are plain functions; the engine calls them with what a client sends";
    let sig = &function.sig;
    let name = sig.ident.unraw().to_string();
    let arguments: Vec<_> = sig.inputs.iter().skip(1).map(written).collect();
    let signature = {
        let arguments: String = arguments.iter().map(|argument| format!(", {argument}")).collect();
        format!("fn {name}(ctx: &Ctx{arguments})")
    };
    if HANDLERS.iter().any(|kind| kind.name == name) {
        let message = format!("`{name}` is a handler, which the engine calls, and no client");
        errors.on(&sig.ident, format!("{message}\nremove `#[call]`, or give the function another name"));
        return None;
    }
    if name.starts_with("on_") {
        let message = format!("a call cannot have the name `{name}`, because `on_…` is for handlers");
        errors.on(&sig.ident, format!("{message}\ngive this function another name"));
    }
    if TAKEN.contains(&&*name) {
        let message = format!("a call cannot have the name `{name}`, because its callers have a method of that name");
        errors.on(&sig.ident, format!("{message}\ngive this function another name"));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!(
            "a call cannot have the name `{name}`, because clients write it with letters from a to z, digits and `_`"
        );
        errors.on(&sig.ident, format!("{message}\ngive this function another name"));
    }
    if let Some(keyword) = &sig.constness {
        errors.on(keyword, format!("call `{name}` cannot be `const`\n{PLAIN}"));
    }
    if let Safety::Unsafe(keyword) = &sig.safety {
        errors.on(keyword, format!("call `{name}` cannot be `unsafe`\n{PLAIN}"));
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, format!("call `{name}` cannot be `extern`\n{PLAIN}"));
    }
    if sig.generics.params.iter().any(|param| !matches!(param, GenericParam::Lifetime(_))) {
        errors.on(&sig.generics, format!("call `{name}` cannot be generic\n{PLAIN}"));
        return None;
    }
    let is_context = |argument: &&FnArg| {
        let FnArg::Typed(argument) = argument else { return false };
        let types = parse::single_names(argument.ty.to_token_stream());
        types.iter().any(|name| name == "Ctx" || name == "RoomContext")
            || matches!(&*argument.pat, Pat::Ident(pat) if pat.ident.to_string().trim_start_matches('_') == "ctx")
    };
    let mut arguments = sig.inputs.iter().collect::<Vec<_>>();
    match arguments.first() {
        Some(FnArg::Receiver(receiver)) => {
            errors.on(receiver, format!("call `{name}` cannot take `self`\n{PLAIN}\nwrite `{signature}`"));
            arguments.remove(0);
        }
        Some(FnArg::Typed(first)) if is_ctx(&first.ty) => drop(arguments.remove(0)),
        first => {
            let first = first.copied();
            arguments.retain(|argument| !is_context(argument));
            let all: String = arguments.iter().map(|argument| format!(", {}", written(argument))).collect();
            let message = format!("the first parameter of call `{name}` must be `ctx: &Ctx`");
            let message = format!("{message}\nwrite `fn {name}(ctx: &Ctx{all})`");
            match first {
                Some(first) => errors.on(first, message),
                None => errors.at(parse::parentheses(sig), message),
            }
        }
    }
    let mut is_known = true;
    if let ReturnType::Type(_, ty) = &sig.output
        && let Some(hidden) = parse::impl_trait(ty)
    {
        errors.on(hidden, format!("call `{name}` must name the type that it returns\nits caller decodes that type"));
        is_known = false;
    }
    let arguments = arguments.iter().enumerate();
    let checked: Vec<_> = arguments.map(|(at, argument)| check_argument(&name, at, argument, errors)).collect();
    checked.into_iter().collect::<Option<Vec<_>>>().filter(|_| is_known)
}

/// Checks an argument. Returns its name, and the type that it should have.
fn check_argument(call: &str, at: usize, argument: &FnArg, errors: &mut Errors) -> Option<(Ident, Type)> {
    let FnArg::Typed(argument) = argument else { return None };
    let ty = &*argument.ty;
    let ident = match &*argument.pat {
        Pat::Ident(pat) if pat.subpat.is_none() && pat.by_ref.is_none() => Some(pat.ident.clone()),
        _ => None,
    };
    let Some(ident) = ident else {
        let message = format!("an argument of call `{call}` needs a name, because clients give arguments by name");
        errors.on(&argument.pat, format!("{message}\nwrite for example `value: {}`", written(ty)));
        return Some((format_ident!("__argument_{at}"), ty.clone()));
    };
    let name = ident.unraw().to_string();
    if let Some(generic) = parse::impl_trait(ty) {
        let message = format!("argument `{name}` of call `{call}` needs a type that a client can send");
        let owned = owned_of(&generic);
        errors.on(
            generic,
            match &owned {
                Some(owned) => format!("{message}\nwrite `{name}: {}`", written(owned)),
                None => format!("{message}\nwrite that type, for example `{name}: String`"),
            },
        );
        return owned.map(|owned| (ident, owned));
    }
    if let Type::Reference(reference) = parse::ungrouped(ty) {
        let owned = match written(&reference.elem).as_str() {
            "str" => "String".to_owned(),
            "Ctx" | "Peer" => {
                let message = format!("call `{call}` has one `&Ctx`, its first parameter");
                errors.on(ty, format!("{message}\n`ctx.sender()` is the peer that called"));
                return None;
            }
            other => match parse::ungrouped(&reference.elem) {
                Type::Slice(slice) => format!("Vec<{}>", written(&slice.elem)),
                _ => other.to_owned(),
            },
        };
        let message = format!("argument `{name}` of call `{call}` must be owned, because it is decoded from the call");
        errors.on(ty, format!("{message}\nwrite `{name}: {owned}`"));
        return syn::parse_str(&owned).ok().map(|owned| (ident, owned));
    }
    if let Some(borrow) = borrow_in(ty.to_token_stream()) {
        let message = format!("argument `{name}` of call `{call}` must be owned, because it is decoded from the call");
        errors.on(borrow, format!("{message}\nuse a type without references and lifetimes, for example `String`"));
        return None;
    }
    Some((ident, ty.clone()))
}

/// The type that is meant by `impl Into<T>` and the like.
fn owned_of(generic: &TokenStream) -> Option<Type> {
    let bounds = syn::parse2::<TypeImplTrait>(generic.clone()).ok()?.bounds;
    let TypeParamBound::Trait(bound) = bounds.first()? else { return None };
    let last = bound.path.segments.last()?;
    match (last.ident.to_string().as_str(), &last.arguments) {
        ("ToString" | "Display", _) => Some(parse_quote!(String)),
        ("AsRef" | "Borrow" | "Into", PathArguments::AngleBracketed(arguments)) => match arguments.args.first()? {
            GenericArgument::Type(ty) if written(ty) == "str" => Some(parse_quote!(String)),
            GenericArgument::Type(ty) if !written(ty).contains(['&', '\'', '[']) => Some(ty.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The first reference or lifetime in a type, unless it is `'static` without a reference.
fn borrow_in(ty: TokenStream) -> Option<TokenStream> {
    let mut tokens = ty.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match (token, tokens.peek()) {
            (TokenTree::Punct(and), _) if and.as_char() == '&' => {
                return Some(std::iter::once(TokenTree::Punct(and)).chain(tokens).take_while(is_in_type).collect());
            }
            (TokenTree::Punct(tick), Some(TokenTree::Ident(name))) if tick.as_char() == '\'' && name != "static" => {
                return Some(quote!(#tick #name));
            }
            (TokenTree::Group(group), _) => {
                if let Some(found) = borrow_in(group.stream()) {
                    return Some(found);
                }
            }
            _ => {}
        }
    }
    None
}

/// True for the tokens of a simple reference, for an error about it.
fn is_in_type(token: &TokenTree) -> bool {
    !matches!(token, TokenTree::Punct(punct) if matches!(punct.as_char(), '>' | ','))
}

/// True for a reference to a type that can be the room's context.
fn is_ctx(ty: &Type) -> bool {
    match parse::ungrouped(ty) {
        Type::Reference(reference) if reference.mutability.is_none() => match parse::ungrouped(&reference.elem) {
            Type::Path(path) => {
                path.path.segments.last().is_some_and(|last| last.ident == "Ctx" || last.ident == "RoomContext")
            }
            _ => false,
        },
        _ => false,
    }
}

fn span_of_ctx(first: &FnArg) -> Span {
    match first {
        FnArg::Typed(first) => match parse::ungrouped(&first.ty) {
            Type::Reference(reference) => reference.elem.to_token_stream().span(),
            ty => ty.span(),
        },
        FnArg::Receiver(receiver) => receiver.span(),
    }
}

impl Call {
    fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The type of the arguments.
    fn ty(&self) -> Ident {
        format_ident!("__call_{}", self.ident.unraw())
    }

    /// The return type as the runtime takes it, and the conversion of a returned value.
    fn returns(&self, krate: &Path) -> (TokenStream, Option<TokenStream>) {
        match &self.returns {
            ReturnType::Default => (quote!(#krate::__private::Plain<()>), Some(quote!(#krate::__private::Plain))),
            ReturnType::Type(_, ty) => {
                let last = match parse::ungrouped(ty) {
                    Type::Path(path) => path.path.segments.last(),
                    _ => None,
                };
                match last.is_some_and(|last| last.ident == "Result") {
                    true => (ty.to_token_stream(), None),
                    false => {
                        // The span of the type, for the error about it.
                        let span = ty.to_token_stream().span();
                        let plain = expand::respanned(quote!(#krate::__private::Plain), span);
                        (quote_spanned!(span=> #plain<#ty>), Some(quote!(#krate::__private::Plain)))
                    }
                }
            }
        }
    }

    /// Rejects another name of `Result`: its errors would be values.
    fn check_alias(&self, krate: &Path) -> Option<TokenStream> {
        let (_, convert) = self.returns(krate);
        let (Some(_), ReturnType::Type(_, ty)) = (convert, &self.returns) else { return None };
        // A type of another form, for example a tuple, is no alias.
        let Type::Path(_) = parse::ungrouped(ty) else { return None };
        let (cfgs, name) = (&self.cfgs, self.name());
        let message = format!(
            "call `{name}` returns another name of `Result`, whose errors would be values: write `Result<…>` as its type"
        );
        let span = ty.to_token_stream().span();
        let private = expand::respanned(quote!(#krate::__private), span);
        Some(quote_spanned! {span=>
            #(#cfgs)*
            const _: () = {
                #[allow(unused_imports)]
                use #private::NoResult as _;
                ::core::assert!(!#private::IsResult::<#ty>::IS_RESULT, #message)
            };
        })
    }

    /// The arguments as a type, and the function on it.
    fn callable(&self, krate: &Path, room: &Ident, is_sketch: bool) -> TokenStream {
        let Call { ident, cfgs, is_for_workers, is_async, ctx_span, arguments, .. } = self;
        let (private, ty, name) = (quote!(#krate::__private), self.ty(), self.name());
        let (names, types): (Vec<_>, Vec<_>) = arguments.iter().map(|(name, ty)| (name, ty)).unzip();
        let (returns, convert) = self.returns(krate);
        let body = match is_sketch {
            true => quote!(::core::unreachable!()),
            false => {
                let binder = Ident::new("__ctx", *ctx_span);
                let ctx = expand::call_at(*ctx_span, quote!(#private::CtxParameter::pass), quote!(#binder));
                let call = quote!(#ident(#ctx #(, #names)*));
                let awaited = is_async.then(|| quote!(.await));
                let returned = match convert {
                    Some(convert) => quote!(#convert(#call #awaited)),
                    None => quote!(#call #awaited),
                };
                quote! {
                    let Self { #(#names),* } = self;
                    #returned
                }
            }
        };
        let binder = Ident::new("__ctx", *ctx_span);
        let by_peers = !is_for_workers;
        let not_a_result = self.check_alias(krate);
        let serde_path = quote!(#private::serde).to_string().replace(' ', "");
        let schema = bindings::derive_inline(krate);
        quote! {
            #(#cfgs)*
            #[doc(hidden)]
            #[allow(missing_docs, non_camel_case_types, clippy::exhaustive_structs, clippy::empty_structs_with_brackets)]
            #[derive(#private::serde::Serialize, #private::serde::Deserialize)]
            #[serde(crate = #serde_path, deny_unknown_fields)]
            #schema
            pub struct #ty {
                #(#names: #types,)*
            }
            #not_a_result
            #(#cfgs)*
            #[automatically_derived]
            #[allow(deprecated)]
            impl #private::RoomCall for #ty {
                type Room = #room;
                type Returns = #returns;
                const NAME: &'static str = #name;
                const BY_PEERS: bool = #by_peers;
                #[allow(unused_variables, clippy::unused_async)]
                async fn run(self, #binder: &#krate::RoomContext<#room>) -> Self::Returns {
                    #body
                }
            }
        }
    }

    /// The method of the callers.
    fn method(&self, krate: &Path, room: &Ident) -> TokenStream {
        let Call { ident, cfgs, notes, is_for_workers, arguments, .. } = self;
        let (private, ty) = (quote!(#krate::__private), self.ty());
        let (names, types): (Vec<_>, Vec<_>) = arguments.iter().map(|(name, ty)| (name, ty)).unzip();
        let only = is_for_workers.then(|| quote!(where Self: #private::WorkerCaller<#room>));
        quote! {
            #(#cfgs)*
            #(#notes)*
            fn #ident(&self #(, #names: #types)*) -> Self::Returned<#ty> #only {
                #private::Caller::call_function(self, #ty { #(#names),* })
            }
        }
    }

    /// The entry for the description of the room, under the feature `bindings`.
    pub(crate) fn described(&self, krate: &Path, doc: &str) -> TokenStream {
        let (cfgs, ty) = (&self.cfgs, self.ty());
        quote!(#(#cfgs)* #krate::bindings::Calls::add_call::<#ty>(__calls, #doc);)
    }

    /// The bound under which the call can be described.
    pub(crate) fn describable(&self, krate: &Path) -> TokenStream {
        let ty = self.ty();
        quote!(for<'__a> #ty: #krate::bindings::DescribedCall<'__a>)
    }

    /// True if `cfg` can remove the function.
    pub(crate) fn is_conditional(&self) -> bool {
        !self.cfgs.is_empty()
    }

    pub(crate) fn notes(&self) -> &[Attribute] {
        &self.notes
    }

    /// True if this is the function.
    pub(crate) fn is(&self, function: &Function) -> bool {
        self.ident == function.sig.ident
    }
}

/// The constant with the functions of a room. A room without functions has none.
pub(crate) fn table(calls: &[Call], krate: &Path) -> Option<TokenStream> {
    let entries = calls.iter().map(|call| {
        let (cfgs, ty) = (&call.cfgs, call.ty());
        quote!(#(#cfgs)* #krate::__private::CallEntry::of::<#ty>())
    });
    (!calls.is_empty()).then(|| quote!(const CALLS: &'static [#krate::__private::CallEntry<Self>] = &[#(#entries),*];))
}

/// The types of the calls, and the trait with their methods.
pub(crate) fn items(calls: &[Call], krate: &Path, module: &Ident, room: &Ident, is_sketch: bool) -> TokenStream {
    if calls.is_empty() {
        return TokenStream::new();
    }
    let callables = calls.iter().map(|call| call.callable(krate, room, is_sketch));
    let methods = calls.iter().map(|call| call.method(krate, room));
    let (private, name) = (quote!(#krate::__private), format_ident!("{TRAIT}"));
    let doc = format!(
        "The calls of the room `{}`, as methods of its handle in a Worker, of the handle in another room, and in tests of \
         the room and its peers. Import it to use them.",
        module.unraw()
    );
    quote! {
        #(#callables)*
        #[doc = #doc]
        #[allow(dead_code, missing_docs)]
        pub trait #name: #private::Caller<#room> {
            #(#methods)*
        }
        #[automatically_derived]
        impl<__C: #private::Caller<#room>> #name for __C {}
    }
}
