//! The layers of this crate, the folders of `src/`. Each layer may use those below it and none above. The tests read
//! the layers from the source, so that an import in the wrong direction fails here.
//!
//! The diagram of the layers in `docs/architecture.md` is drawn from the same data: `UPDATE_ARCHITECTURE=1` writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, visit::Visit};

/// The layers with their purpose, from the lowest to the highest.
const LAYERS: [(&str, &str); 8] = [
    ("types", "ids, limits, closes and errors, of which every layer speaks"),
    ("wire", "frames, commands, storage keys and codecs"),
    ("platform", "the trait that the engine stands on, with an adapter for Cloudflare and one in memory"),
    ("engine", "every rule that a room keeps"),
    ("api", "the types that handlers and Workers see"),
    ("bindings", "types for clients: TypeScript, JSON Schema, AsyncAPI"),
    ("object", "the Durable Object class: events of the platform reach the engine"),
    ("testing", "rooms in native tests"),
];

/// The uses between layers: the layer, the used layer, and the places in the source.
type Arrows = BTreeMap<(usize, usize), BTreeSet<String>>;

#[test]
fn no_layer_uses_one_above_it() {
    let arrows = arrows();
    let mut wrong = Vec::new();
    for ((from, to), places) in &arrows {
        let (from, to) = (LAYERS[*from].0, LAYERS[*to].0);
        if rank(to) > rank(from) {
            let places: Vec<_> = places.iter().map(String::as_str).collect();
            wrong.push(format!("`{from}` uses `{to}`, which is above it:\n  {}", places.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_is_in_a_layer() {
    for entry in fs::read_dir(source()).expect("the source") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(name == "lib.rs" || LAYERS.iter().any(|(layer, _)| *layer == name), "`src/{name}` is in no layer");
    }
}

#[test]
fn the_picture_of_the_layers_is_what_the_source_says() {
    const BEGIN: &str = "<!-- layers: begin -->\n";
    const END: &str = "<!-- layers: end -->";

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/architecture.md");
    // The package in the registry does not contain the documents.
    let Ok(document) = fs::read_to_string(&file) else { return };
    let (before, rest) = document.split_once(BEGIN).expect("where the picture begins");
    let (picture, after) = rest.split_once(END).expect("where the picture ends");
    let drawn = draw(&arrows());
    if picture == drawn {
        return;
    }
    if env::var_os("UPDATE_ARCHITECTURE").is_some() {
        fs::write(&file, [before, BEGIN, &drawn, END, after].concat()).expect("docs/architecture.md");
        return;
    }
    panic!(
        "the picture in docs/architecture.md is not that of the source: write it with UPDATE_ARCHITECTURE=1\n{drawn}"
    );
}

/// Draws a flow chart with the highest layer at the top. It omits arrows that follow from other arrows.
fn draw(arrows: &Arrows) -> String {
    let mut text = "```mermaid\nflowchart TD\n".to_owned();
    for (name, what) in LAYERS.iter().rev() {
        text += &format!("    {name}[\"<b>{name}</b><br/>{what}\"]\n");
    }
    let uses = |from: usize, to: usize| from != to && arrows.contains_key(&(from, to));
    let reaches = |from: usize, to: usize| (to + 1..from).any(|middle| uses(from, middle) && uses(middle, to));
    for from in (0..LAYERS.len()).rev() {
        for to in (0..from).rev().filter(|to| uses(from, *to) && !reaches(from, *to)) {
            text += &format!("    {} --> {}\n", LAYERS[from].0, LAYERS[to].0);
        }
    }
    text += "```\n";
    text
}

fn rank(layer: &str) -> usize {
    LAYERS.iter().position(|(name, _)| *name == layer).expect("a layer")
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn arrows() -> Arrows {
    let exports = exports();
    let mut arrows = Arrows::new();
    for (rank, (layer, _)) in LAYERS.iter().enumerate() {
        let mut files = Vec::new();
        list(&source().join(layer), &mut files);
        let tests = test_files(&files);
        assert!(!files.is_empty(), "there is no layer `{layer}`");
        for file in files.iter().filter(|file| !tests.contains(*file)) {
            let mut reader = Reader::default();
            reader.visit_file(&parse(file));
            for path in reader.paths {
                let first = path.first().map(String::as_str).unwrap_or_default();
                let used = match LAYERS.iter().position(|(layer, _)| *layer == first) {
                    Some(used) => used,
                    None => match exports.get(first) {
                        Some(used) => *used,
                        // The name is an export of the macros or a module of `lib.rs`.
                        None => continue,
                    },
                };
                let place =
                    format!("{}: crate::{}", file.strip_prefix(source()).expect("inside").display(), path.join("::"));
                arrows.entry((rank, used)).or_default().insert(place);
            }
        }
    }
    arrows
}

/// Returns the layer of each name that `lib.rs` exports.
fn exports() -> BTreeMap<String, usize> {
    let mut exports = BTreeMap::new();
    for item in parse(&source().join("lib.rs")).items {
        let Item::Use(item) = item else { continue };
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        for path in paths {
            if let [root, layer, .., name] = &path[..]
                && root == "crate"
                && let Some(rank) = LAYERS.iter().position(|(known, _)| known == layer)
            {
                exports.insert(name.clone(), rank);
            }
        }
    }
    assert!(exports.len() > 30, "the exports of lib.rs: {exports:?}");
    exports
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn parse(file: &Path) -> syn::File {
    let text = fs::read_to_string(file).expect("a file of the source");
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Returns the files of modules that are declared as `#[cfg(test)] mod name;`.
fn test_files(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut tests = BTreeSet::new();
    for file in files {
        for item in parse(file).items {
            if let Item::Mod(module) = item
                && is_test(&module.attrs)
                && module.content.is_none()
            {
                tests.insert(file.with_file_name(format!("{}.rs", module.ident)));
            }
        }
    }
    tests
}

fn is_test(attributes: &[Attribute]) -> bool {
    let is = |attribute: &Attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    };
    attributes.iter().any(is)
}

/// Collects every path that begins with `crate`, without that first segment.
#[derive(Default)]
struct Reader {
    paths: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        self.paths.extend(paths.into_iter().filter(|path| path[0] == "crate").map(|path| path[1..].to_vec()));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names[0] == "crate" {
            self.paths.push(names[1..].to_vec());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        syn::visit::visit_macro(self, call);
    }
}

impl Reader {
    fn tokens(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "crate" => {
                    let colon =
                        |token: Option<TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':');
                    if colon(tokens.next())
                        && colon(tokens.next())
                        && let Some(TokenTree::Ident(name)) = tokens.peek()
                    {
                        self.paths.push(vec![name.to_string()]);
                    }
                }
                _ => {}
            }
        }
    }
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let mut leaf = |prefix: &[String], name: String| paths.push([prefix, &[name]].concat());
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            flatten(&path.tree, prefix, paths);
            prefix.pop();
        }
        UseTree::Name(name) => leaf(prefix, name.ident.to_string()),
        UseTree::Rename(rename) => leaf(prefix, rename.ident.to_string()),
        UseTree::Glob(_) => leaf(prefix, "*".to_owned()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, prefix, paths)),
    }
}
