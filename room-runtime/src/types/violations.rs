//! [`Violations`]: the rules that a value breaks, beyond its type.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::brief::brief_to;
use crate::{Error, ErrorKind};

/// The most bytes of a path and of a message. The path can contain the keys of a map, which the sender chooses.
const MAX_PATH_BYTES: usize = 100;
const MAX_MESSAGE_BYTES: usize = 200;
/// The most bytes of all paths and messages together.
const MAX_SHOWN_BYTES: usize = 500;

/// A rule that a value breaks: the path of the field, and the message of the rule.
///
/// ```
/// use room_runtime::{Error, ErrorKind, Room, RoomHandle};
///
/// /// Sends an order, and returns the fields to mark in a form.
/// async fn order<R: Room>(room: RoomHandle<R>, event: &R::Event) -> Result<Vec<(String, String)>, Error> {
///     match room.send(event).await {
///         Ok(()) => Ok(Vec::new()),
///         Err(error) if error.kind() == ErrorKind::Invalid => {
///             let fields = error.violations().iter();
///             Ok(fields.map(|violation| (violation.path().into(), violation.message().into())).collect())
///         }
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(schemars::JsonSchema))]
pub struct Violation {
    path: String,
    message: String,
}

impl Violation {
    /// The path of the field, for example `items[3].name`; empty for a rule of the whole value.
    ///
    /// The parts are the names of the fields in Rust. A path of more than 100 bytes is cut.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The message of the rule, for example `length is greater than 200`. A message of more than 200 bytes is cut.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Writes violations as one text, for the answer to a call.
///
/// A list of structs would bring a deserializer for it into the wasm of every Worker, also of those without rules.
pub(crate) fn pack(violations: &[Violation]) -> Option<Box<str>> {
    let mut packed = String::new();
    for Violation { path, message } in violations {
        // The lengths come first, because both texts can contain any character.
        packed += &format!("{} {} {path}{message}", path.len(), message.len());
    }
    (!packed.is_empty()).then(|| packed.into())
}

/// Reads violations that [`pack`] has written.
pub(crate) fn unpack(mut packed: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    while let Some((violation, rest)) = unpack_first(packed) {
        violations.push(violation);
        packed = rest;
    }
    violations
}

fn unpack_first(packed: &str) -> Option<(Violation, &str)> {
    let (path_bytes, rest) = packed.split_once(' ')?;
    let (message_bytes, rest) = rest.split_once(' ')?;
    let (path, rest) = rest.split_at_checked(path_bytes.parse().ok()?)?;
    let (message, rest) = rest.split_at_checked(message_bytes.parse().ok()?)?;
    Some((Violation { path: path.to_owned(), message: message.to_owned() }, rest))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => f.write_str(&self.message),
            path => write!(f, "`{path}`: {}", self.message),
        }
    }
}

/// The rules that a value breaks. It is empty for a valid value.
///
/// It keeps the first violations, of at most 500 bytes together, and counts the others, because a peer chooses how many
/// rules its event breaks.
///
/// ```
/// # use room_runtime::Violations;
/// let mut violations = Violations::default();
/// violations.add("items[3].name", "is empty");
/// assert_eq!(violations.count(), 1);
/// assert_eq!(violations.shown()[0].to_string(), "`items[3].name`: is empty");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    shown: Vec<Violation>,
    bytes: usize,
    count: usize,
}

impl Violations {
    /// Adds a violation. The path is empty for a rule of the whole value.
    pub fn add(&mut self, path: impl fmt::Display, message: impl fmt::Display) {
        self.count += 1;
        // The first that is left out ends the list, so that the list is a beginning.
        if self.count - 1 > self.shown.len() {
            return;
        }
        let path = brief_to(MAX_PATH_BYTES, path);
        let message = brief_to(MAX_MESSAGE_BYTES, message);
        let bytes = self.bytes + path.len() + message.len();
        if bytes <= MAX_SHOWN_BYTES {
            self.bytes = bytes;
            self.shown.push(Violation { path, message });
        }
    }

