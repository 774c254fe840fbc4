//! Collects errors, so that one run reports them all, and suggests similar names.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The errors of one run.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// An error on all of `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl ToTokens for Errors {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.0.iter().map(syn::Error::to_compile_error));
    }
}

/// The known name that is most similar to `name`, if it is similar enough.
pub(crate) fn similar<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
    let nearest = known.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    // A quarter of the letters may differ: enough for a typing mistake, too little for another word.
    (nearest.0 <= (nearest.1.len() / 4).max(1)).then_some(nearest.1)
}

/// "`a`, `b` and `c`", wrapped over several lines if it is long.
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const WIDTH: usize = 80;

    let names: Vec<_> = names.into_iter().collect();
    let mut list = String::new();
    let mut line = 0;
    for (index, name) in names.iter().enumerate() {
        let separator = match names.len() - index {
            _ if index == 0 => "",
            1 => " and ",
            _ if line + name.len() > WIDTH => ",\n",
            _ => ", ",
        };
        line = if separator == ",\n" { 0 } else { line + separator.len() };
        line += name.len() + 2;
        list.push_str(&format!("{separator}`{name}`"));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["init", "on_start", "on_upgrade", "on_connect", "on_event", "on_close", "on_alarm", "on_request"];
        for (name, expected) in [
            ("inti", Some("init")),
            ("on_conect", Some("on_connect")),
            ("onConnect", Some("on_connect")),
            ("onConect", Some("on_connect")),
            ("on_evnet", Some("on_event")),
            ("on_clsoe", Some("on_close")),
            ("on_message", None),
            ("on_update", None),
            ("handle", None),
            ("greet", None),
        ] {
            assert_eq!(similar(name, known), expected, "{name}");
        }
    }

    #[test]
    fn lists_read_as_a_sentence() {
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn long_lists_take_several_lines() {
        let names = ["one_long_name"; 7];
        let lines: Vec<_> = list(names).lines().map(str::len).collect();
        assert_eq!(lines, [84, 35]);
    }
}
