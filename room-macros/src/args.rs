//! Parses the options in `#[room(…)]`, and nested options. `check` validates their values.

use darling::ast::NestedMeta;
use proc_macro2::{Delimiter, Group, Punct, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Expr, Lit, Meta, Path};

use crate::{
    check::written,
    diag::{self, Errors},
    options,
};

/// A list of options as written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) given: Vec<Given>,
    /// The options that the user meant, including misspelled ones. If that is unclear, all options.
    pub(crate) meant: Vec<&'static str>,
}

/// One option as written; a list contains each name once.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) name: &'static str,
    pub(crate) key: Path,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// `class`
    Nothing,
    /// `class = …`
    Is(Expr),
    /// `class(…)`
    List(TokenStream),
    /// `class = …` with tokens that are not an expression.
    Unreadable(TokenStream),
}

impl Given {
    /// The option's value, if it is a literal.
    pub(crate) fn literal(&self) -> Option<&Lit> {
        match &self.value {
            Value::Is(value) => literal(value),
            _ => None,
        }
    }

    /// The tokens to report for a value of the wrong kind.
    pub(crate) fn fault(&self) -> TokenStream {
        match &self.value {
            Value::Is(value) => value.to_token_stream(),
            Value::Unreadable(tokens) if !tokens.is_empty() => tokens.clone(),
            _ => self.key.to_token_stream(),
        }
    }
}

/// The literal in an expression, also inside parentheses or the invisible group of a `macro_rules!` fragment.
pub(crate) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(value) => Some(&value.lit),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        _ => None,
    }
}

/// Reads the options of `#[room]`.
pub(crate) fn parse(tokens: TokenStream) -> (Written, Errors) {
    let mut errors = Errors::default();
    let options = list("#[room]", &options::names(), tokens, &mut errors);
    (options, errors)
}

