//! Text from outside the runtime, cut to a length that fits a message.

use std::fmt::{self, Write};

/// The longest quotation in a message, in bytes. serde quotes an unknown variant in full, at any length.
const MAX_QUOTED_BYTES: usize = 500;

/// Returns a text, cut if it is longer than a message should be.
pub(crate) fn brief(text: impl fmt::Display) -> String {
    brief_to(MAX_QUOTED_BYTES, text)
}

/// Returns a text, cut if it has more than `most` bytes.
pub(crate) fn brief_to(most: usize, text: impl fmt::Display) -> String {
    struct Brief(String, usize);

    impl Write for Brief {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = self.1.saturating_sub(self.0.len());
            if text.len() <= left {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(prefix(left, text));
            Err(fmt::Error)
        }
    }

    let mut brief = Brief(String::new(), most);
    match write!(brief, "{text}") {
        Ok(()) => brief.0,
        Err(fmt::Error) => brief.0 + "…",
    }
}

/// Returns the longest prefix of a text that has at most `most` bytes.
pub(crate) fn prefix(most: usize, text: &str) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
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
