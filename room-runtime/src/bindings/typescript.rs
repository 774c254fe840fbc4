//! TypeScript from the schemas of a room.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    contract::{BYTES, Contract},
    file, merge, schema,
};
use crate::Codec;

/// The longest type on one line.
const WIDTH: usize = 100;

/// The longest list of a fixed length that is written as a tuple.
const MAX_TUPLE: u64 = 8;

pub(super) fn write(contract: &Contract) -> String {
    let writer = Writer { definitions: &contract.definitions, bytes: bytes(contract.codecs) };
    let mut text = String::new();
    for line in file::header(contract.name) {
        text += &format!("// {line}\n");
    }
    text += "\n";
    text += &writer.room(contract);
    // The types of the room come first, because readers look for them.
    let own = [&contract.event, &contract.broadcast, &contract.state, &contract.connection];
    let own: Vec<_> = own.into_iter().filter_map(schema::target).collect();
    let others = contract.definitions.keys().filter(|name| !own.contains(name));
    let mut written = Vec::new();
    for name in own.iter().chain(others) {
        // Two schemas of a room can be one type.
        if written.contains(&name) {
            continue;
        }
        written.push(name);
        if let Some(definition) = contract.definitions.get(name) {
            text += "\n";
            text += &writer.definition(name, definition);
        }
    }
    text
}

/// The type of bytes with these codecs.
fn bytes(codecs: &[Codec]) -> &'static str {
    match (codecs.contains(&Codec::Json), Codec::has_message_pack(codecs)) {
        (false, true) => "Uint8Array",
        (true, true) => "number[] | Uint8Array",
        _ => "number[]",
    }
}

/// A type, and whether it needs parentheses inside of another.
struct Type {
    text: String,
    binds: Binds,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    Union,
    Intersection,
    Tight,
}

impl Type {
    fn tight(text: impl Into<String>) -> Self {
        Type { text: text.into(), binds: Binds::Tight }
    }

    /// The text inside of a type that binds like this.
    fn inside(self, outer: Binds) -> String {
        if self.binds < outer { format!("({})", self.text) } else { self.text }
    }
}

struct Writer<'c> {
    definitions: &'c BTreeMap<String, Value>,
    bytes: &'static str,
}

