//! Who somebody is: a token that the auction house signed, `base64url(claims as JSON).base64url(HMAC-SHA-256)`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use room_runtime::{data, serde_json};
use sha2::Sha256;

/// What a user may do.
#[data]
#[derive(Copy, Eq)]
pub enum Role {
    Bidder,
    Seller,
    Spectator,
}

/// What a token says.
#[data]
pub struct Claims {
    pub user: String,
    pub role: Role,
    /// Seconds since the Unix epoch.
    pub expires: u64,
}

/// Signs tokens, and checks them.
#[derive(Clone)]
pub struct Signer {
    secret: Vec<u8>,
}

impl Signer {
    /// # Errors
    /// When the secret is too short to be one.
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

    /// A token. All characters of it may stand in a URL and in `sec-websocket-protocol`.
    pub fn sign(&self, claims: &Claims) -> String {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).expect("claims are JSON"));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&payload).finalize().into_bytes());
        format!("{payload}.{signature}")
    }

    /// What a token says, if it is one of ours and still good.
    pub fn check(&self, token: &str, now_ms: u64) -> Option<Claims> {
        let (payload, signature) = token.split_once('.')?;
        self.mac(payload).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (claims.expires > now_ms / 1000 && !claims.user.is_empty()).then_some(claims)
    }
}
