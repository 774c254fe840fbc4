//! Splits SQL text into tokens, to find its statements and their parameters.
//!
//! Workerd binds every number as a REAL and reads every number as a `f64`. Therefore an INTEGER parameter is bound as a
//! number or a text that the statement casts. Rows with large numbers are read again by a statement that returns
//! integers as text.

use std::{borrow::Cow, ops::Range};

use super::SqlValue;

/// The statements that control transactions. Workerd refuses them: it runs the object's writes in its own transaction.
const TRANSACTIONS: [&str; 6] = ["begin", "commit", "end", "release", "rollback", "savepoint"];

/// The text around an INTEGER parameter.
///
/// A cast has an affinity and a bound value has none, so the plus removes it. The comment marks the text, so that it
/// can be removed from column names.
const CAST: (&str, &str) = ("(+cast(", "/**/as integer))");

/// The name for the rows that are read again. No table of a room has it.
const ROWS: &str = "room_exact_rows";

/// A text with one or more statements.
#[derive(Debug, PartialEq)]
pub(crate) struct Statement<'t> {
    text: &'t str,
    /// The byte ranges of the statements.
    parts: Vec<Range<usize>>,
    /// The parameters of the last statement: the range of each mention, and the parameter's number, from 1.
    mentions: Vec<(Range<usize>, usize)>,
    /// True if the last statement has a `returning`.
    returns: bool,
}

impl<'t> Statement<'t> {
    /// Parses a text that will run with this number of parameters.
    ///
    /// # Errors
    /// For a text that no platform would run, or that the platforms would run differently.
    pub(crate) fn read(text: &'t str, parameters: usize) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("the statement contains a NUL; bind the text as a parameter".to_owned());
        }
        let mut done: Vec<Part<'t>> = Vec::new();
        let mut current: Option<Part<'t>> = None;
        for (token, range) in (Tokens { text, at: 0 }) {
            match token {
                Token::Space => {}
                Token::Semicolon if current.as_ref().is_none_or(Part::ends) => done.extend(current.take()),
                _ => current.get_or_insert_with(|| Part::starting_at(range.start)).read(token, text, range)?,
            }
        }
        done.extend(current);
        let Some(last) = done.pop() else { return Err("there is no statement in the text".to_owned()) };
        if done.iter().any(|part| part.count > 0) {
            return Err("of several statements only the last may have parameters".to_owned());
        }
        if last.count != parameters {
            return Err(format!("the statement has {} parameters, but {parameters} values were given", last.count));
        }
        let text = cut(text, 0..last.range.end);
        let parts = done.into_iter().map(|part| part.range).chain([last.range]).collect();
        Ok(Statement { text, parts, mentions: last.mentions, returns: last.returns })
    }

    /// The statements, in order. There is at least one.
    #[cfg(any(test, feature = "sqlite"))]
    pub(crate) fn parts(&self) -> impl Iterator<Item = &'t str> {
        self.parts.iter().map(|range| cut(self.text, range.clone()))
    }

    /// Returns whether a failure can leave partial changes that must be rolled back.
    ///
    /// SQLite rolls back a single statement, but not if the rows that it returned are refused afterwards.
    pub(crate) fn is_atomic(&self) -> bool {
        self.parts.len() > 1 || self.returns
    }

    /// The text with each INTEGER parameter cast to an integer.
    pub(crate) fn with_casts(&self, parameters: &[SqlValue]) -> Cow<'t, str> {
        if !parameters.iter().any(|value| matches!(value, SqlValue::Integer(_))) {
            return Cow::Borrowed(self.text);
        }
        let (before, after) = CAST;
        let (mut text, mut from) = (String::new(), 0);
        for (range, number) in &self.mentions {
            if let Some(SqlValue::Integer(_)) = number.checked_sub(1).and_then(|index| parameters.get(index)) {
                text += cut(self.text, from..range.start);
                text += before;
                text += cut(self.text, range.clone());
                text += after;
                from = range.end;
            }
        }
        text += cut(self.text, from..self.text.len());
        Cow::Owned(text)
    }

    /// Removes the casts from the name of a column.
    pub(crate) fn without_casts(name: String) -> String {
        let (before, after) = CAST;
        if !name.contains(after) {
            return name;
        }
        let (mut plain, mut rest) = (String::new(), &*name);
        while let Some((head, (parameter, tail))) = rest.split_once(after).and_then(|(head, tail)| {
            // A parameter contains no parenthesis, except in a Tcl variable name, and never the text of `before`.
            head.rsplit_once(before).map(|(head, parameter)| (head, (parameter, tail)))
        }) {
            plain += head;
            plain += parameter;
            rest = tail;
        }
        plain + rest
    }

    /// The text with its last statement read [exactly](Self::read_exactly). `text` is the result of
    /// [`with_casts`](Self::with_casts).
    pub(crate) fn exact(&self, text: &str, columns: usize, is_whole: bool) -> String {
        // The casts are only in the last statement, so the earlier ones have the same ranges in both texts.
        let (earlier, last) = text.split_at(self.parts.last().map_or(0, |last| last.start));
        earlier.to_owned() + &Statement::read_exactly(last, columns, is_whole)
    }

    /// Wraps a statement so that its rows have integers as text after an `i`, and texts after a `t`.
    ///
    /// Only a statement that can be a part of a `select` can be wrapped: for others the result does not prepare. With
    /// `is_whole` SQLite first computes all rows; otherwise it may return each as it is computed.
    pub(crate) fn read_exactly(statement: &str, columns: usize, is_whole: bool) -> String {
        let names: Vec<_> = (0..columns).map(|index| format!("c{index}")).collect();
        let value = |name: &String| {
            let cases = format!("when 'integer' then 'i'||{name} when 'text' then 't'||{name} else {name}");
            format!("case typeof({name}) {cases} end")
        };
        let values: Vec<_> = names.iter().map(value).collect();
        let (names, values) = (names.join(","), values.join(","));
        // Materialized, so that every expression is evaluated only once. That takes memory for all rows.
        let how = if is_whole { "materialized" } else { "not materialized" };
        format!("with {ROWS}({names}) as {how} ({statement}) select {values} from {ROWS}")
    }
}

