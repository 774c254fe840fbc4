//! Errors: collected, so that one run reports them all, and suggestions for names that are nearly right.

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
}

impl ToTokens for Errors {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.0.iter().map(syn::Error::to_compile_error));
    }
}

/// The known name that `name` was probably meant to be.
pub(crate) fn similar<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), candidate);
    let nearest = known.into_iter().map(|candidate| (distance(candidate), candidate)).min()?;
    // A third of the letters may be wrong: enough for a slip, too little for another word.
    (nearest.0 <= nearest.1.len() / 3).then_some(nearest.1)
}

/// "`a`, `b` and `c`".
pub(crate) fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match &*names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["on_start", "on_connect", "on_event", "on_close", "on_alarm"];
        for (name, expected) in [
            ("on_conect", Some("on_connect")),
            ("onConnect", Some("on_connect")),
            ("on_evnet", Some("on_event")),
            ("on_clsoe", Some("on_close")),
            ("on_message", None),
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
}
