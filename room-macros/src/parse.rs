//! Tokens → [`RoomModule`]. Judges nothing beyond whether it is a module with a body.
//!
//! The bodies of functions stay tokens: one that is being typed right now keeps the rest alive in an editor.

use proc_macro2::{Group, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Ident, Item, Signature, Token, Visibility,
    parse::{ParseStream, Parser, discouraged::Speculative},
    token,
};

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
}

/// A function with its body unread.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Function { attrs, vis, sig, body } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}

impl ToTokens for ModuleItem {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            ModuleItem::Fn(function) => function.to_tokens(tokens),
            ModuleItem::Other(item) => item.to_tokens(tokens),
        }
    }
}

/// What was annotated.
#[derive(Debug)]
pub(crate) enum Annotated {
    Module(RoomModule),
    /// `mod chat;`: the module, empty, and the tokens to put the error on.
    WithoutBody(RoomModule, TokenStream),
}

/// The module in `tokens`.
pub(crate) fn module(tokens: TokenStream) -> syn::Result<Annotated> {
    parse_module.parse2(tokens)
}

fn parse_module(input: ParseStream<'_>) -> syn::Result<Annotated> {
    let mut attrs = input.call(Attribute::parse_outer)?;
    let vis: Visibility = input.parse()?;
    if !input.peek(Token![mod]) {
        let keyword: TokenStream = input.parse()?;
        let keyword = keyword.into_iter().next();
        return Err(syn::Error::new_spanned(
            keyword,
            "`#[room]` goes on a module\nwrap this in `pub mod chat { … }` with the room's schemas and handlers",
        ));
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
        items.push(parse_item(&content)?);
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
    })
}

impl RoomModule {
    /// Takes `self` parameters away from functions, which have been reported: rustc would do so once more.
    pub(crate) fn drop_receivers(&mut self) {
        for item in &mut self.items {
            if let ModuleItem::Fn(Function { sig, .. }) = item
                && sig.receiver().is_some()
            {
                sig.inputs = std::mem::take(&mut sig.inputs).into_iter().skip(1).collect();
            }
        }
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = &Function> {
        self.items.iter().filter_map(|item| match item {
            ModuleItem::Fn(function) => Some(function),
            ModuleItem::Other(_) => None,
        })
    }

    /// The names that the module's own items and imports bind, with where.
    pub(crate) fn names(&self) -> Vec<Ident> {
        let mut names = Vec::new();
        for item in &self.items {
            match item {
                ModuleItem::Fn(_) => {}
                ModuleItem::Other(Item::Struct(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Enum(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Union(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Type(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Trait(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::TraitAlias(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Mod(item)) => names.push(item.ident.clone()),
                ModuleItem::Other(Item::Use(item)) => imported(&item.tree, &mut names),
                ModuleItem::Other(_) => {}
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

/// An item that binds a name that was asked for.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    /// Where it is written.
    pub(crate) ident: Ident,
    /// Which of the module's items it is.
    pub(crate) index: usize,
}

/// The items that bind one of these names, if they are of the kinds that can be a schema.
pub(crate) fn declared<const N: usize>(module: &RoomModule, names: [&'static str; N]) -> Vec<Declared> {
    let mut declared = Vec::new();
    for (index, item) in module.items.iter().enumerate() {
        let ModuleItem::Other(item) = item else { continue };
        let mut bound = Vec::new();
        match item {
            Item::Struct(item) => bound.push(item.ident.clone()),
            Item::Enum(item) => bound.push(item.ident.clone()),
            Item::Union(item) => bound.push(item.ident.clone()),
            Item::Type(item) => bound.push(item.ident.clone()),
            Item::Trait(item) => bound.push(item.ident.clone()),
            Item::Use(item) => imported(&item.tree, &mut bound),
            _ => {}
        }
        for ident in bound {
            let name = names.into_iter().find(|name| ident == name);
            declared.extend(name.map(|name| Declared { name, ident, index }));
        }
    }
    declared
}

/// Where a function's parameter list is, with its parentheses.
pub(crate) fn parentheses(sig: &Signature) -> proc_macro2::Span {
    sig.paren_token.span.join()
}
