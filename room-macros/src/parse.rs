//! Tokens → [`RoomModule`]. The only error here is about an item that is not a module.
//!
//! The bodies of functions stay tokens, so that a half-typed body does not break the rest of the module in an editor.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, GenericArgument, Ident, Item, PathArguments, Signature, Token, Type, Visibility,
    ext::IdentExt,
    parse::{ParseStream, Parser, discouraged::Speculative},
    parse_quote, token,
};

use crate::attrs;

/// True if the identifier is this name, raw or not.
pub(crate) fn is(ident: &Ident, name: &str) -> bool {
    ident.unraw() == name
}

/// The annotated module, as written.
#[derive(Debug)]
pub(crate) struct RoomModule {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) ident: Ident,
    pub(crate) items: Vec<ModuleItem>,
}

#[derive(Debug)]
pub(crate) enum ModuleItem {
    Fn(Function),
    Other(Item),
    Unread(Unread),
}

/// An item that could not be parsed: it is being typed, or its syntax is newer than syn.
#[derive(Debug)]
pub(crate) struct Unread {
    tokens: TokenStream,
    /// The name of the item, if it is recognizable.
    pub(crate) name: Option<Ident>,
    pub(crate) error: syn::Error,
}

/// A function with its body unread.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
    /// True if it had `#[call]`.
    pub(crate) is_call: bool,
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Function { attrs, vis, sig, body, is_call: _ } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}

impl ToTokens for ModuleItem {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            ModuleItem::Fn(function) => function.to_tokens(tokens),
            ModuleItem::Other(item) => item.to_tokens(tokens),
            ModuleItem::Unread(item) => item.tokens.to_tokens(tokens),
        }
    }
}

/// The annotated item.
#[derive(Debug)]
pub(crate) enum Annotated {
    Module(RoomModule),
    /// `mod chat;`: an empty module, and the tokens for the error.
    WithoutBody(RoomModule, TokenStream),
}

/// Parses the module in `tokens`.
pub(crate) fn module(tokens: TokenStream) -> syn::Result<Annotated> {
    parse_module.parse2(tokens)
}