impl Writer<'_> {
    /// The interface of the room.
    fn room(&self, contract: &Contract) -> String {
        let mut name = merge::identifier(&pascal_case(contract.name));
        while self.definitions.contains_key(&name) {
            name += "Room";
        }
        let mut text = comment(&[contract.doc.to_owned()], "");
        text += &format!("export interface {name} {{\n");
        for (doc, name, schema) in [
            ("Sent by a client.", "event", &contract.event),
            ("Sent by the room to its peers.", "broadcast", &contract.broadcast),
            ("The stored state of the room.", "state", &contract.state),
            ("The data of one peer.", "connection", &contract.connection),
        ] {
            text += &format!("  /** {doc} */\n  {name}: {};\n", self.ty(schema, 1).text);
        }
        text += "  /** The functions that a client can call. */\n";
        if contract.calls.is_empty() {
            return text + "  calls: {};\n}\n";
        }
        text += "  calls: {\n";
        for call in &contract.calls {
            text += &comment(&[call.doc.to_owned()], "    ");
            text += &format!("    {}: {{\n", key(call.name));
            for (name, schema) in [("args", &call.args), ("result", &call.result), ("error", &call.error)] {
                text += &format!("      {name}: {};\n", self.ty(schema, 3).text);
            }
            text += "    };\n";
        }
        text + "  };\n}\n"
    }

    fn definition(&self, name: &str, schema: &Value) -> String {
        let mut text = comment(&notes(schema, true), "");
        if is_plain_object(schema)
            && let Some(object) = schema.as_object()
            && let Some(members) = self.members(object, 0)
        {
            text += &format!("export interface {name} {}\n", block(&members, 0));
            return text;
        }
        let variants = ["oneOf", "anyOf"].iter().find_map(|list| schema.get(list)?.as_array());
        match variants {
            Some(variants) if !has_base(schema) && variants.len() > 1 => {
                text += &format!("export type {name} =");
                for variant in literals_apart(variants) {
                    text += "\n";
                    text += &comment(&notes(&variant, false), "  ");
                    text += &format!("  | {}", self.ty(&variant, 2).inside(Binds::Intersection));
                }
                text += ";\n";
            }
            _ => text += &format!("export type {name} = {};\n", self.ty(schema, 0).text),
        }
        text
    }

    fn ty(&self, schema: &Value, depth: usize) -> Type {
        let object = match schema {
            Value::Object(object) => object,
            Value::Bool(false) => return Type::tight("never"),
            _ => return Type::tight("unknown"),
        };
        if let Some(value) = object.get("const") {
            return Type::tight(literal(value));
        }
        // An enum without variants.
        if object.get("not").is_some_and(|not| *not == serde_json::json!({}) || *not == Value::Bool(true)) {
            return Type::tight("never");
        }
        if let Some(Value::Array(values)) = object.get("enum") {
            return union(values.iter().map(|value| Type::tight(literal(value))).collect());
        }
        let mut parts = Vec::new();
        if let Some(base) = self.base(object, depth) {
            parts.push(base);
        }
        if let Some(name) = schema::target(schema) {
            parts.push(Type::tight(name));
        }
        for inner in list(object, "allOf") {
            parts.push(self.ty(inner, depth));
        }
        for choice in ["oneOf", "anyOf"] {
            let choices: Vec<_> = list(object, choice).map(|inner| self.ty(inner, depth)).collect();
            if !choices.is_empty() {
                parts.push(union(choices));
            }
        }
        // The parts of an object do not forbid each other's fields, unless they are the whole.
        if parts.len() > 1 {
            parts.retain(|part| part.text != "unknown");
        }
        if parts.len() > 1 {
            let parts: Vec<_> = parts.into_iter().map(|part| part.inside(Binds::Tight)).collect();
            return Type { text: parts.join(" & "), binds: Binds::Intersection };
        }
        parts.pop().unwrap_or_else(|| Type::tight("unknown"))
    }

    /// The type by the keyword `type`.
    fn base(&self, object: &Map<String, Value>, depth: usize) -> Option<Type> {
        let names: Vec<_> = match object.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ if object.contains_key("properties") => vec!["object"],
            _ => return None,
        };
        Some(union(names.into_iter().map(|name| self.of_kind(name, object, depth)).collect()))
    }

    fn of_kind(&self, name: &str, object: &Map<String, Value>, depth: usize) -> Type {
        match name {
            "null" | "boolean" | "string" => Type::tight(name),
            "number" | "integer" => Type::tight("number"),
            "array" => self.array(object, depth),
            "object" => match self.members(object, depth) {
                Some(members) => Type::tight(one_line(&members).unwrap_or_else(|| block(&members, depth))),
                None if object.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    Type::tight("{ [key: string]: never }")
                }
                None => Type::tight("object"),
            },
            _ => Type::tight("unknown"),
        }
    }

    fn array(&self, object: &Map<String, Value>, depth: usize) -> Type {
        if object.contains_key(BYTES) {
            let binds = if self.bytes.contains('|') { Binds::Union } else { Binds::Tight };
            return Type { text: self.bytes.to_owned(), binds };
        }
        let items = object.get("items").unwrap_or(&Value::Bool(true));
        let first: Vec<_> = list(object, "prefixItems").map(|item| self.ty(item, depth).text).collect();
        if !first.is_empty() {
            return Type::tight(format!("[{}]", first.join(", ")));
        }
        let item = self.ty(items, depth);
        let bound = |key: &str| object.get(key).and_then(Value::as_u64);
        match (bound("minItems"), bound("maxItems")) {
            (Some(length), Some(most)) if length == most && length <= MAX_TUPLE => {
                Type::tight(format!("[{}]", vec![item.text; length as usize].join(", ")))
            }
            _ => Type::tight(format!("{}[]", item.inside(Binds::Tight))),
        }
    }

    /// The members of an object; `None` for an object without any.
    fn members(&self, object: &Map<String, Value>, depth: usize) -> Option<Vec<Member>> {
        let is_required = |name: &str| list(object, "required").any(|own| own.as_str() == Some(name));
        let properties: BTreeMap<_, _> =
            object.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
        let (tags, fields): (Vec<_>, Vec<_>) =
            properties.into_iter().partition(|(_, schema)| schema.get("const").is_some());
        let mut types = Vec::new();
        let mut members: Vec<_> = tags
            .into_iter()
            .chain(fields)
            .map(|(name, schema)| {
                let optional = if is_required(name) { "" } else { "?" };
                let ty = self.ty(schema, depth + 1);
                let text = format!("{}{optional}: {}", key(name), ty.text);
                types.push(ty);
                if !optional.is_empty() {
                    types.push(Type::tight("undefined"));
                }
                Member { notes: notes(schema, true), text }
            })
            .collect();
        let patterns = object.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
        for (pattern, schema) in patterns {
            let key = if [r"^\d+$", r"^-?\d+$"].contains(&&**pattern) { "number" } else { "string" };
            members.push(self.index(key, schema, &mut types, depth));
        }
        if let Some(schema @ Value::Object(_)) = object.get("unevaluatedProperties") {
            // The other parts of the type have fields too, and this one cannot name their types.
            let has_parts = ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| object.contains_key(*key));
            let schema = if has_parts { &Value::Bool(true) } else { schema };
            members.push(self.index("string", schema, &mut types, depth));
        } else if let Some(schema @ Value::Object(_)) = object.get("additionalProperties") {
            members.push(self.index("string", schema, &mut types, depth));
        } else if members.is_empty() && object.get("additionalProperties") == Some(&Value::Bool(true)) {
            members.push(self.index("string", &Value::Bool(true), &mut types, depth));
        }
        (!members.is_empty()).then_some(members)
    }

    /// The member for all other keys. Its type includes those of the named members, as TypeScript demands.
    fn index(&self, key: &str, schema: &Value, others: &mut Vec<Type>, depth: usize) -> Member {
        let mut types = vec![self.ty(schema, depth + 1)];
        if key == "string" {
            types.append(others);
        }
        Member { notes: Vec::new(), text: format!("[key: {key}]: {}", union(types).text) }
    }
}

