//! The identity of a user: a signed token of the auction house, `base64url(claims as JSON).base64url(HMAC-SHA-256)`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use room_runtime::{data, serde_json};
use sha2::Sha256;

/// The rights of a user.
#[data]
#[derive(Copy, Eq)]
pub enum Role {
    Bidder,
    Seller,
    Spectator,
}

/// The content of a token.
#[data]
pub struct Claims {
    pub user: String,
    pub role: Role,
    /// The expiry, in seconds since the Unix epoch.
    pub expires: u64,
}

/// Signs and checks tokens.
#[derive(Clone)]
pub struct Signer {
    secret: Vec<u8>,
}

impl Signer {
    /// # Errors
    /// Fails if the secret is too short.
    pub fn new(secret: &str) -> Result<Self, &'static str> {
        if secret.len() < 16 {
            return Err("the secret AUCTION_SECRET has to have at least 16 characters");
        }
        Ok(Signer { secret: secret.as_bytes().to_vec() })
    }

    fn mac(&self, payload: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of every length");
        mac.update(payload.as_bytes());
        mac
    }

    /// Creates a token. All its characters are valid in a URL and in `sec-websocket-protocol`.
    pub fn sign(&self, claims: &Claims) -> String {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).expect("claims are JSON"));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&payload).finalize().into_bytes());
        format!("{payload}.{signature}")
    }

    /// Returns the content of a token, if its signature is valid and it has not expired.
    pub fn check(&self, token: &str, now_ms: u64) -> Option<Claims> {
        let (payload, signature) = token.split_once('.')?;
        self.mac(payload).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (claims.expires > now_ms / 1000 && !claims.user.is_empty()).then_some(claims)
    }
}
