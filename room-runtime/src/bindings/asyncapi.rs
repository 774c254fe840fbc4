//! The AsyncAPI 3.0 document of a room.

use schemars::{
    Schema,
    transform::{RemoveRefSiblings, ReplacePrefixItems, ReplaceUnevaluatedProperties, Transform},
};
use serde_json::{Map, Value, json};

use super::{
    contract::{Call, Contract},
    file, schema,
};
use crate::{Codec, SUBPROTOCOL};

/// Writes the document. The application that it describes is the room: it receives events and sends messages.
pub(super) fn write(contract: &Contract) -> Value {
    let content_type = match contract.codecs.first() {
        Some(Codec::MessagePack) => "application/msgpack",
        _ => "application/json",
    };
    let mut document = Document::default();
    document.message("event", "An event, in one frame.", &contract.event);
    document.operation("event", "receive", &["event"]);
    document.message("broadcast", "A message of the room to its peers, in one frame.", &contract.broadcast);
    document.operation("broadcast", "send", &["broadcast"]);
    document.message("error", "An error of the room, in one frame.", &error());
    document.operation("error", "send", &["error"]);
    for call in &contract.calls {
        document.call(call);
    }
    let mut components: Map<_, _> =
        contract.definitions.iter().map(|(name, schema)| (name.clone(), draft07(schema))).collect();
    for (name, schema) in [("State", &contract.state), ("Connection", &contract.connection)] {
        // A type of the room is a definition already, unless it is an alias of a type without a name.
        if schema::target(schema).is_none() {
            components.entry(name).or_insert_with(|| draft07(schema));
        }
    }
    let [generated, update] = file::header(contract.name);
    let description = [contract.doc, &generated, &update].join("\n\n");
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": contract.name,
            // The version of a document whose changes the test shows.
            "version": "1.0.0",
            "description": description.trim_start(),
        },
        "defaultContentType": content_type,
        "channels": {
            "room": {
                // The Worker chooses the path.
                "address": null,
                "title": "A WebSocket of a room",
                "messages": document.of_channel,
                "bindings": { "ws": { "method": "GET" } },
            },
        },
        "operations": document.operations,
        "components": { "messages": document.messages, "schemas": components },
    })
}

#[derive(Default)]
struct Document {
    messages: Map<String, Value>,
    of_channel: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Document {
    fn message(&mut self, name: &str, summary: &str, payload: &Value) {
        let message = json!({ "name": name, "summary": summary, "payload": draft07(payload) });
        self.messages.insert(name.to_owned(), message);
        self.of_channel.insert(name.to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }));
    }

    fn operation(&mut self, name: &str, action: &str, messages: &[&str]) -> &mut Value {
        let operation = json!({ "action": action, "channel": channel(), "messages": list(messages) });
        self.operations.entry(name).or_insert(operation)
    }

    fn call(&mut self, call: &Call) {
        let (name, args) = (call.name, format!("call_{}", call.name));
        let [result, error] = ["result", "error"].map(|part| format!("{args}_{part}"));
        let summary = format!("The arguments of a call of `{name}`, in a frame of the subprotocol `{SUBPROTOCOL}`.");
        self.message(&args, &summary, &call.args);
        self.message(&result, &format!("The result of a call of `{name}`."), &call.result);
        let mut replies = vec![&*result];
        if call.has_error() {
            self.message(&error, &format!("The error of a call of `{name}`."), &call.error);
            replies.push(&error);
        }
        let operation = self.operation(&args, "receive", &[&args]);
        operation["reply"] = json!({ "channel": channel(), "messages": list(&replies) });
        if !call.doc.is_empty() {
            operation["description"] = call.doc.into();
        }
    }
}

fn channel() -> Value {
    json!({ "$ref": "#/channels/room" })
}

fn list(messages: &[&str]) -> Vec<Value> {
    messages.iter().map(|name| json!({ "$ref": format!("#/channels/room/messages/{name}") })).collect()
}

/// The frame by which a client without a subprotocol learns of an error.
fn error() -> Value {
    let text = || json!({ "type": "string" });
    let error = json!({
        "type": "object",
        "properties": { "code": text(), "message": text(), "retry_after_ms": { "type": "integer", "minimum": 0 } },
        "required": ["code", "message"],
    });
    let error = json!({ "type": "object", "properties": { "error": error }, "required": ["error"] });
    json!({ "type": "object", "properties": { "$room": error }, "required": ["$room"] })
}

/// The schema in the dialect of AsyncAPI, that of draft 7.
fn draft07(of: &Value) -> Value {
    let Ok(mut schema) = Schema::try_from(schema::published(of)) else { return Value::Bool(true) };
    ReplaceUnevaluatedProperties::default().transform(&mut schema);
    RemoveRefSiblings::default().transform(&mut schema);
    ReplacePrefixItems::default().transform(&mut schema);
    let mut value = schema.to_value();
    move_refs(&mut value);
    value
}

fn move_refs(of: &mut Value) {
    if let Some(name) = schema::target(of) {
        of["$ref"] = format!("#/components/schemas/{name}").into();
    }
    // A tuple of draft 7 has its schemas in `items`.
    if let Some(Value::Array(items)) = of.get_mut("items") {
        items.iter_mut().for_each(move_refs);
    }
    if let Some(inner) = of.get_mut("additionalItems") {
        move_refs(inner);
    }
    schema::each_mut(of, &mut |_, inner| move_refs(inner));
}