/// A member of an object, with the lines of its comment.
struct Member {
    notes: Vec<String>,
    text: String,
}

fn one_line(members: &[Member]) -> Option<String> {
    if members.iter().any(|member| !member.notes.is_empty() || member.text.contains('\n')) {
        return None;
    }
    let members: Vec<_> = members.iter().map(|member| &*member.text).collect();
    Some(format!("{{ {} }}", members.join("; "))).filter(|text| text.len() <= WIDTH)
}

fn block(members: &[Member], depth: usize) -> String {
    let mut text = "{\n".to_owned();
    let indent = "  ".repeat(depth + 1);
    for member in members {
        text += &comment(&member.notes, &indent);
        text += &format!("{indent}{};\n", member.text);
    }
    text + &"  ".repeat(depth) + "}"
}

fn union(types: Vec<Type>) -> Type {
    let mut texts: Vec<String> = Vec::new();
    let mut only = None;
    for ty in types {
        if ty.text == "unknown" {
            return ty;
        }
        if texts.contains(&ty.text) {
            continue;
        }
        only = Some(ty.binds);
        texts.push(ty.text);
    }
    match (&texts[..], only) {
        ([text], Some(binds)) => Type { text: text.clone(), binds },
        ([], _) => Type::tight("never"),
        _ => Type { text: texts.join(" | "), binds: Binds::Union },
    }
}

