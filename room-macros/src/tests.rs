//! Snapshots of the whole expansion of the counter example. They show every change of the expansion, and keep it short.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p room-macros` rewrites them.

use std::{env, fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Item, parse_quote};

use crate::model::HANDLERS;

#[test]
fn the_counters_expansion_is_the_one_in_the_snapshot() {
    let source = read("src/snapshots/counter_source.rs");
    let file = syn::parse_file(&source).expect("the example is Rust");
    let module = file.items.into_iter().find_map(|item| match item {
        Item::Mod(mut module) => {
            module.attrs.retain(|attr| !attr.path().is_ident("room"));
            Some(module)
        }
        _ => None,
    });
    let module = module.expect("the example has a room");
    let expanded = crate::room_impl(TokenStream::new(), parse_quote!(#module));
    let file = syn::parse2(expanded).expect("the expansion is Rust");
    check("src/snapshots/counter.rs", &prettyplease::unparse(&file));
}

#[test]
fn each_handler_adds_few_tokens() {
    let schemas = "pub struct State; pub struct Connection; pub struct Event; pub struct Broadcast;
        pub struct Services; fn services(env: &worker::Env) -> Result<Services> {}";
    let options = "state_version = 1, reconnect_grace = \"10s\", rate_limit(burst = 1, per_second = 1)";
    let expand = |handler: &str| {
        // The option `state_version` requires this handler.
        let migrate = "fn migrate(version: u32, state: serde_json::Value) -> Result<State> {}";
        let migrate = if handler.contains("fn migrate(") { "" } else { migrate };
        // The import of the types that the handlers take.
        let import = "use super::*;";
        let module = format!("pub mod chat {{ {import} {schemas} {migrate} {handler} }}");
        let expanded = crate::room_impl(stream(options), stream(&module));
        assert!(!expanded.to_string().contains("compile_error"), "{expanded}");
        tokens(expanded) - tokens(stream(import))
    };
    let without = expand("");
    let mut table = format!("a room with services and migrate: {without}\n");
    for kind in HANDLERS.into_iter().filter(|kind| kind.makes.is_none() && kind.name != "migrate") {
        let source = format!("{} {{}}", kind.signature(&kind.taken(|_| false)));
        let added = expand(&source) - without - tokens(stream(&source));
        table += &format!("{}: {added}\n", kind.name);
    }
    check("src/snapshots/tokens.txt", &table);
}

pub(crate) fn stream(source: &str) -> TokenStream {
    source.parse().expect("these are tokens")
}

fn tokens(stream: TokenStream) -> usize {
    let count = |token| match token {
        TokenTree::Group(group) => 2 + tokens(group.stream()),
        _ => 1,
    };
    stream.into_iter().map(count).sum()
}

#[test]
fn a_half_written_body_keeps_the_rest_alive() {
    let module = "pub mod chat {
        pub struct State; pub struct Connection; pub struct Event; pub struct Broadcast;
        fn on_event(ctx: &Ctx, event: Event) { ctx. }
    }";
    let expanded = crate::room_impl(TokenStream::new(), module.parse().expect("these are tokens"));
    let text = expanded.to_string();
    assert!(text.contains("RoomClient") && text.contains("{ ctx . }"), "{text}");
    assert!(!text.contains("compile_error"), "{text}");
}

pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn check(path: &str, expanded: &str) {
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::write(&path, expanded).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert_eq!(read(path), expanded, "the expansion is not the one in {path}");
}