fn parse_module(input: ParseStream<'_>) -> syn::Result<Annotated> {
    let mut attrs = input.call(Attribute::parse_outer)?;
    let vis: Visibility = input.parse()?;
    if !input.peek(Token![mod]) {
        let item: TokenStream = input.parse()?;
        let keyword = item.into_iter().next();
        let found = keyword.as_ref().map_or_else(String::new, |keyword| format!(", not on a `{keyword}`"));
        let advice = "wrap this in `pub mod chat { … }` with the room's schemas and handlers";
        return Err(syn::Error::new_spanned(keyword, format!("`#[room]` goes on a module{found}\n{advice}")));
    }
    let keyword: Token![mod] = input.parse()?;
    let ident: Ident = input.parse()?;
    if input.peek(Token![;]) {
        let semicolon: Token![;] = input.parse()?;
        let whole = quote!(#keyword #ident #semicolon);
        return Ok(Annotated::WithoutBody(RoomModule { attrs, vis, ident, items: Vec::new() }, whole));
    }
    let content;
    let _brace: token::Brace = syn::braced!(content in input);
    attrs.extend(content.call(Attribute::parse_inner)?);
    let mut items = Vec::new();
    while !content.is_empty() {
        let ahead = content.fork();
        items.push(match parse_item(&ahead) {
            Ok(item) => {
                content.advance_to(&ahead);
                item
            }
            Err(error) => ModuleItem::Unread(pass_over(&content, error)?),
        });
    }
    Ok(Annotated::Module(RoomModule { attrs, vis, ident, items }))
}

fn parse_item(input: ParseStream<'_>) -> syn::Result<ModuleItem> {
    let ahead = input.fork();
    if let Ok(function) = parse_function(&ahead) {
        input.advance_to(&ahead);
        return Ok(ModuleItem::Fn(function));
    }
    input.parse().map(ModuleItem::Other)
}

/// Skips an item, up to its end, and keeps its tokens.
fn pass_over(input: ParseStream<'_>, error: syn::Error) -> syn::Result<Unread> {
    const KEYWORDS: [&str; 9] = ["struct", "enum", "union", "type", "trait", "fn", "mod", "const", "static"];

    let (mut tokens, mut name, mut follows, mut begun) = (TokenStream::new(), None, false, false);
    while !input.is_empty() {
        let token: TokenTree = input.parse()?;
        let is_end = match &token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Ident(ident) if follows => {
                name = name.or_else(|| Some(ident.clone()));
                false
            }
            _ => false,
        };
        follows = matches!(&token, TokenTree::Ident(ident) if KEYWORDS.contains(&&*ident.to_string()));
        begun |= follows;
        tokens.extend([token]);
        // A half-written item has no end, so the next item's beginning ends it.
        if is_end || (begun && (input.peek(Token![pub]) || input.peek(Token![#]))) {
            break;
        }
    }
    Ok(Unread { tokens, name, error })
}

fn parse_function(input: ParseStream<'_>) -> syn::Result<Function> {
    Ok(Function {
        attrs: input.call(Attribute::parse_outer)?,
        vis: input.parse()?,
        sig: input.parse()?,
        body: {
            if !input.peek(token::Brace) {
                return Err(input.error("expected a body"));
            }
            input.parse()?
        },
        is_call: false,
    })
}

impl RoomModule {
    /// Removes `self` parameters, which have been reported, from functions. rustc would report them again, with each
    /// `self` in the bodies.
    pub(crate) fn drop_receivers(&mut self) {
        for item in &mut self.items {
            if let ModuleItem::Fn(Function { sig, body, attrs, .. }) = item
                && sig.receiver().is_some()
            {
                sig.inputs = std::mem::take(&mut sig.inputs).into_iter().skip(1).collect();
                attrs.push(parse_quote!(#[allow(unused)]));
                *body = Group::new(Delimiter::Brace, quote!(::core::unreachable!()));
            }
        }
    }

    /// The index of the `struct` or `enum` of this name.
    pub(crate) fn own_type(&self, name: &Ident) -> Option<usize> {
        self.items.iter().position(|item| match item {
            ModuleItem::Other(item @ (Item::Struct(_) | Item::Enum(_))) => type_name(item) == Some(name),
            _ => false,
        })
    }

    /// The items that are no functions.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter_map(|item| match item {
            ModuleItem::Other(item) => Some(item),
            _ => None,
        })
    }

    /// Removes an attribute from the items that are no functions.
    pub(crate) fn remove_item_attributes(&mut self, name: &str) {
        for item in &mut self.items {
            if let ModuleItem::Other(item) = item
                && let Some(attrs) = item_attrs_mut(item)
            {
                attrs.retain(|attr| !attr.path().is_ident(name));
            }
        }
    }

    pub(crate) fn functions_mut(&mut self) -> impl Iterator<Item = &mut Function> {
        self.items.iter_mut().filter_map(|item| match item {
            ModuleItem::Fn(function) => Some(function),
            _ => None,
        })
    }

    /// Removes these items.
    pub(crate) fn remove(&mut self, indices: &[usize]) {
        let mut index = 0..;
        self.items.retain(|_| index.next().is_some_and(|index| !indices.contains(&index)));
    }

    /// The item at this index, if it was read and is no function.
    pub(crate) fn other(&self, index: usize) -> Option<&Item> {
        match self.items.get(index) {
            Some(ModuleItem::Other(item)) => Some(item),
            _ => None,
        }
    }

    pub(crate) fn other_mut(&mut self, index: usize) -> Option<&mut Item> {
        match self.items.get_mut(index) {
            Some(ModuleItem::Other(item)) => Some(item),
            _ => None,
        }
    }

    fn is_import(&self, index: usize) -> bool {
        matches!(self.other(index), Some(Item::Use(_)))
    }

    pub(crate) fn is_behind_cfg(&self, index: usize) -> bool {
        self.other(index).is_some_and(|item| !attrs::cfgs(item_attrs(item)).is_empty())
    }

    /// Adds attributes to functions, each given by the index of its item.
    pub(crate) fn mark(&mut self, attributes: Vec<(usize, Attribute)>) {
        for (index, attr) in attributes {
            if let Some(ModuleItem::Fn(function)) = self.items.get_mut(index) {
                function.attrs.push(attr);
            }
        }
    }

    pub(crate) fn unread(&self) -> impl Iterator<Item = &Unread> {
        self.items.iter().filter_map(|item| match item {
            ModuleItem::Unread(unread) => Some(unread),
            _ => None,
        })
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = &Function> {
        self.indexed_functions().map(|(_, function)| function)
    }

    /// The functions, each with the index of its item.
    pub(crate) fn indexed_functions(&self) -> impl Iterator<Item = (usize, &Function)> {
        self.items.iter().enumerate().filter_map(|(index, item)| match item {
            ModuleItem::Fn(function) => Some((index, function)),
            _ => None,
        })
    }

    /// True if anything in the module mentions this function, besides its definition.
    pub(crate) fn calls(&self, function: &Ident) -> bool {
        self.items.iter().any(|item| speaks_of(item.to_token_stream(), function))
    }

    /// The names, with their spans, that the module's own items and imports bind.
    pub(crate) fn names(&self) -> Vec<Ident> {
        let mut names = Vec::new();
        for item in &self.items {
            match item {
                ModuleItem::Fn(_) => {}
                ModuleItem::Unread(unread) => names.extend(unread.name.clone()),
                ModuleItem::Other(Item::TraitAlias(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Mod(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Use(item)) => imported(&item.tree, &mut names),
                ModuleItem::Other(item) => names.extend(type_name(item).cloned()),
            }
        }
        names
    }
}

fn imported(tree: &syn::UseTree, names: &mut Vec<Ident>) {
    match tree {
        syn::UseTree::Path(path) => imported(&path.tree, names),
        syn::UseTree::Name(name) => names.push(name.ident.clone()),
        syn::UseTree::Rename(rename) => names.push(rename.rename.clone()),
        syn::UseTree::Glob(_) => {}
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, names)),
    }
}

fn speaks_of(tokens: TokenStream, name: &Ident) -> bool {
    let mut defines = false;
    tokens.into_iter().any(|token| {
        let speaks = match &token {
            TokenTree::Ident(ident) => !defines && ident.unraw() == name.unraw(),
            TokenTree::Group(group) => speaks_of(group.stream(), name),
            _ => false,
        };
        defines = matches!(&token, TokenTree::Ident(ident) if ident == "fn");
        speaks
    })
}

/// An item that binds a requested name.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    /// The name at its definition.
    pub(crate) ident: Ident,
    /// The index of the item in the module.
    pub(crate) index: usize,
}

/// The items that bind one of these names, if their kind can be a schema.
pub(crate) fn declared<const N: usize>(module: &RoomModule, names: [&'static str; N]) -> Vec<Declared> {
    let declared = types(module).into_iter().filter_map(|(ident, index)| {
        let name = names.into_iter().find(|name| is(&ident, name))?;
        Some(Declared { name, ident, index })
    });
    let declared: Vec<_> = declared.collect();
    // If a type has the same name, rustc reports the import.
    let is_own = |item: &Declared| !module.is_import(item.index) && !module.is_behind_cfg(item.index);
    let clashes = |item: &Declared| declared.iter().any(|other| other.name == item.name && is_own(other));
    declared.iter().filter(|item| !module.is_import(item.index) || !clashes(item)).cloned().collect()
}

/// The names of the items that are or may be types, each with the index of its item.
pub(crate) fn types(module: &RoomModule) -> Vec<(Ident, usize)> {
    let mut types = Vec::new();
    for (index, item) in module.items.iter().enumerate() {
        let ModuleItem::Other(item) = item else { continue };
        let mut bound = Vec::new();
        match item {
            Item::Use(item) => imported(&item.tree, &mut bound),
            item => bound.extend(type_name(item).cloned()),
        }
        types.extend(bound.into_iter().map(|ident| (ident, index)));
    }
    types
}

pub(crate) fn type_name(item: &Item) -> Option<&Ident> {
    match item {
        Item::Struct(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        _ => None,
    }
}

pub(crate) fn item_attrs(item: &Item) -> &[Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn item_attrs_mut(item: &mut Item) -> Option<&mut Vec<Attribute>> {
    match item {
        Item::Struct(item) => Some(&mut item.attrs),
        Item::Enum(item) => Some(&mut item.attrs),
        Item::Union(item) => Some(&mut item.attrs),
        Item::Type(item) => Some(&mut item.attrs),
        Item::Use(item) => Some(&mut item.attrs),
        _ => None,
    }
}

pub(crate) fn add_attribute(item: &mut Item, attr: Attribute) {
    if let Some(attrs) = item_attrs_mut(item) {
        attrs.push(attr);
    }
}

/// The names among these tokens that do not follow a `::`.
pub(crate) fn single_names(tokens: TokenStream) -> Vec<Ident> {
    let mut names = Vec::new();
    let mut behind_colon = false;
    for token in tokens {
        match &token {
            TokenTree::Ident(ident) if !behind_colon => names.push(ident.clone()),
            TokenTree::Group(group) => names.extend(single_names(group.stream())),
            _ => {}
        }
        behind_colon = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':');
    }
    names
}

/// True if the item implements a trait of this name for the type, without generic arguments that make it another trait.
pub(crate) fn is_impl(item: &Item, ty: &Ident, name: &str) -> bool {
    let Item::Impl(item) = item else { return false };
    let of = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
    // `PartialEq<str>` is another trait.
    let is_over_others = |last: &syn::PathSegment| match &last.arguments {
        PathArguments::AngleBracketed(list) => list.args.iter().any(|arg| matches!(arg, GenericArgument::Type(_))),
        _ => false,
    };
    let names = single_names(item.self_ty.to_token_stream());
    of.is_some_and(|last| last.ident == name && !is_over_others(last)) && names.first() == Some(ty)
}

/// The traits of the list that the module implements for the type, under any `cfg`.
pub(crate) fn implemented<const N: usize>(
    module: &RoomModule,
    ty: &Ident,
    names: [&'static str; N],
) -> Vec<&'static str> {
    let of = |item: &ModuleItem, name: &str| match item {
        ModuleItem::Other(item @ Item::Impl(own)) => attrs::cfgs(&own.attrs).is_empty() && is_impl(item, ty, name),
        _ => false,
    };
    names.into_iter().filter(|name| module.items.iter().any(|item| of(item, name))).collect()
}

/// The item at this place in the module or in its inner modules.
pub(crate) fn at_place<'m>(module: &'m mut RoomModule, place: &[usize]) -> Option<&'m mut Item> {
    let (first, rest) = place.split_first()?;
    let ModuleItem::Other(item) = module.items.get_mut(*first)? else { return None };
    rest.iter().try_fold(item, |item, index| match item {
        Item::Mod(inner) => inner.content.as_mut()?.1.get_mut(*index),
        _ => None,
    })
}

/// Adds an item after the others of the innermost module that contains `place`.
pub(crate) fn add_beside(module: &mut RoomModule, place: &[usize], tokens: TokenStream) {
    match place.split_last() {
        Some((_, [])) | None => module.items.push(ModuleItem::Other(Item::Verbatim(tokens))),
        Some((_, inner)) => {
            if let Some(Item::Mod(inner)) = at_place(module, inner)
                && let Some((_, items)) = &mut inner.content
            {
                items.push(Item::Verbatim(tokens));
            }
        }
    }
}

/// True if an import contains a glob.
pub(crate) fn has_glob(tree: &syn::UseTree) -> bool {
    match tree {
        syn::UseTree::Glob(_) => true,
        syn::UseTree::Path(path) => has_glob(&path.tree),
        syn::UseTree::Group(group) => group.items.iter().any(has_glob),
        _ => false,
    }
}

/// The path of the first item macro, which may define types.
pub(crate) fn macro_call(module: &RoomModule) -> Option<&syn::Path> {
    module.items.iter().find_map(|item| match item {
        ModuleItem::Other(Item::Macro(item)) if item.ident.is_none() => {
            Some(&item.mac.path).filter(|path| path.segments.last().is_some_and(|last| last.ident != "thread_local"))
        }
        _ => None,
    })
}

/// The names of the list that nothing in the module binds.
pub(crate) fn unbound<const N: usize>(module: &RoomModule, names: [&'static str; N]) -> Vec<&'static str> {
    let bound = module.names();
    let is_bound = |name: &str| imports_all(module, |_| true) || bound.iter().any(|own| is(own, name));
    names.into_iter().filter(|name| !is_bound(name)).collect()
}

/// True if the module re-exports another module with a glob.
pub(crate) fn has_public_glob(module: &RoomModule) -> bool {
    imports_all(module, |vis| matches!(vis, Visibility::Public(_)))
}

/// True if the module has a glob import whose visibility satisfies `seen`.
fn imports_all(module: &RoomModule, seen: impl Fn(&Visibility) -> bool) -> bool {
    module.items.iter().any(|item| match item {
        ModuleItem::Other(Item::Use(item)) => seen(&item.vis) && has_glob(&item.tree),
        _ => false,
    })
}

/// The inner module that has a type of this name.
pub(crate) fn inner_type<'m>(module: &'m RoomModule, name: &str) -> Option<&'m Ident> {
    module.items.iter().find_map(|item| match item {
        ModuleItem::Other(Item::Mod(inner)) => {
            let (_, items) = inner.content.as_ref()?;
            items.iter().filter_map(type_name).any(|ident| is(ident, name)).then_some(&inner.ident)
        }
        _ => None,
    })
}

/// An item of this name that is neither a type nor a function with a body, and the kind of the item.
pub(crate) fn other_item(module: &RoomModule, name: &str) -> Option<(Ident, &'static str)> {
    module.items.iter().find_map(|item| {
        let (ident, what) = match item {
            ModuleItem::Fn(function) => (function.sig.ident.clone(), "fn"),
            ModuleItem::Other(Item::Const(item)) => (item.ident.clone(), "const"),
            ModuleItem::Other(Item::Static(item)) => (item.ident.clone(), "static"),
            ModuleItem::Other(Item::Mod(item)) => (item.ident.clone(), "mod"),
            ModuleItem::Other(Item::Use(item)) => {
                let mut names = Vec::new();
                imported(&item.tree, &mut names);
                (names.into_iter().find(|ident| is(ident, name))?, "use")
            }
            _ => return None,
        };
        is(&ident, name).then_some((ident, what))
    })
}

/// The tokens of `'static` in a reference.
pub(crate) fn static_lifetime(ty: &Type) -> Option<TokenStream> {
    match ty {
        Type::Reference(reference) => {
            let lifetime = reference.lifetime.as_ref().filter(|lifetime| lifetime.ident == "static");
            lifetime.map(ToTokens::to_token_stream)
        }
        Type::Paren(paren) => static_lifetime(&paren.elem),
        Type::Group(group) => static_lifetime(&group.elem),
        _ => None,
    }
}

/// The first `impl Trait` in a type.
pub(crate) fn impl_trait(ty: &Type) -> Option<TokenStream> {
    match ty {
        Type::ImplTrait(generic) => Some(generic.to_token_stream()),
        Type::Reference(reference) => impl_trait(&reference.elem),
        Type::Paren(paren) => impl_trait(&paren.elem),
        Type::Group(group) => impl_trait(&group.elem),
        _ => None,
    }
}

/// True if a function's signature ends before this token.
pub(crate) fn ends_signature(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    }
}

/// The span of a function's parameter list, with its parentheses.
pub(crate) fn parentheses(sig: &Signature) -> Span {
    sig.paren_token.span.join()
}

/// A type without its parentheses, and without the invisible group of a `macro_rules!` fragment.
pub(crate) fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        ty => ty,
    }
}
