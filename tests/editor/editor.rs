//! Completions of an editor in a room. While a module is being written, it usually has a mistake.
//!
//! rust-analyzer opens a user's crate, the one outside the workspace. Each case shows it another text as the unsaved
//! content of its `lib.rs`.

#![forbid(unsafe_code)]

mod server;

use std::path::Path;

use serde_json::{Value, json};
use url::Url;

use crate::server::Server;

/// The text that every case edits.
const ROOM: &str = r#"
use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State { pub count: u64 }
    pub struct Connection { pub user: String }
    pub enum Event { Say { text: String } }
    pub enum Broadcast { Said { text: String } }

    impl State {
        pub fn next(&self) -> u64 { self.count + 1 }
    }

    pub fn on_connect(ctx: &Ctx, peer: &Peer) {
        // inside
    }

    pub fn on_event(ctx: &Ctx, event: Event) {}
    pub fn on_alarm(ctx: &Ctx) {}
}

async fn worker(rooms: &chat::RoomClient) {
    // outside
}
"#;

struct Case {
    name: &'static str,
    /// The replacements: the mistake, and the cursor `$0` of the completion.
    edits: &'static [(&'static str, &'static str)],
    /// The editor's message about the mistake.
    says: Option<&'static str>,
    /// Names that the completions must contain. The editor knows them only if it expands the macro.
    lists: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "a peer in a room without mistakes",
        edits: &[("// inside", "peer.$0")],
        says: None,
        lists: &["close", "data", "send"],
    },
    Case {
        name: "the context in a room without mistakes",
        edits: &[("// inside", "ctx.$0")],
        says: None,
        lists: &["broadcast", "peers", "update"],
    },
    Case {
        name: "beside a misspelled handler",
        edits: &[("fn on_event", "fn on_evnet"), ("// inside", "peer.$0")],
        says: Some("a similar handler exists: `on_event`"),
        lists: &["send"],
    },
    Case {
        name: "in a misspelled handler",
        edits: &[("fn on_connect", "fn on_conect"), ("// inside", "ctx.update(|state| state.$0)")],
        says: Some("a similar handler exists: `on_connect`"),
        lists: &["count"],
    },
    Case {
        name: "a room without `Broadcast`",
        edits: &[("pub enum Broadcast { Said { text: String } }", ""), ("// inside", "peer.$0")],
        says: Some("room `chat` has no `Broadcast` type"),
        lists: &["send"],
    },
    Case {
        name: "a tuple variant",
        edits: &[("Say { text: String }", "Say(String)"), ("// inside", "peer.$0")],
        says: Some("variant `Say` has no field names"),
        lists: &["send"],
    },
    Case {
        name: "an unknown option",
        edits: &[("#[room]", "#[room(tagg = \"x\")]"), ("// inside", "peer.$0")],
        says: Some("unknown `#[room]` option `tagg`"),
        lists: &["send"],
    },
    Case {
        name: "an option without a value",
        edits: &[("#[room]", "#[room(tag = )]"), ("// inside", "peer.$0")],
        says: Some("option `tag` takes a text"),
        lists: &["send"],
    },
    Case {
        name: "a handler with too few parameters",
        edits: &[("ctx: &Ctx, event: Event", "ctx: &Ctx"), ("// inside", "peer.$0")],
        says: Some("handler `on_event` takes 2 parameters, not 1"),
        lists: &["send"],
    },
    Case {
        name: "half a statement in another handler",
        edits: &[("event: Event) {}", "event: Event) { let text = }"), ("// inside", "peer.$0")],
        says: Some("expected expression"),
        lists: &["send"],
    },
    Case {
        name: "half a statement in a method",
        edits: &[("self.count + 1", "self.count +"), ("// inside", "peer.$0")],
        says: Some("expected expression"),
        lists: &["send"],
    },
    Case {
        name: "half a handler",
        edits: &[("fn on_alarm(ctx: &Ctx) {}", "fn on_al"), ("// inside", "peer.$0")],
        says: Some("expected function arguments"),
        lists: &["send"],
    },
    Case {
        name: "below half a handler",
        edits: &[("pub fn on_connect", "pub fn on_al pub fn on_connect"), ("// inside", "peer.$0")],
        says: Some("expected function arguments"),
        lists: &["send"],
    },
    Case {
        name: "half a handler above a schema",
        edits: &[("pub struct Connection", "pub fn on_al pub struct Connection"), ("// inside", "peer.data().$0")],
        says: Some("expected function arguments"),
        lists: &["user"],
    },
    Case {
        name: "half a parameter",
        edits: &[("fn on_alarm(ctx: &Ctx) {}", "fn on_alarm(ctx: &$0) {}")],
        says: Some("expected type"),
        lists: &["Ctx"],
    },
    Case {
        name: "half a field",
        edits: &[("Said { text: String }", "Said { text: }"), ("// inside", "peer.$0")],
        says: Some("expected type"),
        lists: &["send"],
    },
    Case {
        name: "the names of a module with a mistake",
        edits: &[("fn on_event", "fn on_evnet"), ("// outside", "chat::$0")],
        says: Some("a similar handler exists: `on_event`"),
        lists: &["Broadcast", "Connection", "Ctx", "Event", "Peer", "Result", "Room", "RoomClient", "State"],
    },
    Case {
        name: "the client of a room with a mistake",
        edits: &[("fn on_event", "fn on_evnet"), ("// outside", "chat::RoomClient::$0")],
        says: Some("a similar handler exists: `on_event`"),
        lists: &["from_env", "jurisdiction", "room"],
    },
    Case {
        name: "a room with a mistake, from the Worker",
        edits: &[("fn on_event", "fn on_evnet"), ("// outside", "rooms.room(\"main\").$0")],
        says: Some("a similar handler exists: `on_event`"),
        lists: &["broadcast", "connect", "peers", "request", "send", "state", "upgrade"],
    },
    Case {
        name: "the state of a room without `Broadcast`, from the Worker",
        edits: &[
            ("pub enum Broadcast { Said { text: String } }", ""),
            ("// outside", "if let Ok(Some(state)) = rooms.room(\"main\").state().await { state.$0 }"),
        ],
        says: Some("room `chat` has no `Broadcast` type"),
        lists: &["count"],
    },
    Case {
        name: "the names of a module with half a handler",
        edits: &[("fn on_alarm(ctx: &Ctx) {}", "fn on_al"), ("// outside", "chat::$0")],
        says: Some("expected function arguments"),
        lists: &["Broadcast", "Connection", "Ctx", "Event", "Peer", "Result", "Room", "RoomClient", "State"],
    },
];

