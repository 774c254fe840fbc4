//! The options in `#[room(…)]`.

use darling::{FromMeta, ast::NestedMeta, util::SpannedValue};
use proc_macro2::TokenStream;
use quote::ToTokens;

use crate::diag::{self, Errors};

/// The options as written; their defaults depend on the module.
#[derive(Debug, Default, FromMeta)]
pub(crate) struct Args {
    #[darling(default)]
    pub(crate) binding: Option<SpannedValue<String>>,
    #[darling(default)]
    pub(crate) class: Option<SpannedValue<String>>,
    #[darling(default)]
    pub(crate) tag: Option<SpannedValue<String>>,
    #[darling(default, rename = "crate")]
    pub(crate) krate: Option<syn::Path>,
}

const OPTIONS: [&str; 4] = ["binding", "class", "tag", "crate"];

/// Reads the options; whatever is wrong with one does not keep the others from counting.
pub(crate) fn parse(tokens: TokenStream) -> (Args, Errors) {
    let mut errors = Errors::default();
    let metas = match NestedMeta::parse_meta_list(tokens) {
        Ok(metas) => metas,
        Err(error) => {
            errors.push(error);
            return (Args::default(), errors);
        }
    };
    let mut known: Vec<NestedMeta> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for meta in metas {
        let NestedMeta::Meta(named) = &meta else {
            errors.on(&meta, format!("expected an option of `#[room]`\nthe options are {}", diag::list(OPTIONS)));
            continue;
        };
        let name = named.path().to_token_stream().to_string();
        if !OPTIONS.contains(&&*name) {
            errors.on(named.path(), unknown(&name));
        } else if seen.contains(&name) {
            errors.on(named.path(), format!("option `{name}` is given twice\nremove one of them"));
        } else if let (syn::Meta::NameValue(_), Ok(_)) = (named, Args::from_list(std::slice::from_ref(&meta))) {
            known.push(meta);
        } else {
            errors.on(named, format!("option `{name}` takes a text\nwrite `{name} = \"…\"`"));
        }
        seen.push(name);
    }
    match Args::from_list(&known) {
        Ok(args) => (args, errors),
        Err(error) => {
            errors.at(error.span(), error);
            (Args::default(), errors)
        }
    }
}

fn unknown(name: &str) -> String {
    let similar = match diag::similar(name, OPTIONS) {
        Some(option) => format!("a similar option exists: `{option}`\n"),
        None => String::new(),
    };
    format!("unknown `#[room]` option `{name}`\n{similar}the options are {}", diag::list(OPTIONS))
}
