//! The public API of room-runtime and the documentation of room-client, as the unstable JSON of the pinned toolchain's
//! rustdoc describes them.
//!
//! `room-runtime/public-api.txt` lists it, so that each change of it is a line of a diff.
//! `UPDATE_PUBLIC_API=1 cargo test -p xtask --test public_api` writes the list.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The crates whose types a user of the API sees. A breaking release of one of them is a breaking release of
/// room-runtime.
const FOREIGN: [&str; 9] = [
    "alloc",
    "bytes",
    "core",
    "futures_core",
    "http",
    // The two macros, which have the version of the runtime.
    "room_macros",
    // The traits of `serde`.
    "serde_core",
    "serde_json",
    "worker",
];

/// The types that users construct or match without `..`, so that a new field or variant of them is a breaking change.
const EXHAUSTIVE: [&str; 2] = [
    // A handler returns `Json(value)` and takes a request apart with `let Json(value) = …`.
    "Json", // SQLite has these five storage classes and no others.
    "SqlValue",
];

/// Traits that the compiler implements and that no caller notices. `Send` and `Sync` are kept.
const UNNOTICED: [&str; 5] = ["Freeze", "RefUnwindSafe", "Unpin", "UnsafeUnpin", "UnwindSafe"];

static JSON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| document().map_err(|error| format!("{error:#}")));