/// The variants of an enum, with each name on its own.
fn literals_apart(variants: &[Value]) -> Vec<Value> {
    let apart = variants.iter().flat_map(|variant| match variant.get("enum").and_then(Value::as_array) {
        Some(values) => values.iter().map(|value| serde_json::json!({ "const": value })).collect(),
        None => vec![variant.clone()],
    });
    apart.collect()
}

/// True for an object that is neither a choice nor a part of others.
fn is_plain_object(schema: &Value) -> bool {
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    is_object && ["$ref", "allOf", "anyOf", "oneOf", "const", "enum"].iter().all(|key| schema.get(key).is_none())
}

/// True if a schema with variants has something besides them.
fn has_base(schema: &Value) -> bool {
    let is_choice = |key: &&str| schema.get(key).is_some();
    ["oneOf", "anyOf"].iter().filter(|key| is_choice(key)).count() > 1
        || ["$ref", "allOf", "type", "properties", "const", "enum"].iter().any(is_choice)
}

fn list<'v>(object: &'v Map<String, Value>, key: &str) -> impl Iterator<Item = &'v Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The lines of the comment about a type or a field.
fn notes(schema: &Value, with_range: bool) -> Vec<String> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut notes: Vec<_> = text("title").into_iter().chain(text("description")).collect();
    if with_range {
        notes.extend(range(schema));
    }
    if let Some(default) = schema.get("default") {
        notes.push(format!("@default {default}"));
    }
    if schema.get("deprecated") == Some(&Value::Bool(true)) {
        notes.push("@deprecated".to_owned());
    }
    notes
}

/// The integers that a type allows, of which TypeScript says nothing.
fn range(schema: &Value) -> Option<String> {
    if schema.get(BYTES).is_some() {
        return Some("Bytes.".to_owned());
    }
    let (mut inner, mut each) = (schema, "");
    loop {
        if is_integer(inner) {
            let bound = |key: &str| inner.get(key).map(ToString::to_string);
            let (minimum, maximum) = (bound("minimum")?, bound("maximum")?);
            let article = if each.is_empty() { "Integer" } else { each };
            return Some(format!("{article}, {minimum} to {maximum}."));
        }
        // The elements of a list, and the values of a map.
        let patterns =
            inner.get("patternProperties").and_then(Value::as_object).into_iter().flatten().map(|(_, value)| value);
        let mut parts = [inner.get("items"), inner.get("additionalProperties")].into_iter().flatten().chain(patterns);
        inner = parts.find(|part| part.is_object())?;
        each = "Each an integer";
    }
}

fn is_integer(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => name == "integer",
        Some(Value::Array(names)) => names.iter().any(|name| name == "integer"),
        _ => false,
    }
}

/// A comment of JSDoc, or nothing.
fn comment(notes: &[String], indent: &str) -> String {
    let lines = notes.iter().flat_map(|note| note.lines()).map(|line| line.trim_end().replace("*/", "*\\/"));
    let lines: Vec<_> = lines.collect();
    match &lines[..] {
        [] => String::new(),
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let mut text = format!("{indent}/**\n");
            for line in lines {
                text += format!("{indent} * {line}").trim_end();
                text += "\n";
            }
            text + indent + " */\n"
        }
    }
}

/// A value as a literal type.
fn literal(value: &Value) -> String {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
        _ => "unknown".to_owned(),
    }
}

/// The name of a member, in quotes if it needs them.
fn key(name: &str) -> String {
    let mut chars = name.chars();
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    let is_plain = chars.next().is_some_and(is_first) && chars.all(|c| is_first(c) || c.is_ascii_digit());
    if is_plain { name.to_owned() } else { Value::from(name).to_string() }
}

/// The name of a module as that of a type: `game_room` as `GameRoom`.
fn pascal_case(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    let words = words.map(|word| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    });
    words.collect()
}
