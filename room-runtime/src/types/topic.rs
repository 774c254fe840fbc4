//! The names of topics.

use super::brief::brief;
use crate::{Error, ErrorKind};

/// The longest name of a topic, in bytes.
pub(crate) const MAX_TOPIC_BYTES: usize = 128;

/// Checks the name of a topic. The name is a part of a storage key, in which a space ends it.
pub(crate) fn check_topic(name: &str) -> Result<(), Error> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_./-".contains(&byte);
    if (1..=MAX_TOPIC_BYTES).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(());
    }
    let message = format!(
        "`{}` is not the name of a topic: a name has 1 to {MAX_TOPIC_BYTES} characters of A-Z, a-z, 0-9 and `:_./-`",
        brief(name)
    );
    Err(Error::new(ErrorKind::InvalidTopic, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_the_characters_and_the_length_that_the_error_says() {
        let longest = "x".repeat(MAX_TOPIC_BYTES);
        for name in ["a", "Zz09", "doc:7/page-2", "_", ".", longest.as_str()] {
            assert!(check_topic(name).is_ok(), "{name}");
        }
        for name in ["", " ", "a b", "a\n", "é", "a,b", "a*", "a\0", &format!("{longest}x")] {
            let error = check_topic(name).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidTopic);
            assert!(error.to_string().contains("1 to 128 characters"), "{error}");
        }
    }
}
