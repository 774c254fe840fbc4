//! Walks through JSON Schemas, and the JSON Schema of a room.

use serde_json::{Map, Value};

use super::{
    contract::{BYTES, Contract},
    file,
    merge::Half,
};

const REF: &str = "#/$defs/";

/// The keywords with one schema, a list of schemas, and an object of schemas.
const ONE: [&str; 10] = [
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];

/// Calls `each` with every schema directly inside of this one, and the name of the property if it is that of one.
pub(super) fn each_mut(schema: &mut Value, each: &mut impl FnMut(Option<&str>, &mut Value)) {
    let Value::Object(object) = schema else { return };
    for (key, value) in object {
        match value {
            Value::Object(named) if NAMED.contains(&&**key) => {
                named.iter_mut().for_each(|(name, inner)| each((key == "properties").then_some(&**name), inner));
            }
            Value::Array(list) if LIST.contains(&&**key) => list.iter_mut().for_each(|inner| each(None, inner)),
            inner if ONE.contains(&&**key) => each(None, inner),
            _ => {}
        }
    }
}

/// The variant of an enum that this schema is.
pub(super) fn variant(schema: &Value) -> Option<&str> {
    let properties = schema.get("properties")?.as_object()?;
    let tag = properties.values().find_map(|property| property.get("const").and_then(Value::as_str));
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    tag.or_else(|| properties.keys().next().filter(|_| is_closed && properties.len() == 1).map(String::as_str))
}

/// The name of the definition that this schema refers to.
pub(super) fn target(schema: &Value) -> Option<String> {
    schema.get("$ref")?.as_str()?.strip_prefix(REF).map(str::to_owned)
}

/// The names of all definitions that this schema refers to.
pub(super) fn refs(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    // The walk is the mutable one; a copy is cheap here.
    collect(&mut schema.clone(), &mut found);
    found
}

fn collect(schema: &mut Value, found: &mut Vec<String>) {
    found.extend(target(schema));
    each_mut(schema, &mut |_, inner| collect(inner, found));
}

/// Renames the definitions that this schema refers to.
pub(super) fn rename_refs(schema: &mut Value, new: &impl Fn(&str) -> Option<String>) {
    if let Some(new) = target(schema).and_then(|name| new(&name)) {
        schema["$ref"] = format!("{REF}{new}").into();
    }
    each_mut(schema, &mut |_, inner| rename_refs(inner, new));
}

/// Replaces the escapes in the references by the names of the definitions.
pub(super) fn decode_refs(half: &mut Half) {
    for schema in half.definitions.values_mut().chain(&mut half.roots) {
        rename_refs(schema, &|name: &str| Some(decode(name)));
    }
}

fn decode(name: &str) -> String {
    let encoded = name.replace('+', "%2B");
    let decoded = form_urlencoded::parse(encoded.as_bytes()).next().map(|(name, _)| name.into_owned());
    decoded.unwrap_or_default().replace("~1", "/").replace("~0", "~")
}

/// The schema as documents contain it.
pub(super) fn published(schema: &Value) -> Value {
    let mut schema = schema.clone();
    publish(&mut schema);
    schema
}

fn publish(schema: &mut Value) {
    if let Value::Object(object) = schema {
        object.remove(BYTES);
    }
    each_mut(schema, &mut |_, inner| publish(inner));
}

/// The JSON Schema of a room: an object like the interface in TypeScript, and every type in `$defs`.
pub(super) fn write(contract: &Contract) -> Value {
    let calls = contract.calls.iter().map(|call| {
        let types = [("args", &call.args), ("error", &call.error), ("result", &call.result)];
        let types = types.into_iter().filter(|(name, _)| *name != "error" || call.has_error());
        let mut schema = object(types.map(|(name, schema)| (name, published(schema))));
        if !call.doc.is_empty() {
            schema.insert("description".to_owned(), call.doc.into());
        }
        (call.name, schema.into())
    });
    let mut schema = object([
        ("broadcast", published(&contract.broadcast)),
        ("calls", object(calls).into()),
        ("connection", published(&contract.connection)),
        ("event", published(&contract.event)),
        ("state", published(&contract.state)),
    ]);
    let definitions = contract.definitions.iter().map(|(name, schema)| (name.clone(), published(schema)));
    schema.extend([
        ("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into()),
        ("$comment".to_owned(), file::header(contract.name).join(" ").into()),
        ("title".to_owned(), contract.name.into()),
        ("$defs".to_owned(), Value::Object(definitions.collect())),
    ]);
    if !contract.doc.is_empty() {
        schema.insert("description".to_owned(), contract.doc.into());
    }
    schema.into()
}

/// The schema of an object with exactly these properties.
fn object<'n>(properties: impl IntoIterator<Item = (&'n str, Value)>) -> Map<String, Value> {
    let properties: Map<_, _> = properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let names: Vec<_> = properties.keys().cloned().collect();
    Map::from_iter([
        ("type".to_owned(), "object".into()),
        ("additionalProperties".to_owned(), false.into()),
        ("properties".to_owned(), properties.into()),
        ("required".to_owned(), names.into()),
    ])
}