    /// True for a valid value.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of violations, also of those that are not shown.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first violations, of at most 500 bytes together.
    pub fn shown(&self) -> &[Violation] {
        &self.shown
    }

    /// Describes the violations of this value; `Ok` if there are none.
    pub(crate) fn check(self, what: &'static str) -> Result<(), Invalid> {
        let (shown, count) = (self.shown.len(), self.count);
        let rules: Cow<'_, str> = match count {
            0 => return Ok(()),
            1 => "a rule of this room".into(),
            _ if shown == count => format!("{count} rules of this room").into(),
            _ => format!("{count} rules of this room, shown are {shown}").into(),
        };
        let mut message = format!("{what} breaks {rules}: ");
        for (at, violation) in self.shown.iter().enumerate() {
            let between = if at > 0 { "; " } else { "" };
            message += &format!("{between}{violation}");
        }
        Err(Invalid { message, violations: self.shown })
    }
}

/// The rules of a room for its values of one type; `None` for none.
pub(crate) type Rules<T> = Option<fn(&T) -> Violations>;

/// Checks a value by the rules of a room.
pub(crate) fn check<T>(rules: Rules<T>, value: &T, what: &'static str) -> Result<(), Invalid> {
    match rules {
        Some(rules) => rules(value).check(what),
        None => Ok(()),
    }
}

/// A value that breaks rules, described.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) message: String,
    pub(crate) violations: Vec<Violation>,
}

impl Invalid {
    /// It is no `From`: with a second one, `?` would no longer infer the error of a closure.
    pub(crate) fn into_error(self) -> Error {
        Error::new(ErrorKind::Invalid, self.message).with_violations(self.violations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(violations: Violations) -> String {
        violations.check("this event").expect_err("invalid").message
    }

    #[test]
    fn violations_are_described_with_path_and_number() {
        let mut violations = Violations::default();
        assert!(violations.is_empty());
        assert!(violations.clone().check("this event").is_ok());
        violations.add("text", "is empty");
        assert_eq!(described(violations.clone()), "this event breaks a rule of this room: `text`: is empty");
        violations.add("", "is odd");
        assert_eq!(described(violations), "this event breaks 2 rules of this room: `text`: is empty; is odd");
    }

    #[test]
    fn violations_read_back() {
        let mut violations = Violations::default();
        violations.add("items[3].né", "1 2 is no \"length\"");
        violations.add("", "is odd");
        let packed = pack(violations.shown()).expect("a text");
        assert_eq!(unpack(&packed), violations.shown());
        assert_eq!((pack(&[]), unpack("")), (None, Vec::new()));
        for broken in ["x", "1", "9 9 ab", "1 x ab", "1 1 é"] {
            assert_eq!(unpack(broken), [], "{broken}");
        }
    }

    #[test]
    fn a_beginning_of_many_violations_is_shown_and_the_others_are_counted() {
        let mut violations = Violations::default();
        violations.add("a".repeat(1_000), "b".repeat(1_000));
        violations.add("c", "d".repeat(1_000));
        // It is not shown, because the one before it is not.
        violations.add("e", "f");
        assert_eq!((violations.count(), violations.shown().len()), (3, 1));
        let [first] = violations.shown() else { panic!("one is shown") };
        assert_eq!((first.path(), first.message()), (&*("a".repeat(100) + "…"), &*("b".repeat(200) + "…")));
        assert!(described(violations).starts_with("this event breaks 3 rules of this room, shown are 1: `aaa"));

        let mut violations = Violations::default();
        (0..100_000).for_each(|index| violations.add(format_args!("items[{index}]"), "is empty"));
        assert_eq!(violations.count(), 100_000);
        let shown = violations.shown().len();
        assert!((20..40).contains(&shown), "{shown}");
        let text = described(violations);
        assert!(
            text.starts_with(&format!("this event breaks 100000 rules of this room, shown are {shown}: `items[0]`: "))
        );
        assert!(text.len() < 800, "{} bytes", text.len());
    }
}