/// A method of a caller would hide the function of a room with the same name, so the macro rejects such a function.
#[test]
fn no_function_of_a_room_can_have_the_name_of_a_method_of_its_callers() -> Result<()> {
    const CALLERS: [&str; 4] = ["RoomHandle<R>", "Sibling<R, Other>", "testing::TestPeer<R>", "testing::TestRoom<R>"];

    let read = |path: &str| {
        let path = root()?.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let source = read("room-macros/src/calls.rs")?;
    let (_, taken) = source.split_once("const TAKEN").context("the list of names is gone")?;
    let (taken, _) = taken.split_once("];").context("the list has no end")?;
    let taken: BTreeSet<_> = taken.split('"').skip(1).step_by(2).collect();

    let mut methods = BTreeSet::new();
    for line in read("room-runtime/public-api.txt")?.lines() {
        for caller in CALLERS {
            let method = line.strip_prefix("pub fn room_runtime::").and_then(|rest| rest.strip_prefix(caller));
            let Some((name, arguments)) = method.and_then(|rest| rest.strip_prefix("::")?.split_once('(')) else {
                continue;
            };
            if arguments.starts_with("&self") || arguments.starts_with("self") {
                methods.insert(name.split('<').next().unwrap_or(name).to_owned());
            }
        }
    }
    let client = read("clients/rust/src/client.rs")?;
    let (_, client) = client.split_once("impl<E> Client<E> {").context("the client is gone")?;
    let (client, _) = client.split_once("\n}\n").context("the client has no end")?;
    for line in client.lines() {
        let function = line.strip_prefix("    pub fn ").or_else(|| line.strip_prefix("    pub async fn "));
        methods.extend(function.and_then(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
    }
    assert!(methods.len() > 60 && methods.contains("nudge"), "the methods were not found: {methods:?}");
    methods.retain(|name| name != "call_function" && !taken.contains(&**name));
    assert!(methods.is_empty(), "a function of a room can have these names: {methods:?}");
    Ok(())
}

#[test]
fn the_list_is_the_public_api() -> Result<()> {
    let api = public_api::Builder::from_rustdoc_json(json()?).omit_blanket_impls(true).build()?;
    let text = list(api.items().map(ToString::to_string));
    assert!(text.lines().count() > 500, "the API was not found:\n{text}");
    let path = root()?.join("room-runtime/public-api.txt");
    if env::var_os("UPDATE_PUBLIC_API").is_some() {
        return fs::write(&path, text).context("cannot write the list");
    }
    let listed = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (listed, found): (BTreeSet<_>, BTreeSet<_>) = (listed.lines().collect(), text.lines().collect());
    let gone = listed.difference(&found).map(|line| format!("- {line}\n"));
    let new = found.difference(&listed).map(|line| format!("+ {line}\n"));
    let changes: String = gone.chain(new).collect();
    assert!(changes.is_empty(), "the public API changes; UPDATE_PUBLIC_API=1 writes the list:\n{changes}");
    Ok(())
}

#[test]
fn foreign_types_are_of_few_crates() -> Result<()> {
    let api = Api::read()?;
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for id in api.reachable() {
        api.foreign(&api.index[&id]["inner"], &mut |name, path| {
            used.entry(name).or_default().insert(path);
        });
    }
    let found: Vec<_> = used.keys().copied().collect();
    assert_eq!(found, FOREIGN, "the crates of the public API are others; their types: {used:#?}");
    Ok(())
}

#[test]
fn types_that_will_grow_are_non_exhaustive() -> Result<()> {
    let api = Api::read()?;
    let mut exhaustive = BTreeSet::new();
    for id in api.reachable() {
        let item = &api.index[&id];
        let is_marked = item["attrs"].as_array().is_some_and(|attrs| attrs.iter().any(|attr| attr == "non_exhaustive"));
        if !is_marked && is_open(&item["inner"]) {
            exhaustive.extend(item["name"].as_str());
        }
    }
    let found: Vec<_> = exhaustive.into_iter().collect();
    assert_eq!(found, EXHAUSTIVE, "these types are exhaustive: mark them, or list them with the reason");
    Ok(())
}

#[test]
fn every_type_has_an_example_that_compiles() -> Result<()> {
    const CRATES: [(&str, &str, usize); 2] =
        [("room-runtime", "sqlite,bindings,garde,logs", 70), ("room-client", "msgpack,room", 28)];

    let mut without = Vec::new();
    for (package, features, fewest) in CRATES {
        let api = Api::of(&rustdoc(package, features, "doc-json")?)?;
        let types = api.types();
        assert!(types.len() >= fewest, "the types of {package} were not found: {:?}", types.values());
        let has_example = |id: &String| api.index[id]["docs"].as_str().is_some_and(has_compiled_example);
        without.extend(types.iter().filter(|(id, _)| !has_example(id)).map(|(_, path)| path.clone()));
    }
    assert!(without.is_empty(), "these types have no example on themselves that is compiled:\n{}", without.join("\n"));
    Ok(())
}

/// Returns whether one of the blocks of code is Rust that `cargo test` compiles.
fn has_compiled_example(docs: &str) -> bool {
    // Every second fence ends a block.
    let mut fences = docs.lines().filter_map(|line| line.trim_start().strip_prefix("```")).step_by(2);
    fences.any(|kind| ["", "rust", "no_run", "rust,no_run"].contains(&kind.trim()))
}

#[test]
fn only_compiled_rust_counts_as_an_example() {
    assert!(has_compiled_example("A type.\n\n```\nlet a = 1;\n```"));
    assert!(has_compiled_example("```json\n{}\n```\n```no_run\nloop {}\n```"));
    assert!(!has_compiled_example("A type."));
    assert!(!has_compiled_example("```json\n{}\n```\n\n```ignore\nx\n```"));
}

/// True for an enum, and for a struct that other crates can construct.
fn is_open(item: &Value) -> bool {
    let kind = &item["struct"]["kind"];
    let is_tuple = kind["tuple"].as_array().is_some_and(|fields| fields.iter().all(|field| !field.is_null()));
    item.get("enum").is_some() || kind == "unit" || is_tuple || kind["plain"]["has_stripped_fields"] == false
}

/// The lines of the list. A type of the prelude is listed once with its members, under its own path.
fn list(items: impl Iterator<Item = String>) -> String {
    let is_noticed = |line: &String| {
        let implemented = line.split_once(" for ").map_or("", |(head, _)| head);
        !UNNOTICED.iter().any(|name| implemented.ends_with(&format!("::{name}")))
    };
    let is_member = |line: &String| {
        let path = line.split_once("room_runtime::prelude::").map_or("", |(_, path)| path);
        let path = path.split(['(', '<', ' ']).next().unwrap_or_default().trim_end_matches(':');
        path.contains("::")
    };
    let lines: Vec<_> = items.filter(|line| is_noticed(line) && !is_member(line)).collect();
    let mut seen = BTreeSet::new();
    let mut kept: Vec<_> =
        lines.iter().rev().filter(|line| seen.insert(*line)).map(|line| format!("{line}\n")).collect();
    kept.reverse();
    kept.concat()
}

struct Api {
    index: BTreeMap<String, Value>,
    document: Value,
}

impl Api {
    fn read() -> Result<Self> {
        Api::of(json()?)
    }

    fn of(json: &Path) -> Result<Self> {
        let json = fs::read(json).with_context(|| format!("cannot read {}", json.display()))?;
        let mut document: Value = serde_json::from_slice(&json)?;
        let index = serde_json::from_value(document["index"].take())?;
        Ok(Self { index, document })
    }

    /// The items that are part of the public API, from the crate's root.
    fn reachable(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut left = vec![self.document["root"].to_string()];
        while let Some(id) = left.pop() {
            let Some(item) = self.index.get(&id) else { continue };
            let implementation = &item["inner"]["impl"];
            let is_blanket = !implementation["blanket_impl"].is_null() || implementation["is_synthetic"] == true;
            if item["crate_id"] != 0 || is_blanket || !found.insert(id) {
                continue;
            }
            for (_, inner) in item["inner"].as_object().into_iter().flatten() {
                left.extend(children(inner).map(ToString::to_string));
            }
        }
        found
    }

    /// The types and traits that a user can name, by their ids, each with a path. Hidden items are not in the document.
    fn types(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut left = vec![(self.document["root"].to_string(), String::new())];
        while let Some((id, path)) = left.pop() {
            let Some(item) = self.index.get(&id).filter(|item| item["crate_id"] == 0) else { continue };
            let inner = &item["inner"];
            let named = match item["name"].as_str() {
                Some(name) if path.is_empty() => name.to_owned(),
                Some(name) => format!("{path}::{name}"),
                None => path.clone(),
            };
            if ["struct", "enum", "union", "trait"].iter().any(|kind| inner.get(kind).is_some()) {
                found.entry(id).or_insert(named);
            } else if let Some(items) = inner["module"]["items"].as_array().filter(|_| seen.insert(id)) {
                left.extend(items.iter().map(|item| (item.to_string(), named.clone())));
            } else if !inner["use"]["id"].is_null() {
                // It has the name of the item that it exports.
                left.push((inner["use"]["id"].to_string(), path));
            }
        }
        found
    }

    /// Calls `each` with the crate and the path of every type and trait of other crates.
    fn foreign<'a>(&'a self, value: &'a Value, each: &mut impl FnMut(&'a str, String)) {
        let is_path = value.get("path").is_some() && value.get("args").is_some();
        if let Some(id) = value.get("id").filter(|_| is_path || value.get("is_glob").is_some()) {
            let known = &self.document["paths"][id.to_string()];
            let name = &self.document["external_crates"][known["crate_id"].to_string()]["name"];
            let segments = known["path"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let Some(name) = name.as_str() {
                each(name, segments.collect::<Vec<_>>().join("::"));
            }
        }
        match value {
            Value::Object(fields) => fields.values().for_each(|value| self.foreign(value, each)),
            Value::Array(values) => values.iter().for_each(|value| self.foreign(value, each)),
            _ => {}
        }
    }
}

/// The ids of an item's members, implementations and fields, and of the item that a `use` exports.
fn children(inner: &Value) -> impl Iterator<Item = &Value> {
    let kind = &inner["kind"];
    let lists = [&inner["items"], &inner["impls"], &inner["variants"], &kind["plain"]["fields"], &kind["tuple"]];
    let exported = inner.get("is_glob").map(|_| &inner["id"]);
    lists.into_iter().filter_map(Value::as_array).flatten().filter(|id| id.is_u64()).chain(exported)
}

fn json() -> Result<&'static Path> {
    match &*JSON {
        Ok(path) => Ok(path),
        Err(error) => bail!("{error}"),
    }
}

fn document() -> Result<PathBuf> {
    rustdoc("room-runtime", "sqlite", "doc")
}

/// Runs rustdoc and returns the path of its output, in this folder of the target directory. Cargo does not run it again for
/// features whose output is fresh, so each set of features of a crate needs a folder of its own.
fn rustdoc(package: &str, features: &str, folder: &str) -> Result<PathBuf> {
    let root = root()?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    let folder = target.join(folder);
    let mut cargo = Command::new("cargo");
    cargo.args(["rustdoc", "--quiet", "--package", package, "--features", features, "--lib", "--"]);
    cargo.args(["-Z", "unstable-options", "--output-format", "json", "-o"]).arg(&folder);
    let output = cargo.env("RUSTDOC", env!("CARGO_BIN_EXE_unstable-rustdoc")).current_dir(&root).output()?;
    if !output.status.success() {
        bail!("rustdoc failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder.join(package.replace('-', "_")).with_extension("json"))
}

fn root() -> Result<PathBuf> {
    // Cargo sets the variable at run time, so that a checkout that was moved is still found.
    let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    Ok(own.parent().context("xtask lies in the workspace")?.to_owned())
}
