// `WorkerTransport` exists for WebAssembly only. The native transport has the same interface.
use crate::rooms::chat::{Broadcast, Event};
use room_client::{Builder, NativeTransport as WorkerTransport};
use worker::Context;

fn run(url: &str, ctx: Context) {
    // BLOCK
}