#[test]
fn rooms_with_mistakes_complete() {
    let mut editor = Editor::open();
    let mut failures = Vec::new();
    for Case { name, edits, says, lists } in CASES {
        let (text, cursor) = edited(edits);
        editor.show(&text);
        let errors = editor.errors();
        let said = match says {
            Some(says) => errors.iter().any(|error| error.contains(says)),
            None => !errors.iter().any(|error| error.starts_with("macro-error")),
        };
        if !said {
            failures.push(format!("{name}: the errors are {errors:#?}, and not {says:?}"));
        }
        let listed = editor.completions(&cursor);
        let missing: Vec<_> = lists.iter().filter(|name| !listed.iter().any(|listed| listed == *name)).collect();
        if !missing.is_empty() {
            let listed = &listed[..listed.len().min(20)];
            failures.push(format!("{name}: {missing:?} are not listed, but {listed:?}"));
        }
    }
    let (text, cursor) = edited(&[("fn on_event(ctx: &Ctx", "fn on_evnet(ctx: &C$0tx")]);
    editor.show(&text);
    let hover = editor.hover(&cursor);
    if !hover.contains("The room, as its handlers see it.") {
        failures.push(format!("the context's type in a misspelled handler: {hover:?} is said of it"));
    }
    let log = editor.server.log();
    editor.server.stop();
    assert!(failures.is_empty(), "{}\n\n{log}", failures.join("\n"));
}

/// The room after the edits, without the `$0`, and the position of the `$0`.
fn edited(edits: &[(&str, &str)]) -> (String, Value) {
    let mut text = ROOM.to_owned();
    for (from, to) in edits {
        assert_eq!(text.matches(from).count(), 1, "`{from}` is in the room once");
        text = text.replacen(from, to, 1);
    }
    let (before, after) = text.split_once("$0").expect("something is completed");
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().map_or(0, |line| line.encode_utf16().count());
    (format!("{before}{after}"), json!({ "line": line, "character": column }))
}

/// A user's crate in an editor.
struct Editor {
    server: Server,
    /// The URI of the open file.
    file: String,
    version: u32,
}

impl Editor {
    fn open() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("outside");
        let server = Server::start(&folder, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor"));
        let file = Url::from_file_path(folder.join("src/lib.rs")).expect("the path is absolute");
        Editor { server, file: file.into(), version: 0 }
    }

    /// Replaces the content of the file, without saving it.
    fn show(&mut self, text: &str) {
        self.version += 1;
        let (file, version) = (&self.file, self.version);
        if version == 1 {
            let document = json!({ "uri": file, "languageId": "rust", "version": version, "text": text });
            self.server.notify("textDocument/didOpen", json!({ "textDocument": document }));
        } else {
            let document = json!({ "uri": file, "version": version });
            let change = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
            self.server.notify("textDocument/didChange", change);
        }
    }

    /// The errors that the editor underlines, each as its kind and text.
    fn errors(&mut self) -> Vec<String> {
        let report = self.server.request("textDocument/diagnostic", json!({ "textDocument": { "uri": self.file } }));
        let text = |item: &Value| Some(format!("{}: {}", item["code"].as_str()?, item["message"].as_str()?));
        list(&report["items"], text)
    }

    /// The names that the editor offers.
    fn completions(&mut self, cursor: &Value) -> Vec<String> {
        let params = json!({ "textDocument": { "uri": self.file }, "position": cursor });
        let offered = self.server.request("textDocument/completion", params);
        list(&offered["items"], |item| item["label"].as_str().map(str::to_owned))
    }

    /// The editor's description of the name under the pointer.
    fn hover(&mut self, pointer: &Value) -> String {
        let params = json!({ "textDocument": { "uri": self.file }, "position": pointer });
        let hover = self.server.request("textDocument/hover", params);
        hover["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }
}

fn list(items: &Value, text: impl Fn(&Value) -> Option<String>) -> Vec<String> {
    items.as_array().into_iter().flatten().filter_map(text).collect()
}
