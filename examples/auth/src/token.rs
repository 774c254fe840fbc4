//! The tokens: JSON Web Tokens that are signed with HS256, for one user in one room, for some minutes.
//!
//! The algorithm is a type, `Hs256`, and not a part of the token that the code trusts: a token with the algorithm
//! `none`, or with any other, fails.

use std::fmt;

use chrono::{DateTime, Duration, Utc};
use jwt_compact::{
    AlgorithmExt, Claims, Header, TimeOptions, Token, UntrustedToken, ValidationError,
    alg::{Hs256, Hs256Key},
};
use room_runtime::data;

/// The time for which a token is valid. It only has to outlast the way from the log-in to the upgrade.
const LIFETIME_MINUTES: i64 = 5;

/// The least bytes of a key: as many as the signature has (RFC 7518, 3.2).
const MIN_KEY_BYTES: usize = 32;

/// The holder of a token.
#[data]
pub struct Bearer {
    /// The user, in the claim that RFC 7519 has for it.
    #[serde(rename = "sub")]
    pub user: String,
    pub room: String,
}

/// A valid token's content.
#[derive(Debug, PartialEq)]
pub struct Valid {
    pub bearer: Bearer,
    pub expires_ms: u64,
}

/// The reason why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// There is no token, or the text is none.
    Malformed,
    /// The token is signed with an unknown key, or the signature is wrong.
    Signature,
    Expired,
    /// The token is for another room.
    Room,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invalid::Malformed => "sign in first",
            Invalid::Signature => "the signature of the token is wrong",
            Invalid::Expired => "the token has expired",
            Invalid::Room => "the token is for another room",
        })
    }
}