/// One statement of a text.
struct Part<'t> {
    range: Range<usize>,
    mentions: Vec<(Range<usize>, usize)>,
    names: Vec<(&'t str, usize)>,
    count: usize,
    returns: bool,
    kind: Kind,
    /// The two tokens before the current one.
    before: [&'t str; 2],
}

/// The state of the parser. It exists because a trigger contains semicolons.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Start,
    Create,
    Trigger,
    /// Inside a trigger, after a semicolon.
    Step,
    /// Inside a trigger, after `; end`.
    Ended,
    Other,
}

impl<'t> Part<'t> {
    fn starting_at(at: usize) -> Self {
        Part {
            range: at..at,
            mentions: Vec::new(),
            names: Vec::new(),
            count: 0,
            returns: false,
            kind: Kind::Start,
            before: [""; 2],
        }
    }

    /// Returns whether a semicolon ends the statement.
    fn ends(&self) -> bool {
        !matches!(self.kind, Kind::Trigger | Kind::Step)
    }

    fn read(&mut self, token: Token, text: &'t str, range: Range<usize>) -> Result<(), String> {
        let word = cut(text, range.clone());
        self.range.end = range.end;
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        let [two_before, before] = self.before;
        let [first, second] = [two_before, before].map(|before| move |other: &str| before.eq_ignore_ascii_case(other));
        match token {
            Token::Parameter => {
                let number = self.number(word);
                self.count = self.count.max(number);
                self.mentions.push((range, number));
            }
            Token::Word if self.kind == Kind::Start && TRANSACTIONS.iter().any(|word| is(word)) => {
                return Err(format!(
                    "`{word}` is not available: what a handler changes without waiting is stored as a whole, and one \
                     text with several statements changes everything or nothing"
                ));
            }
            // A rollback in a conflict would end workerd's own transaction, and with it the object.
            Token::Word
                if is("rollback") && (second("or") || second("conflict") || (first("raise") && second("("))) =>
            {
                return Err("a conflict cannot be resolved by `rollback`; use `abort`".to_owned());
            }
            Token::Word if is("returning") => self.returns = true,
            _ => {}
        }
        let is_word = token == Token::Word;
        self.kind = match self.kind {
            Kind::Start if is_word && (is("explain") || is("query") || is("plan")) => Kind::Start,
            Kind::Start if is_word && is("create") => Kind::Create,
            Kind::Create if is_word && (is("temp") || is("temporary")) => Kind::Create,
            Kind::Create if is_word && is("trigger") => Kind::Trigger,
            Kind::Trigger | Kind::Step if token == Token::Semicolon => Kind::Step,
            Kind::Step if is_word && is("end") => Kind::Ended,
            Kind::Trigger | Kind::Step | Kind::Ended => Kind::Trigger,
            Kind::Start | Kind::Create | Kind::Other => Kind::Other,
        };
        self.before = [before, word];
        Ok(())
    }

    /// The number that SQLite assigns to a parameter.
    fn number(&mut self, name: &'t str) -> usize {
        // After a number that overflowed, the statement is refused anyway.
        let next = self.count.saturating_add(1);
        if name == "?" {
            return next;
        }
        if let Some(number) = name.strip_prefix('?') {
            // Digits can only overflow. The result is refused like any other wrong number of parameters.
            return number.parse().unwrap_or(usize::MAX);
        }
        if let Some((_, number)) = self.names.iter().find(|(known, _)| *known == name) {
            return *number;
        }
        self.names.push((name, next));
        next
    }
}

