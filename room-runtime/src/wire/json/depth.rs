//! The nesting depth of JSON, counted without parsing, and a limit for repeated reads of its parts.

use std::cell::Cell;

use serde::de::Error;

/// The bytes of a text that can be read again: this constant, plus a multiple of the length of the text. The constant
/// allows any order of keys in a short text. The multiple allows eight levels of messages in messages in a long text.
const READ_AGAIN_BYTES: usize = 1 << 20;
const READ_AGAIN_TIMES: usize = 8;

#[derive(Clone, Copy)]
struct Measured {
    /// The address of the text, by which a part of it is recognized.
    start: usize,
    end: usize,
    /// The bytes of the text that can still be read again.
    left: usize,
}

thread_local! {
    /// The text that this thread is reading.
    static MEASURED: Cell<Measured> = const { Cell::new(Measured { start: 0, end: 0, left: 0 }) };
}

/// Reads a text, or a part of the text that is being read. Only a whole text is measured; its parts are not measured
/// again.
///
/// # Errors
/// An error if the text is nested too deep or its parts were read too often, and the errors of `read`.
pub(crate) fn measured<T>(
    text: &str,
    limit: u8,
    read: impl FnOnce() -> Result<T, serde_json::Error>,
) -> Result<T, serde_json::Error> {
    struct Restore(Measured);

    impl Drop for Restore {
        fn drop(&mut self) {
            MEASURED.set(self.0);
        }
    }

    let (start, outer) = (text.as_ptr() as usize, MEASURED.get());
    let end = start + text.len();
    if outer.start <= start && end <= outer.end {
        let Some(left) = outer.left.checked_sub(text.len()) else {
            let message = "too much of it has to be read again and again: put the key that says the variant first";
            return Err(Error::custom(message));
        };
        MEASURED.set(Measured { left, ..outer });
        return read();
    }
    if exceeds(text, limit.into()) {
        return Err(Error::custom(format_args!("it is nested more than {limit} levels deep")));
    }
    let left = text.len().saturating_mul(READ_AGAIN_TIMES).saturating_add(READ_AGAIN_BYTES);
    MEASURED.set(Measured { start, end, left });
    let _restore = Restore(outer);
    read()
}

/// Returns whether a text is nested deeper than `limit`. Text that is not JSON is counted by its brackets too.
pub(crate) fn exceeds(text: &str, limit: usize) -> bool {
    // Each level has two brackets, so most frames are too short to exceed the limit.
    if text.len() / 2 <= limit {
        return false;
    }
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    false
}

/// Advances past the closing quote of a string.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_and_those_in_text_do_not() {
        for (text, depth) in [
            ("", 0),
            ("null", 0),
            ("[]", 1),
            ("[[],[[]],{}]", 3),
            (r#"{"a":[{"b":1}],"c":[]}"#, 3),
            (r#"["[[[[","{\"[[","\\",[]]"#, 2),
            (r#"["\\\"[[[",{"[":"]"}]"#, 2),
            ("[]]]]][[", 2),
            (r#"["[[["#, 1),
        ] {
            // The padding makes the text long enough to be measured.
            let padded = format!("{text}{}", " ".repeat(64));
            assert!(!exceeds(&padded, depth), "{text}");
            assert!(depth == 0 || exceeds(&padded, depth - 1), "{text}");
        }
    }

    #[test]
    fn parts_of_a_text_are_read_again_only_so_often() {
        let text = "x".repeat(1 << 20);
        let part = &text[1..];
        let count = measured(&text, 9, || {
            let again = (0..100).take_while(|_| measured(part, 9, || Ok(())).is_ok()).count();
            // Another text has its own measure, and must not change that of the outer text.
            measured("[]", 9, || Ok(()))?;
            assert!(measured(part, 9, || Ok(())).is_err());
            Ok(again)
        });
        assert_eq!(count.expect("read"), 9);
        assert!(measured("[[]]  ", 1, || Ok(())).is_err());
    }

    #[test]
    fn a_text_too_short_for_the_depth_is_not_too_deep() {
        for limit in 0..5 {
            for depth in 0..7 {
                let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
                assert_eq!(exceeds(&text, limit), depth > limit, "{text} {limit}");
            }
        }
    }
}