/// The keys. The first one signs, and all of them verify, so that a key can be replaced without signing users out.
pub struct Keys(Vec<(String, Hs256Key)>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

impl Keys {
    /// Reads the keys from a secret: `id=key`, separated by spaces or line breaks, the newest first.
    ///
    /// # Errors
    /// Fails if there is no key, if an id occurs twice, and if a key is too short. The message contains no key.
    pub fn parse(secret: &str) -> Result<Self, String> {
        let mut keys: Vec<(String, Hs256Key)> = Vec::new();
        for entry in secret.split_whitespace() {
            let (id, key) = entry.split_once('=').ok_or("an entry of TOKEN_KEYS is `id=key`")?;
            if key.len() < MIN_KEY_BYTES {
                return Err(format!("the key `{id}` of TOKEN_KEYS needs at least {MIN_KEY_BYTES} bytes"));
            }
            if keys.iter().any(|(other, _)| other == id) {
                return Err(format!("the key `{id}` is in TOKEN_KEYS twice"));
            }
            keys.push((id.to_owned(), Hs256Key::new(key)));
        }
        if keys.is_empty() { Err("TOKEN_KEYS has no key".to_owned()) } else { Ok(Keys(keys)) }
    }

    /// Signs a token with the newest key.
    ///
    /// # Errors
    /// Fails if the time is outside of the calendar.
    pub fn sign(&self, bearer: Bearer, now_ms: u64) -> Result<String, String> {
        let (id, key) = self.0.first().ok_or("there is no key")?;
        let time = clock(now_ms).ok_or("the time is outside of the calendar")?;
        let claims = Claims::new(bearer).set_duration_and_issuance(&time, Duration::minutes(LIFETIME_MINUTES));
        let header = Header::empty().with_key_id(id.clone());
        Hs256.token(&header, &claims, key).map_err(|error| error.to_string())
    }

    /// Checks a token for a room. The header `kid` names the key.
    ///
    /// # Errors
    /// Fails with the reason why the token is refused.
    pub fn check(&self, token: &str, room: &str, now_ms: u64) -> Result<Valid, Invalid> {
        let token = UntrustedToken::new(token).map_err(|_| Invalid::Malformed)?;
        let id = token.header().key_id.as_deref().ok_or(Invalid::Signature)?;
        let (_, key) = self.0.iter().find(|(known, _)| known == id).ok_or(Invalid::Signature)?;
        let token: Token<Bearer> = Hs256.validator(key).validate(&token).map_err(|error| match error {
            ValidationError::MalformedClaims(_) => Invalid::Malformed,
            _ => Invalid::Signature,
        })?;
        let time = clock(now_ms).ok_or(Invalid::Expired)?;
        // A token without an expiry fails too.
        let claims = token.claims().validate_expiration(&time).map_err(|_| Invalid::Expired)?;
        let expires = claims.expiration.ok_or(Invalid::Expired)?;
        let bearer = claims.custom.clone();
        if bearer.room != room {
            return Err(Invalid::Room);
        }
        Ok(Valid { bearer, expires_ms: u64::try_from(expires.timestamp_millis()).unwrap_or_default() })
    }
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
    const OLD: &str = "old=0123456789abcdef0123456789abcdef";
    const NEW: &str = "new=fedcba9876543210fedcba9876543210";

    fn keys(secret: &str) -> Keys {
        Keys::parse(secret).expect("keys")
    }

    fn ada() -> Bearer {
        Bearer { user: "ada".to_owned(), room: "r1".to_owned() }
    }

    fn token(secret: &str) -> String {
        keys(secret).sign(ada(), NOW).expect("signed")
    }

    #[test]
    fn a_token_is_valid_for_five_minutes() {
        let (token, end) = (token(OLD), NOW + 300_000);
        let check = |now_ms| keys(OLD).check(&token, "r1", now_ms);
        assert_eq!(check(NOW), Ok(Valid { bearer: ada(), expires_ms: end }));
        assert!(check(end).is_ok());
        assert_eq!(check(end + 1_000), Err(Invalid::Expired));
        assert_eq!(check(u64::MAX), Err(Invalid::Expired));
    }

    #[test]
    fn a_token_is_valid_for_one_room() {
        assert_eq!(keys(OLD).check(&token(OLD), "r2", NOW), Err(Invalid::Room));
    }

    #[test]
    fn a_key_is_replaced_without_signing_users_out() {
        let rotated = format!("{NEW}\n{OLD}");
        assert!(keys(&rotated).check(&token(OLD), "r1", NOW).is_ok());
        // The newest key signs.
        assert!(keys(NEW).check(&token(&rotated), "r1", NOW).is_ok());
        assert_eq!(keys(NEW).check(&token(OLD), "r1", NOW), Err(Invalid::Signature));
        // The same id with another key.
        let other = OLD.replace("0123", "3210");
        assert_eq!(keys(&other).check(&token(OLD), "r1", NOW), Err(Invalid::Signature));
    }

    #[test]
    fn a_token_that_was_changed_is_refused() {
        let token = token(OLD);
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
        // The claims of another user, with the signature of the first.
        let eve = keys(OLD).sign(Bearer { user: "eve".to_owned(), room: "r1".to_owned() }, NOW).expect("signed");
        let others = eve.split('.').nth(1).expect("three parts");
        // {"alg":"none","kid":"old"}
        let none = "eyJhbGciOiJub25lIiwia2lkIjoib2xkIn0";
        // {"alg":"HS512","kid":"old"}
        let hs512 = "eyJhbGciOiJIUzUxMiIsImtpZCI6Im9sZCJ9";
        for (changed, why) in [
            (format!("{header}.{others}.{signature}"), Invalid::Signature),
            (format!("{none}.{claims}."), Invalid::Signature),
            (format!("{none}.{claims}.{signature}"), Invalid::Signature),
            (format!("{hs512}.{claims}.{signature}"), Invalid::Signature),
            (format!("{header}.{claims}."), Invalid::Signature),
            (format!("{header}.{claims}"), Invalid::Malformed),
            (format!("{token}.{signature}"), Invalid::Malformed),
            (String::new(), Invalid::Malformed),
            ("bearer".to_owned(), Invalid::Malformed),
        ] {
            assert_eq!(keys(OLD).check(&changed, "r1", NOW), Err(why), "{changed}");
        }
    }

    #[test]
    fn a_token_needs_a_key_id_an_expiry_and_all_its_claims() {
        let (_, key) = OLD.split_once('=').expect("a key");
        let (time, key) = (clock(NOW).expect("a time"), Hs256Key::new(key));
        let header = Header::empty().with_key_id("old");
        let endless = Hs256.token(&header, &Claims::new(ada()), &key).expect("signed");
        assert_eq!(keys(OLD).check(&endless, "r1", NOW), Err(Invalid::Expired));
        let claims = Claims::new(ada()).set_duration(&time, Duration::minutes(1));
        let anonymous = Hs256.token(&Header::empty(), &claims, &key).expect("signed");
        assert_eq!(keys(OLD).check(&anonymous, "r1", NOW), Err(Invalid::Signature));
        let without = Claims::new("ada".to_owned()).set_duration(&time, Duration::minutes(1));
        let without = Hs256.token(&header, &without, &key);
        // A claim set is an object, so this one cannot even be signed.
        assert!(without.is_err());
    }

    #[test]
    fn a_secret_without_good_keys_is_refused_and_not_repeated() {
        for (secret, part) in [
            ("", "no key"),
            ("0123456789abcdef0123456789abcdef", "`id=key`"),
            ("old=short", "32 bytes"),
            (&*format!("{OLD} {OLD}"), "twice"),
        ] {
            let message = Keys::parse(secret).expect_err(secret);
            assert!(message.contains(part) && !message.contains("0123") && !message.contains("short"), "{message}");
        }
        assert_eq!(format!("{:?}", keys(OLD)), r#"["old"]"#);
    }
}
