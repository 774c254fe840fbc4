//! [`Json`], for the bodies of `on_request`, and [`query`], for the parameters of a query.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, ErrorKind, Failure, Limits,
    types::brief::brief,
    wire::{
        http_codec,
        json::{depth, round_trip::RoundTrip},
    },
};

/// JSON as the body of a request or a response.
///
/// `on_request` can return it, with the status 200, or with another status as `(StatusCode, Json<T>)`:
///
/// ```
/// # use room_runtime::{Bytes, Failure, Json, Room, RoomContext, data, http};
/// #[data]
/// pub struct Bid {
///     amount: u32,
/// }
///
/// # type Result<T> = core::result::Result<T, Failure>;
/// # fn example<R: Room<State = u32>>() {
/// # type Ctx<R> = RoomContext<R>;
/// fn on_request<R: Room<State = u32>>(ctx: &Ctx<R>, request: http::Request<Bytes>) -> Result<Json<Bid>> {
///     let Json(bid) = Json::<Bid>::from_request(&request)?;
///     ctx.update(|highest| *highest = bid.amount)?;
///     Ok(Json(bid))
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Json<T> {
    /// Decodes the body of a request.
    ///
    /// # Errors
    /// A [refusal](crate::RoomContext::refuse) if the body is not a `T`. If `on_request` returns it, the client gets
    /// 400 and a message that names the fault and its position.
    pub fn from_request(request: &Request<Bytes>) -> Result<Self, Failure> {
        let decoded = str::from_utf8(request.body())
            .map_err(brief)
            .and_then(|text| depth::measured(text, Limits::MAX_DEPTH, || serde_json::from_str(text)).map_err(brief));
        decoded.map(Json).map_err(|error| {
            Failure::refused(format!("the body is not what is expected: {error}"), StatusCode::BAD_REQUEST, None)
        })
    }
}

impl<T: Serialize> Json<T> {
    /// Creates a response with this status and this body, for an `on_request` that answers only sometimes with JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] if the value is not serializable as JSON.
    pub fn into_response(self, status: StatusCode) -> Result<Response<Bytes>, Failure> {
        let json = serde_json::to_vec(&RoundTrip::new(&self.0)).map_err(|error| {
            Error::new(ErrorKind::Encode, format!("the answer cannot be written as JSON: {}", brief(error)))
        })?;
        Ok(http_codec::json_text(status, json))
    }
}

/// Returns the first value of a query parameter of a URI.
///
/// The value is decoded: a `+` becomes a space, and bytes that are not UTF-8 become U+FFFD.
///
/// ```
/// let uri = "https://example.com/bids?limit=10&after=a%20b".parse().expect("a URI");
/// assert_eq!(room_runtime::query(&uri, "limit").as_deref(), Some("10"));
/// assert_eq!(room_runtime::query(&uri, "after").as_deref(), Some("a b"));
/// assert_eq!(room_runtime::query(&uri, "before"), None);
/// ```
pub fn query(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::outcome::RequestOutcome;

    fn answer(outcome: impl RequestOutcome) -> (u16, String) {
        let response = outcome.into_request_outcome().expect("an answer");
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).expect("UTF-8"))
    }

    #[test]
    fn on_request_may_return_json_alone_with_a_status_and_in_a_result() {
        let created = (StatusCode::CREATED, Json([1]));
        assert_eq!(answer(Json([1])), (200, "[1]".to_owned()));
        assert_eq!(answer(created), (201, "[1]".to_owned()));
        assert_eq!(answer(Ok::<_, Failure>(Json([1]))), (200, "[1]".to_owned()));
        assert_eq!(answer(Ok::<_, Failure>(created)), (201, "[1]".to_owned()));
        let refused = Err::<Json<()>, _>(Failure::refuse("no")).into_request_outcome().expect_err("a refusal");
        assert_eq!(refused.kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_query_is_decoded_and_its_first_value_counts() {
        let uri = "https://h/p?a=1%2B1&b=x+y&a=2&c&d=%FF".parse().expect("a URI");
        let read = |name| query(&uri, name);
        assert_eq!(read("a").as_deref(), Some("1+1"));
        assert_eq!(read("b").as_deref(), Some("x y"));
        assert_eq!(read("c").as_deref(), Some(""));
        assert_eq!(read("d").as_deref(), Some("\u{fffd}"));
        assert_eq!(read("e"), None);
        assert_eq!(query(&"https://h/p".parse().expect("a URI"), "a"), None);
    }
}