/// Reads a list of options. A mistake in one option does not discard the others.
pub(crate) fn list(owner: &str, known: &[&'static str], tokens: TokenStream, errors: &mut Errors) -> Written {
    let the_options = || format!("the options are {}", diag::list(known.iter().copied()));
    let Written { mut given, mut meant } = Written::default();
    let mut has_literal = false;
    let mut misread = Vec::new();
    for segment in segments(tokens) {
        let meta = match read(&segment) {
            Ok(meta) => meta,
            Err(error) => {
                meant.extend(meant_by(&segment, known));
                // Options written in the syntax of another language share one error.
                let kind = error.to_string().split('`').next().map(str::to_owned);
                if !misread.contains(&kind) {
                    errors.push(error);
                    misread.push(kind);
                }
                continue;
            }
        };
        let (key, value) = match key_and_value(meta) {
            Ok(option) => option,
            Err(literal) => {
                // If one name is missing, usually all are, so one error is enough.
                if !has_literal && !is_key_value() {
                    errors.on(&literal, format!("expected an option of `{owner}`, not a value\n{}", the_options()));
                }
                has_literal = true;
                meant.extend(known);
                continue;
            }
        };
        let name = key.to_token_stream().to_string().replace("r#", "");
        let option = known.iter().copied().find(|option| *option == name);
        let similar = diag::similar(&name, known.iter().copied());
        meant.extend(option.or(similar));
        let Some(option) = option else {
            let similar = match similar {
                Some(option) => format!("a similar option exists: `{option}`\n"),
                None => String::new(),
            };
            errors.on(key, format!("unknown `{owner}` option `{name}`\n{similar}{}", the_options()));
            continue;
        };
        if given.iter().any(|other| other.name == option) {
            errors.on(key, format!("option `{option}` is given twice\nremove one of them"));
        } else {
            given.push(Given { name: option, key, value });
        }
    }
    Written { given, meant }
}

/// The options that an unreadable segment may mean: its first token names one, on which the rest of the room may depend.
fn meant_by(segment: &Segment, known: &[&'static str]) -> Vec<&'static str> {
    let first = segment.tokens.clone().into_iter().next().map(|key| key.to_string().replace('"', ""));
    let similar = first.and_then(|key| diag::similar(&key, known.iter().copied()));
    similar.map_or_else(|| known.to_vec(), |similar| vec![similar])
}

/// Splits an option, or returns the literal in its place.
fn key_and_value(meta: NestedMeta) -> Result<(Path, Value), Lit> {
    match meta {
        NestedMeta::Meta(Meta::Path(path)) => Ok((path, Value::Nothing)),
        NestedMeta::Meta(Meta::NameValue(meta)) => Ok((meta.path, Value::Is(meta.value))),
        NestedMeta::Meta(Meta::List(meta)) => Ok((meta.path, Value::List(meta.tokens))),
        NestedMeta::NameValueInvalidExpr(meta) => Ok((meta.path, Value::Unreadable(meta.value))),
        NestedMeta::Lit(literal) => Err(literal),
    }
}

/// The tokens between two commas.
struct Segment {
    tokens: TokenStream,
    /// The comma after the segment.
    comma: Option<Punct>,
}

fn segments(tokens: TokenStream) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut current = TokenStream::new();
    for token in tokens {
        match token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => {
                segments.push(Segment { tokens: std::mem::take(&mut current), comma: Some(comma) });
            }
            token => current.extend([token]),
        }
    }
    if !current.is_empty() {
        segments.push(Segment { tokens: current, comma: None });
    }
    segments
}

/// Parses the option in a segment, or returns a syntax error.
fn read(segment: &Segment) -> syn::Result<NestedMeta> {
    let Segment { tokens, comma } = segment;
    if let (true, Some(comma)) = (tokens.is_empty(), comma) {
        return Err(syn::Error::new(comma.span(), "expected an option before this comma\nremove the comma"));
    }
    let error = match NestedMeta::parse_meta_list(tokens.clone()) {
        Ok(metas) => match metas.into_iter().next() {
            Some(meta) if !compares(tokens) => return Ok(meta),
            _ => syn::Error::new_spanned(tokens, "expected an option"),
        },
        Err(error) => error,
    };
    Err(misread(&tokens.clone().into_iter().collect::<Vec<_>>()).unwrap_or(error))
}

/// True for an attribute `#[room = …]`, which rustc rejects itself.
fn is_key_value() -> bool {
    let attribute = Span::call_site().source_text().unwrap_or_default();
    let inner = attribute.strip_prefix("#[").unwrap_or_default();
    inner.chars().find(|sign| "=([{".contains(*sign)) == Some('=')
}

/// True for `key == …` and `key => …`; darling would read the second sign as the start of the value.
fn compares(tokens: &TokenStream) -> bool {
    let mut tokens = tokens.clone().into_iter().skip(1);
    let is = |token: Option<TokenTree>, signs: &str| matches!(token, Some(TokenTree::Punct(punct)) if signs.contains(punct.as_char()));
    is(tokens.next(), "=") && is(tokens.next(), "=>")
}

/// The error for the option syntax of other languages and macros.
fn misread(tokens: &[TokenTree]) -> Option<syn::Error> {
    let error = |at: &dyn ToTokens, message: String| Some(syn::Error::new_spanned(at.to_token_stream(), message));
    let text = |tokens: &[TokenTree]| written(&tokens.iter().cloned().collect::<TokenStream>());
    if let Some(semicolon) = tokens.iter().find(|token| is_punct(token, ';')) {
        return error(semicolon, "expected a comma between options, not `;`".to_owned());
    }
    match tokens {
        [TokenTree::Group(group)] if matches!(group.delimiter(), Delimiter::Brace | Delimiter::Bracket) => {
            let message = "expected options without braces around them\nwrite for example `max_peers = 1000, on_invalid = \"close\"`";
            error(group, message.to_owned())
        }
        [TokenTree::Literal(key), sign, value @ ..] if is_punct(sign, '=') || is_punct(sign, ':') => {
            let name = key.to_string().replace('"', "");
            error(key, format!("the name of an option is not quoted\nwrite `{name} = {}`", text(value)))
        }
        [TokenTree::Ident(key), TokenTree::Group(group)] if group.delimiter() != Delimiter::Parenthesis => {
            let message = format!("option `{key}` is not written with `{}`", braces(group));
            error(group, format!("{message}\nwrite `{key}(…)` or `{key} = …`"))
        }
        [TokenTree::Ident(key), sign, rest @ ..] if matches!(sign, TokenTree::Punct(_)) => {
            let more = rest
                .iter()
                .take_while(|token| matches!(token, TokenTree::Punct(punct) if ":=>".contains(punct.as_char())));
            let (more, value) = rest.split_at(more.count());
            if let (true, [TokenTree::Ident(_), ..]) = (is_punct(sign, '-'), value) {
                let written = tokens.iter().take_while(|token| !is_punct(token, '='));
                let name: String = written.map(ToString::to_string).collect();
                let name = name.replace('-', "_");
                return error(key, format!("the name of an option has no `-`\nwrite `{name}`"));
            }
            if is_punct(sign, '=') && more.is_empty() {
                return without_comma(tokens);
            }
            let signs: String = std::iter::once(sign).chain(more).map(ToString::to_string).collect();
            let option = match value {
                [] => format!("{key} = …"),
                [TokenTree::Group(list)] => format!("{key}({})", written(&list.stream())),
                value => format!("{key} = {}", text(value)),
            };
            error(sign, format!("expected `=` after `{key}`, not `{signs}`\nwrite `{option}`"))
        }
        _ => without_comma(tokens),
    }
}

/// An error on the option that follows another one without a comma.
fn without_comma(tokens: &[TokenTree]) -> Option<syn::Error> {
    let key = tokens.windows(3).find_map(|three| {
        let [before, key, after] = three else { return None };
        let follows = !matches!(before, TokenTree::Punct(_));
        let is_key = matches!(key, TokenTree::Ident(_));
        let has_value = match after {
            TokenTree::Punct(punct) => matches!(punct.as_char(), '=' | ':'),
            TokenTree::Group(_) => true,
            _ => false,
        };
        (follows && is_key && has_value).then_some(key)
    })?;
    Some(syn::Error::new_spanned(key, format!("expected a comma before option `{key}`")))
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn braces(group: &Group) -> &'static str {
    if group.delimiter() == Delimiter::Brace { "{ … }" } else { "[ … ]" }
}
