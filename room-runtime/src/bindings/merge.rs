//! One set of definitions from those of the two directions.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;

use super::schema;

/// The schemas of one direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) definitions: BTreeMap<String, Value>,
    /// The types of the room itself.
    pub(super) roots: Vec<Value>,
}

/// Names that a type cannot have in TypeScript.
const RESERVED: &[&str] = &[
    "Uint8Array",
    "any",
    "as",
    "async",
    "await",
    "bigint",
    "boolean",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "never",
    "new",
    "null",
    "number",
    "object",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "string",
    "super",
    "switch",
    "symbol",
    "this",
    "throw",
    "true",
    "try",
    "type",
    "typeof",
    "undefined",
    "unknown",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

impl Half {
    fn rename(&mut self, names: &BTreeMap<String, String>) {
        let new = |name: &str| names.get(name).cloned();
        let definitions = std::mem::take(&mut self.definitions);
        self.definitions = definitions.into_iter().map(|(name, value)| (new(&name).unwrap_or(name), value)).collect();
        for value in self.definitions.values_mut().chain(&mut self.roots) {
            schema::rename_refs(value, &new);
        }
    }

    /// Keeps the definitions that these roots need.
    fn retain(&mut self, is_root: impl Fn(usize) -> bool) {
        let mut left: Vec<_> = self
            .roots
            .iter()
            .enumerate()
            .filter(|(index, _)| is_root(*index))
            .flat_map(|(_, root)| schema::refs(root))
            .collect();
        let mut needed = BTreeSet::new();
        while let Some(name) = left.pop() {
            if let Some(definition) = self.definitions.get(&name)
                && needed.insert(name)
            {
                left.extend(schema::refs(definition));
            }
        }
        self.definitions.retain(|name, _| needed.contains(name));
    }

    /// Gives the room's own types the names that they have in Rust, also if another type of the name came first.
    fn prefer(&mut self, own: &[Cow<'static, str>]) {
        for (index, name) in own.iter().enumerate() {
            let Some(given) = self.roots.get(index).and_then(schema::target) else { continue };
            let is_numbered = given.strip_prefix(&**name).is_some_and(|rest| rest.parse::<u32>().is_ok());
            if is_numbered {
                let own = name.clone().into_owned();
                self.rename(&BTreeMap::from([(given.clone(), own.clone()), (own, given)]));
            }
        }
    }
}

/// Merges the types that a client sends with those that it receives. A type with two forms gets a second name for the
/// sent one.
pub(super) fn merge(
    mut sent: Half,
    mut received: Half,
    own: &[Cow<'static, str>],
    is_sent: impl Fn(usize) -> bool,
) -> (BTreeMap<String, Value>, Vec<Value>) {
    for half in [&mut sent, &mut received] {
        schema::decode_refs(half);
        half.prefer(own);
    }
    sent.retain(&is_sent);
    received.retain(|root| !is_sent(root));

    let mut two_forms: BTreeSet<String> = sent
        .definitions
        .iter()
        .filter(|(name, form)| received.definitions.get(*name).is_some_and(|other| other != *form))
        .map(|(name, _)| name.clone())
        .collect();
    loop {
        // A type that contains a type with two forms has two forms.
        let more: Vec<_> = sent
            .definitions
            .iter()
            .filter(|(name, _)| received.definitions.contains_key(*name) && !two_forms.contains(*name))
            .filter(|(_, form)| schema::refs(form).iter().any(|name| two_forms.contains(name)))
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        two_forms.extend(more);
    }
    let mut taken: BTreeSet<String> = sent.definitions.keys().chain(received.definitions.keys()).cloned().collect();
    let names = two_forms.into_iter().map(|name| {
        let input = free(format!("{name}Input"), &mut taken);
        (name, input)
    });
    sent.rename(&names.collect());

    let roots = sent.roots.into_iter().zip(received.roots).enumerate();
    let roots = roots.map(|(index, (sent, received))| if is_sent(index) { sent } else { received }).collect();
    let mut definitions = received.definitions;
    definitions.extend(sent.definitions);
    let mut whole = Half { definitions, roots };
    let mut taken = BTreeSet::new();
    let names = whole.definitions.keys().map(|name| (name.clone(), free(identifier(name), &mut taken))).collect();
    whole.rename(&names);
    (whole.definitions, whole.roots)
}

/// The name, or the name with the first number that makes it unique.
fn free(name: String, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}

/// The name as a name of TypeScript, of letters that all three forms allow.
pub(super) fn identifier(name: &str) -> String {
    let mut identifier: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if identifier.starts_with(|first: char| first.is_ascii_digit()) || identifier.is_empty() {
        identifier.insert(0, '_');
    }
    if RESERVED.contains(&&*identifier) {
        identifier.push('_');
    }
    identifier
}
