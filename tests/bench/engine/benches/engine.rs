//! Measures the cost of an event in the engine alone, natively and in memory.
//!
//! A measured event starts with the text of a frame and ends with the text of the answer.
//!
//! Run it with `cargo bench --package bench-engine`. It first prints the allocations of an event; they are exact, and
//! the same on every machine.

#![allow(missing_docs, reason = "criterion's macros")]

use allocation_counter::measure;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use room_runtime::__private::Engine;

/// The same room as in the end-to-end benchmark.
#[room_runtime::room]
pub mod bench {
    #[derive(Default)]
    pub struct State {
        pub count: i64,
    }

    pub struct Connection {
        pub user_id: String,
    }

    pub enum Event {
        Echo { text: String },
        Say { text: String },
        Add { amount: i64 },
        Nothing,
    }

    pub enum Broadcast {
        Echo { user_id: String, text: String },
        Message { user_id: String, text: String },
        Count { count: i64 },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Some(peer) = ctx.sender() else { return Ok(()) };
        let user_id = || peer.data().user_id.clone();
        match event {
            Event::Echo { text } => peer.send(&Broadcast::Echo { user_id: user_id(), text })?,
            Event::Say { text } => drop(ctx.broadcast(&Broadcast::Message { user_id: user_id(), text })?),
            Event::Add { amount } => {
                let count = ctx.update(|state| {
                    state.count += amount;
                    state.count
                })?;
                peer.send(&Broadcast::Count { count })?;
            }
            Event::Nothing => {}
        }
        Ok(())
    }
}

const ECHO: &str = r#"{"type":"Echo","text":"the quick brown fox jumps over the lazy dog, and on it goes for"}"#;
const SAY: &str = r#"{"type":"Say","text":"the quick brown fox jumps over the lazy dog, and on it goes for"}"#;
const ADD: &str = r#"{"type":"Add","amount":1}"#;
const NOTHING: &str = r#"{"type":"Nothing"}"#;

fn engine() -> Engine<bench::Room> {
    Engine::new(|| ())
}

fn connection(n: usize) -> bench::Connection {
    bench::Connection { user_id: format!("user {n}") }
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    for (name, peers, frame) in
        [("nothing", 1, NOTHING), ("echo", 1, ECHO), ("add", 1, ADD), ("broadcast-100", 100, SAY)]
    {
        let engine = engine();
        let sockets: Vec<_> = (0..peers).map(|n| engine.connect(connection(n))).collect();
        let mut next = (0..peers).cycle();
        let mut event = || engine.frame(sockets[next.next().unwrap_or_default()], frame.to_owned());
        // A warm-up, because first uses take longer.
        (0..1_000).for_each(|_| event());
        let text = measure(|| drop(frame.to_owned())).count_total;
        let per_event = measure(|| (0..1_000).for_each(|_| event())).count_total / 1_000 - text;
        println!("engine/{name}: {per_event} allocations per event, beside the frame's own text");
        sockets.iter().for_each(|socket| _ = engine.take(*socket));

        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || frame.to_owned(),
                |text| {
                    engine.frame(sockets[0], text);
                    engine.take(sockets[0])
                },
                BatchSize::SmallInput,
            );
            sockets.iter().for_each(|socket| _ = engine.take(*socket));
        });
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
