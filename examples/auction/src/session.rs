//! The identity of a bidder: a signed token in a cookie.
//!
//! A name is all that a visitor gives, so this is no log-in. It is enough that nobody bids in another's name: the id in the
//! token is random, and only the Worker can sign one. `examples/auth` shows the replacement of keys.

use chrono::{DateTime, Duration, Utc};
use jwt_compact::{
    AlgorithmExt, Claims, Header, TimeOptions, Token, UntrustedToken,
    alg::{Hs256, Hs256Key},
};

use crate::sale::User;

/// The name of the cookie.
pub const COOKIE: &str = "session";

/// The longest name, in characters.
pub const MAX_NAME: usize = 32;

const LIFETIME_DAYS: i64 = 30;

/// The least bytes of the key: as many as the signature has (RFC 7518, 3.2).
const MIN_KEY_BYTES: usize = 32;

/// The key that signs and verifies the tokens.
#[derive(Clone)]
pub struct Key(Hs256Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Creates the key from a secret.
    ///
    /// # Errors
    /// Fails if the secret is too short. The message does not contain it.
    pub fn new(secret: &str) -> Result<Self, String> {
        match secret.len() {
            MIN_KEY_BYTES.. => Ok(Key(Hs256Key::new(secret))),
            _ => Err(format!("SESSION_KEY needs at least {MIN_KEY_BYTES} bytes")),
        }
    }

    /// Signs a token.
    ///
    /// # Errors
    /// Fails if the time is outside of the calendar.
    pub fn sign(&self, user: &User, now_ms: u64) -> Result<String, String> {
        let time = clock(now_ms).ok_or("the time is outside of the calendar")?;
        let claims = Claims::new(user.clone()).set_duration_and_issuance(&time, Duration::days(LIFETIME_DAYS));
        Hs256.token(&Header::empty(), &claims, &self.0).map_err(|error| error.to_string())
    }

    /// Returns the user of a token; `None` if the token is not valid.
    pub fn check(&self, token: &str, now_ms: u64) -> Option<User> {
        let token = UntrustedToken::new(token).ok()?;
        let token: Token<User> = Hs256.validator(&self.0).validate(&token).ok()?;
        token.claims().validate_expiration(&clock(now_ms)?).ok()?;
        Some(token.claims().custom.clone())
    }

    /// Returns the user of a request, from the headers `cookie`.
    pub fn user_of<'a>(&self, cookies: impl IntoIterator<Item = &'a str>, now_ms: u64) -> Option<User> {
        let mut pairs =
            cookies.into_iter().flat_map(|header| header.split(';')).filter_map(|pair| pair.split_once('='));
        let (_, token) = pairs.find(|(name, _)| name.trim() == COOKIE)?;
        self.check(token.trim(), now_ms)
    }
}

/// Returns the header `set-cookie` for a token.
///
/// Scripts cannot read the cookie. With `SameSite=Strict`, a browser does not send it with a request that the page of another
/// site makes, also not with a WebSocket. Plain HTTP is for development only: some browsers store no `Secure` cookie of it.
pub fn cookie(token: &str, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    let seconds = Duration::days(LIFETIME_DAYS).num_seconds();
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// Returns a name as it is shown, with single spaces; `None` if it cannot be shown or is too long.
pub fn tidy_name(name: &str) -> Option<String> {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_fine = (1..=MAX_NAME).contains(&name.chars().count())
        && name.chars().any(char::is_alphanumeric)
        && !name.chars().any(char::is_control);
    is_fine.then_some(name)
}

/// The options for a time: tokens are signed and checked by the same clock, so there is no leeway.
fn clock(now_ms: u64) -> Option<TimeOptions<impl Fn() -> DateTime<Utc>>> {
    let now = DateTime::from_timestamp_millis(i64::try_from(now_ms).ok()?)?;
    Some(TimeOptions::new(Duration::zero(), move || now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const DAY: u64 = 24 * 3600 * 1000;

    fn key() -> Key {
        Key::new("0123456789abcdef0123456789abcdef").expect("a key")
    }

    fn user(id: &str) -> User {
        User { id: id.to_owned(), name: "Ada".to_owned() }
    }

    #[test]
    fn a_token_proves_its_user_for_thirty_days() {
        let token = key().sign(&user("1"), NOW).expect("signed");
        assert_eq!(key().check(&token, NOW), Some(user("1")));
        assert_eq!(key().check(&token, NOW + 30 * DAY), Some(user("1")));
        assert_eq!(key().check(&token, NOW + 30 * DAY + 1_000), None);
    }

    #[test]
    fn a_token_of_another_key_or_with_other_claims_is_refused() {
        let token = key().sign(&user("1"), NOW).expect("signed");
        let other = Key::new("fedcba9876543210fedcba9876543210").expect("a key");
        assert_eq!(other.check(&token, NOW), None);
        let eve = other.sign(&user("2"), NOW).expect("signed");
        let (mine, eves): (Vec<_>, Vec<_>) = (token.split('.').collect(), eve.split('.').collect());
        assert_eq!(key().check(&[mine[0], eves[1], mine[2]].join("."), NOW), None);
        // {"alg":"none"}
        assert_eq!(key().check(&["eyJhbGciOiJub25lIn0", eves[1], ""].join("."), NOW), None);
        for text in ["", "..", "a.b.c", &token[1..]] {
            assert_eq!(key().check(text, NOW), None, "{text}");
        }
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let token = key().sign(&user("1"), NOW).expect("signed");
        let header = format!("theme=dark; {COOKIE}={token}; x");
        assert_eq!(key().user_of(["a=b", &*header], NOW), Some(user("1")));
        assert_eq!(key().user_of([&*format!("my{COOKIE}={token}")], NOW), None);
        assert_eq!(key().user_of([], NOW), None);
        let name = cookie(&token, true);
        assert!(name.contains("; HttpOnly; SameSite=Strict;") && name.ends_with("; Secure"), "{name}");
    }

    #[test]
    fn a_short_secret_is_refused_and_not_repeated() {
        let message = Key::new("short").expect_err("refused");
        assert!(message.contains("32 bytes") && !message.contains("short"), "{message}");
    }

    #[test]
    fn a_name_can_be_shown() {
        assert_eq!(tidy_name("  Ada \n Lovelace ").as_deref(), Some("Ada Lovelace"));
        assert_eq!(tidy_name(&"é".repeat(32)).map(|name| name.len()), Some(64));
        for name in ["", " \t", "--", "a\u{7}b", &"e".repeat(33)] {
            assert_eq!(tidy_name(name), None, "{name}");
        }
    }
}