/// The kinds of tokens that this parser distinguishes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    /// White space, or a comment.
    Space,
    Semicolon,
    /// A keyword, or a name without quotes.
    Word,
    Parameter,
    /// Anything else: literals, quoted names, operators.
    Other,
}

/// The part of a text at a range. Every range here begins and ends between two tokens, so it is a part of the text.
fn cut(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

/// An iterator over the tokens of a text.
struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

fn continues_a_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')
}

impl Tokens<'_> {
    /// The number of bytes at the start of `bytes` that match.
    fn run(bytes: &[u8], such: impl Fn(u8) -> bool) -> usize {
        bytes.iter().position(|byte| !such(*byte)).unwrap_or(bytes.len())
    }

    /// The length of a quoted token. A doubled quote inside it stands for one quote.
    fn quoted(bytes: &[u8], quote: u8) -> usize {
        let mut at = 1;
        while let Some(rest) = bytes.get(at..) {
            at += Tokens::run(rest, |byte| byte != quote) + 1;
            match bytes.get(at) {
                Some(byte) if *byte == quote => at += 1,
                Some(_) => return at,
                None => break,
            }
        }
        bytes.len()
    }

    fn named(bytes: &[u8]) -> usize {
        let mut at = 1;
        loop {
            at += Tokens::run(bytes.get(at..).unwrap_or_default(), continues_a_word);
            match bytes.get(at..) {
                Some([b':', b':', ..]) => at += 2,
                // The index of a Tcl variable.
                Some([b'(', index @ ..]) if at > 1 => {
                    let index = Tokens::run(index, |byte| !is_space(byte) && byte != b')');
                    return (at + index + 2).min(bytes.len());
                }
                _ => return at,
            }
        }
    }

    fn token(bytes: &[u8]) -> (Token, usize) {
        match bytes {
            [b'-', b'-', ..] => (Token::Space, Tokens::run(bytes, |byte| byte != b'\n')),
            [b'/', b'*', comment @ ..] => {
                let end = comment.windows(2).position(|pair| pair == b"*/");
                (Token::Space, end.map_or(bytes.len(), |end| end + 4))
            }
            [0xef, 0xbb, 0xbf, ..] => (Token::Space, 3),
            [b';', ..] => (Token::Semicolon, 1),
            [b'?', number @ ..] => (Token::Parameter, 1 + Tokens::run(number, |byte| byte.is_ascii_digit())),
            [b'$' | b'@' | b':' | b'#', ..] => match Tokens::named(bytes) {
                1 => (Token::Other, 1),
                length => (Token::Parameter, length),
            },
            [quote @ (b'\'' | b'"' | b'`'), ..] => (Token::Other, Tokens::quoted(bytes, *quote)),
            [b'[', ..] => (Token::Other, (Tokens::run(bytes, |byte| byte != b']') + 1).min(bytes.len())),
            [digit, ..] if digit.is_ascii_digit() => (Token::Other, Tokens::run(bytes, continues_a_word)),
            [byte, ..] if is_space(*byte) => (Token::Space, Tokens::run(bytes, is_space)),
            [byte, ..] if continues_a_word(*byte) => (Token::Word, Tokens::run(bytes, continues_a_word)),
            _ => (Token::Other, 1),
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.text.as_bytes().get(self.at..).filter(|rest| !rest.is_empty())?;
        let (token, length) = Tokens::token(rest);
        let start = self.at;
        self.at += length;
        Some((token, start..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Vec<(&str, usize)> {
        let mut part = Part::starting_at(0);
        for (token, range) in (Tokens { text, at: 0 }) {
            part.read(token, text, range).expect("reads");
        }
        part.mentions.into_iter().map(|(range, number)| (&text[range], number)).collect()
    }

    fn parts(text: &str) -> Vec<&str> {
        Statement::read(text, 0).expect("reads").parts().collect()
    }

    fn refusal(text: &str, parameters: usize) -> String {
        Statement::read(text, parameters).expect_err("is refused")
    }

    #[test]
    fn parameters_have_the_numbers_that_sqlite_gives_them() {
        assert_eq!(parameters("select ?, ?"), [("?", 1), ("?", 2)]);
        assert_eq!(parameters("select ?2, ?, ?1"), [("?2", 2), ("?", 3), ("?1", 1)]);
        assert_eq!(parameters("select :a, @a, $a, :a, ?"), [(":a", 1), ("@a", 2), ("$a", 3), (":a", 1), ("?", 4)]);
        assert_eq!(parameters("select ?3,:a,?4,:b"), [("?3", 3), (":a", 4), ("?4", 4), (":b", 5)]);
        assert_eq!(parameters("select $a::b(c?d), $ä1"), [("$a::b(c?d)", 1), ("$ä1", 2)]);
        assert_eq!(parameters("select 1?, a?, 5:a"), [("?", 1), ("?", 2), (":a", 3)]);
        assert_eq!(parameters("select a$b, @, 1e5, x'3f', :"), []);
        assert_eq!(parameters("select ?99999999999999999999"), [("?99999999999999999999", usize::MAX)]);
        assert!(Statement::read("select ?99999999999999999999, ?, :name", 2).is_err());
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        let text = "select '?''?', \"?\"\"?\", `?``?`, [?'?], ? -- ? '\n, /* ? ' */ ?2 /**/, '' || ?";
        assert_eq!(parameters(text), [("?", 1), ("?2", 2), ("?", 3)]);
        for text in
            ["select '? ''", "select \"?", "select `?", "select [?", "select 1 /* ?", "select 1 --?", "select x'?"]
        {
            assert_eq!(parameters(text), [], "{text}");
        }
        assert_eq!(parameters("select 1 - ?, 4 / ?, 4 * ?, a->?"), [("?", 1), ("?", 2), ("?", 3), ("?", 4)]);
    }

    #[test]
    fn a_text_is_split_into_its_statements() {
        assert_eq!(parts("select 1"), ["select 1"]);
        assert_eq!(parts(" ; select 1 ;; /* ; */ select ';' ; -- ;"), ["select 1", "select ';'"]);
        assert_eq!(parts("\u{feff}select 1; \n"), ["select 1"]);
        let trigger = "create temp trigger t after insert on a begin select case when 1 then 2 end; select 2; end";
        assert_eq!(parts(&format!("{trigger}; select 1")), [trigger, "select 1"]);
        assert_eq!(parts(&format!("explain {trigger}")), [format!("explain {trigger}")]);
        assert_eq!(parts("create table t (a); select 1"), ["create table t (a)", "select 1"]);
    }

    #[test]
    fn a_text_that_cannot_run_is_refused() {
        for text in ["", "  ", ";;", "-- select 1", "/* select 1 */ ;"] {
            assert_eq!(refusal(text, 0), "there is no statement in the text");
        }
        for text in ["begin", "COMMIT", "end", "savepoint a", "release a", "select 1; rollback", "explain begin"] {
            assert!(refusal(text, 0).contains("is not available"), "{text}");
        }
        for text in [
            "insert or rollback into t values (1)",
            "create table t (a unique on conflict rollback)",
            "create trigger t after insert on a begin select raise (rollback, 'no'); end",
        ] {
            assert!(refusal(text, 0).contains("use `abort`"), "{text}");
        }
        assert!(Statement::read("select rollback, \"rollback\" from t where 'begin' or begin", 0).is_ok());
        assert!(refusal("select '\0'", 0).contains("a NUL"));
        assert_eq!(refusal("select ?; select 1", 1), "of several statements only the last may have parameters");
        assert_eq!(refusal("select ?2", 1), "the statement has 2 parameters, but 1 values were given");
        assert_eq!(refusal("select 1", 1), "the statement has 0 parameters, but 1 values were given");
    }

    #[test]
    fn only_several_statements_and_what_returns_are_undone() {
        let is_atomic = |text| Statement::read(text, 0).expect("reads").is_atomic();
        assert!(!is_atomic("insert into t values (1);"));
        assert!(!is_atomic("select 'returning', \"returning\""));
        assert!(is_atomic("insert into t values (1); select 1"));
        assert!(is_atomic("insert into t values (1) Returning *"));
    }

    #[test]
    fn integers_are_cast_and_nothing_else_is() {
        let values = [SqlValue::Integer(1), SqlValue::Real(1.0), SqlValue::Integer(i64::MIN)];
        let statement = Statement::read("select 1; select ?, ?, '?', :c, ?1;", 3).expect("reads");
        let text = statement.with_casts(&values);
        let expected =
            "select 1; select (+cast(?/**/as integer)), ?, '?', (+cast(:c/**/as integer)), (+cast(?1/**/as integer))";
        assert_eq!(text, expected);
        assert_eq!(Statement::without_casts(text.clone().into_owned()), "select 1; select ?, ?, '?', :c, ?1");
        assert_eq!(Statement::without_casts("/**/as integer))".to_owned()), "/**/as integer))");
        assert_eq!(statement.with_casts(&[const { SqlValue::Null }; 3]), "select 1; select ?, ?, '?', :c, ?1");
        let exact =
            Statement::read("select 1; select a -- b\n", 0).expect("reads").exact("select 1; select a", 1, true);
        let value = "case typeof(c0) when 'integer' then 'i'||c0 when 'text' then 't'||c0 else c0 end";
        let rows = "with room_exact_rows(c0) as materialized (select a)";
        assert_eq!(exact, format!("select 1; {rows} select {value} from room_exact_rows"));
    }
}
