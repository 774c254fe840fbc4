//! The routes, with rooms in memory. Only a WebSocket needs Cloudflare: tests/e2e/auction.test.mjs opens those.

use axum::{body::to_bytes, http::HeaderMap};
use room_runtime::testing::World;
use tower_service::Service;

use super::*;

const NOW: u64 = 1_800_000_000_000;

struct Site {
    world: World,
    house: House,
}

impl Site {
    fn new() -> Self {
        let world = World::new();
        let key = Key::new("0123456789abcdef0123456789abcdef").expect("a key");
        let house = House { auctions: world.client(), lobby: world.client(), key, now_ms: || NOW };
        Site { world, house }
    }

    fn ask(&self, request: Request) -> (u16, HeaderMap, serde_json::Value) {
        self.world.block_on(async {
            let Ok(response) = router(self.house.clone()).call(request).await.map_err(|never| match never {});
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            (parts.status.as_u16(), parts.headers, serde_json::from_slice(&body).expect("JSON"))
        })
    }

    fn get(&self, path: &str, cookie: &str) -> (u16, serde_json::Value) {
        let request = Request::get(format!("https://house.example{path}")).header(header::COOKIE, cookie);
        let (status, _, body) = self.ask(request.body(Body::empty()).expect("a request"));
        (status, body)
    }

    fn post(&self, path: &str, cookie: &str, body: &str) -> (u16, HeaderMap, serde_json::Value) {
        self.ask(post(path, cookie).body(Body::from(body.to_owned())).expect("a request"))
    }

    /// Signs in, and returns the cookie.
    fn sign_in(&self, name: &str) -> String {
        let (status, headers, _) = self.post("/api/session", "", &format!(r#"{{"name":"{name}"}}"#));
        assert_eq!(status, 200);
        let cookie = headers[header::SET_COOKIE].to_str().expect("text");
        cookie.split(';').next().expect("a pair").to_owned()
    }
}

fn post(path: &str, cookie: &str) -> http::request::Builder {
    Request::post(format!("https://house.example{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, cookie)
}

const LAMP: &str = r#"{"title":"A brass lamp","start_price":1000,"duration_s":60}"#;

#[test]
fn a_visitor_signs_in_and_keeps_the_identity_under_another_name() {
    let site = Site::new();
    assert_eq!(site.get("/api/session", ""), (200, serde_json::Value::Null));
    let cookie = site.sign_in(" Ada   Lovelace ");
    let (_, ada) = site.get("/api/session", &cookie);
    assert_eq!(ada["name"], "Ada Lovelace");

    let (_, headers, renamed) = site.post("/api/session", &cookie, r#"{"name":"Countess"}"#);
    assert_eq!((&renamed["id"], &renamed["name"]), (&ada["id"], &"Countess".into()));
    let set = headers[header::SET_COOKIE].to_str().expect("text");
    assert!(set.ends_with("; Secure") && headers[header::CACHE_CONTROL] == "no-store", "{set}");

    assert_ne!(site.get("/api/session", &site.sign_in("Ada Lovelace")).1["id"], ada["id"]);
    // A changed token is none.
    assert_eq!(site.get("/api/session", &format!("{cookie}x")).1, serde_json::Value::Null);
    let (status, _, body) = site.post("/api/session", "", r#"{"name":" "}"#);
    assert_eq!((status, &body["error"]["field"]), (422, &"name".into()));
}

#[test]
fn an_auction_is_created_listed_and_read() {
    let site = Site::new();
    let cookie = site.sign_in("Sally");
    let (status, _, created) = site.post("/api/auctions", &cookie, LAMP);
    assert_eq!(status, 201);
    let id = created["id"].as_str().expect("an id");
    let (status, info) = site.get(&format!("/api/auctions/{id}"), "");
    assert_eq!(
        (status, &info["lot"]["title"], &info["seller"]["name"]),
        (200, &"A brass lamp".into(), &"Sally".into())
    );
    assert_eq!(site.get(&format!("/api/auctions/{id}/bids"), ""), (200, serde_json::json!([])));
    let (_, list) = site.get("/api/auctions", "");
    assert_eq!((&list[0]["id"], &list[0]["price"]), (&id.into(), &1_000.into()));
    site.world.assert_no_errors();
}

#[test]
fn a_bad_request_gets_an_error_with_its_field() {
    let site = Site::new();
    let cookie = site.sign_in("Sally");
    let create = |body: &str| {
        let (status, _, body) = site.post("/api/auctions", &cookie, body);
        (status, body["error"]["code"].clone(), body["error"]["field"].clone())
    };
    for (from, to, field) in [
        ("A brass lamp", "A", "title"),
        ("\"start_price\":1000", "\"start_price\":0", "start_price"),
        ("\"start_price\":1000", "\"start_price\":9007199254740993", "start_price"),
        ("\"duration_s\":60", "\"duration_s\":1", "duration_s"),
        ("\"duration_s\":60", "\"duration_s\":60,\"delay_s\":99999999", "delay_s"),
    ] {
        assert_eq!(create(&LAMP.replace(from, to)), (422, "invalid".into(), field.into()), "{field}");
    }
    for (body, status) in
        [("", 400), ("{}", 422), (&*LAMP.replace("1000", "10.5"), 422), (&LAMP.replace("1000", "-1"), 422)]
    {
        assert_eq!(create(body), (status, "bad_request".into(), serde_json::Value::Null), "{body}");
    }
    let (status, _, body) = site.post("/api/auctions", "", LAMP);
    assert_eq!((status, &body["error"]["code"]), (401, &"sign_in".into()));
    assert_eq!(site.get("/api/auctions", "").1, serde_json::json!([]));
}

#[test]
fn an_id_that_is_none_reaches_no_room() {
    let site = Site::new();
    let known = Uuid::new_v4();
    for id in ["lamp", "..", &known.to_string(), &known.simple().to_string().to_uppercase(), "%ff"] {
        let (status, body) = site.get(&format!("/api/auctions/{id}"), "");
        assert_eq!((status, &body["error"]["code"]), (404, &"not_found".into()), "{id}");
    }
    // This one reaches a room that nobody opened.
    let (status, body) = site.get(&format!("/api/auctions/{}", known.simple()), "");
    assert_eq!((status, &body["error"]["code"]), (404, &"refused".into()));
    assert_eq!(site.get("/api/elsewhere", "").0, 404);
    assert_eq!(site.post("/api/auctions/x", "", "").0, 405);
}

#[test]
fn the_page_of_another_site_can_do_nothing() {
    let site = Site::new();
    let ask = |origin: &str| {
        let request = post("/api/session", "").header(header::ORIGIN, origin);
        site.ask(request.body(Body::from(r#"{"name":"Ada"}"#)).expect("a request")).0
    };
    assert_eq!(ask("https://house.example"), 200);
    for origin in ["https://evil.example", "http://house.example", "https://house.example:8443", "null", ""] {
        assert_eq!(ask(origin), 403, "{origin}");
    }
}

#[test]
fn a_wrong_query_is_answered_as_every_error() {
    let site = Site::new();
    for query in ["before=x", "before=-1", "before=", "before=1&before=2"] {
        let (status, body) = site.get(&format!("/api/auctions/0190a0b0c0d070008000000000000001/bids?{query}"), "");
        assert_eq!((status, &body["error"]["code"]), (400, &serde_json::json!("bad_request")), "{query}: {body}");
    }
}
