//! Texts of others, cut to a length that a message can have.

use std::fmt::{self, Write};

/// The most of a text, in bytes, that a message quotes. serde names an unknown variant with all the text that it was sent.
const MAX_QUOTED_BYTES: usize = 500;

/// A text, cut where it is longer than a message should be.
pub(crate) fn brief(text: impl fmt::Display) -> String {
    struct Brief(String);

    impl Write for Brief {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = MAX_QUOTED_BYTES - self.0.len();
            if text.len() <= left {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(&text[..text.floor_char_boundary(left)]);
            Err(fmt::Error)
        }
    }

    let mut brief = Brief(String::new());
    match write!(brief, "{text}") {
        Ok(()) => brief.0,
        Err(fmt::Error) => brief.0 + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_quotes_only_so_much() {
        let (short, long) = ("ä".repeat(250), "ä".repeat(251));
        assert_eq!(brief(&short), short);
        assert_eq!(brief(&long), format!("{short}…"));
        assert_eq!(brief(format_args!("x{}{}", short, 7)), format!("x{}…", &short[..498]));
        let error = crate::DecodeError::malformed("x".repeat(1_000_000), String::new());
        assert!(error.message().len() < 600, "{} bytes", error.message().len());
    }
}
