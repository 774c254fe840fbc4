//! The options in `#[room(…)]`, and those within an option: which are given. Their values are for `check`.

use darling::ast::NestedMeta;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Expr, Lit, Meta, Path};

use crate::{
    diag::{self, Errors},
    expand,
};

/// What `#[room]` takes.
const OPTIONS: [&str; 15] = [
    "binding",
    "class",
    "tag",
    "max_peers",
    "max_message_bytes",
    "max_unread_bytes",
    "rate_limit",
    "on_invalid",
    "heartbeat",
    "state_version",
    "reconnect_grace",
    "purge_after",
    "batch",
    "watchdog",
    "crate",
];

/// A list of options as written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) given: Vec<Given>,
    /// The options that are meant, also by a key that is wrong: all of them where that cannot be told.
    pub(crate) meant: Vec<&'static str>,
}

/// An option as written. Of each name there is one.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) name: String,
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
    /// `class = …`, where that is no expression.
    Unreadable(TokenStream),
}

impl Given {
    /// Its value, if that is a literal.
    pub(crate) fn literal(&self) -> Option<&Lit> {
        match &self.value {
            Value::Is(value) => literal(value),
            _ => None,
        }
    }

    /// Where a value of the wrong kind is.
    pub(crate) fn fault(&self) -> TokenStream {
        match &self.value {
            Value::Is(value) => value.to_token_stream(),
            Value::Unreadable(tokens) if !tokens.is_empty() => tokens.clone(),
            _ => self.key.to_token_stream(),
        }
    }
}

/// The literal in an expression: in parentheses as well, and in the invisible group of a `macro_rules!` fragment.
pub(crate) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(value) => Some(&value.lit),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        _ => None,
    }
}

/// The path that `crate = "…"` gives, at the place of the text.
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
    // rustc would say it of every path in the expansion.
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

/// Reads the options of `#[room]`.
pub(crate) fn parse(tokens: TokenStream) -> (Written, Errors) {
    let mut errors = Errors::default();
    let options = list("#[room]", &OPTIONS, tokens, &mut errors);
    (options, errors)
}

/// Reads a list of options; whatever is wrong with one does not keep the others from counting.
pub(crate) fn list(owner: &str, known: &[&'static str], tokens: TokenStream, errors: &mut Errors) -> Written {
    let metas = match NestedMeta::parse_meta_list(tokens) {
        Ok(metas) => metas,
        Err(error) => {
            errors.push(error);
            return Written { given: Vec::new(), meant: known.to_vec() };
        }
    };
    let the_options = || format!("the options are {}", diag::list(known.iter().copied()));
    let Written { mut given, mut meant } = Written::default();
    let mut has_literal = false;
    for meta in metas {
        let (key, value) = match meta {
            NestedMeta::Meta(Meta::Path(path)) => (path, Value::Nothing),
            NestedMeta::Meta(Meta::NameValue(meta)) => (meta.path, Value::Is(meta.value)),
            NestedMeta::Meta(Meta::List(meta)) => (meta.path, Value::List(meta.tokens)),
            NestedMeta::NameValueInvalidExpr(meta) => (meta.path, Value::Unreadable(meta.value)),
            NestedMeta::Lit(literal) => {
                // Who leaves out one name leaves out all of them.
                if !has_literal {
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
        if option.is_none() {
            let similar = match similar {
                Some(option) => format!("a similar option exists: `{option}`\n"),
                None => String::new(),
            };
            errors.on(key, format!("unknown `{owner}` option `{name}`\n{similar}{}", the_options()));
        } else if given.iter().any(|other| other.name == name) {
            errors.on(key, format!("option `{name}` is given twice\nremove one of them"));
        } else {
            given.push(Given { name, key, value });
        }
    }
    Written { given, meant }
}
