//! Short functions for the steps of cases.

use conformance_rooms::script::{
    Broadcast, Connection, Event, PeerReport, Report, Selector, Step, Thing, Unwritable, UpgradeStep,
};

pub(super) fn log(text: &str) -> Step {
    Step::Log(text.to_owned())
}

pub(super) fn say(text: &str) -> Step {
    Step::Say(text.to_owned())
}

pub(super) fn whisper(text: &str) -> Step {
    Step::Whisper(text.to_owned())
}

pub(super) fn hold(gate: &str) -> Step {
    Step::Hold(gate.to_owned())
}

pub(super) fn open(gate: &str) -> Step {
    Step::Open(gate.to_owned())
}

pub(super) fn fail(text: &str) -> Step {
    Step::Fail(text.to_owned())
}

pub(super) fn rename(name: &str) -> Step {
    Step::Rename(name.to_owned())
}

pub(super) fn attempt(step: Step) -> Step {
    Step::Try(Box::new(step))
}

pub(super) fn leave(code: u16, reason: &str) -> Step {
    Step::Leave(code, reason.to_owned())
}

pub(super) fn close(who: impl Into<Vec<Selector>>, code: u16, reason: &str) -> Step {
    Step::Close(who.into(), code, reason.to_owned())
}

pub(super) fn send(to: impl Into<Vec<Selector>>, text: &str) -> Step {
    Step::Send(to.into(), text.to_owned())
}

pub(super) fn set_data(name: &str) -> Step {
    Step::SetData(Box::new(Connection { name: name.to_owned(), ..Connection::default() }))
}

pub(super) fn tagged(tag: &str) -> Selector {
    Selector::Tagged(tag.to_owned())
}

pub(super) fn with_id(id: &str) -> Selector {
    Selector::WithId(id.to_owned())
}

pub(super) fn topic(name: &str) -> Selector {
    Selector::Topic(name.to_owned())
}

pub(super) fn subscribe(topic: &str) -> Step {
    Step::Subscribe(topic.to_owned())
}

pub(super) fn unsubscribe(topic: &str) -> Step {
    Step::Unsubscribe(topic.to_owned())
}

pub(super) fn except(id: &str) -> Selector {
    Selector::Except(id.to_owned())
}

pub(super) fn refuse(status: u16, body: &str) -> UpgradeStep {
    UpgradeStep::Refuse { status, body: body.to_owned(), headers: Vec::new() }
}

/// The maximum nesting of an event.
pub(super) const EVENT_DEPTH: usize = 100;

/// All kinds of values that a room refuses to store and to send.
pub(super) const UNWRITABLE: [Unwritable; 9] = [
    Unwritable::Deep(120),
    Unwritable::Deep(1_000),
    Unwritable::NotANumber,
    Unwritable::Large,
    Unwritable::SomeOfNone,
    Unwritable::SomeOfUnit,
    Unwritable::SomeOfNull,
    Unwritable::SameKeys,
    Unwritable::OwnKey,
];

/// An event of the given depth that contains a step with a thing; and the thing.
pub(super) fn deep_event(event_depth: usize, step: fn(Thing) -> Step) -> anyhow::Result<(Event, Thing)> {
    let event = |thing| Event::Do { steps: vec![step(thing)] };
    let around = depth(&serde_json::to_string(&event(Thing::Leaf))?);
    let thing = Thing::Leaf.inside(event_depth - around);
    Ok((event(thing.clone()), thing))
}

/// The nesting depth of a JSON text without brackets in its strings.
fn depth(json: &str) -> usize {
    let levels = json.bytes().scan(0_usize, |depth, byte| {
        match byte {
            b'[' | b'{' => *depth += 1,
            b']' | b'}' => *depth -= 1,
            _ => {}
        }
        Some(*depth)
    });
    levels.max().unwrap_or_default()
}

/// The report in a message.
pub(super) fn report(message: Broadcast) -> anyhow::Result<Report> {
    Ok(is!(message, Broadcast::Report { report } => report))
}

/// The sender in the report in a message.
pub(super) fn sender(message: Broadcast) -> anyhow::Result<PeerReport> {
    let report = report(message)?;
    Ok(is!(report.sender, Some(sender) => sender))
}
