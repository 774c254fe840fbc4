// The imports of tests beside the room of the chapter "Concepts".
use room_runtime::prelude::*;

#[room]
pub mod shout {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub said: u64,
    }

    pub struct Connection {
        pub name: String,
    }

    pub enum Event {
        Say { text: String },
    }

    pub enum Broadcast {
        Message { from: String, text: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Say { text } = event;
        let from = ctx.sender().map_or("the Worker".to_owned(), |peer| peer.data().name.clone());
        ctx.update(|state| state.said += 1)?;
        ctx.broadcast(&Broadcast::Message { from, text: text.to_uppercase() })?;
        Ok(())
    }
}

mod tests {
    // BLOCK
}
