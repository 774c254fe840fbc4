//! The rooms that several contexts use.

use room_runtime::prelude::*;

/// The chat of the recipes: users with names, and messages.
#[room(reconnect_grace = "2m", replay = 1000)]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub names: Vec<String>,
        pub messages: Vec<String>,
    }

    pub struct Connection {}

    pub enum Event {
        Say { text: String },
    }

    pub enum Broadcast {
        Message { text: String },
    }

    #[data]
    pub enum RenameError {
        Taken { by: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Say { text } = event;
        ctx.broadcast(&Broadcast::Message { text })?;
        Ok(())
    }

    #[call]
    pub fn rename(ctx: &Ctx, name: String) -> Result<usize, OrFailure<RenameError>> {
        if ctx.state()?.names.contains(&name) {
            return Err(RenameError::Taken { by: name }.into());
        }
        Ok(ctx.update(|state| {
            state.names.push(name);
            state.names.len()
        })?)
    }
}

/// A game that reports its end to the lobby.
#[room]
pub mod game {
    use super::lobby;
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Win {},
    }

    pub enum Broadcast {
        Won,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Win {} = event;
        ctx.room::<lobby::Room>("main")?
            .send(&lobby::Event::Finished { game: ctx.id().clone(), winner: 1 })
            .durably()?;
        Ok(())
    }

    pub fn on_undelivered(_ctx: &Ctx, _undelivered: &Undelivered) {}
}

#[room]
pub mod lobby {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        pub finished: u32,
    }

    pub struct Connection {}

    pub enum Event {
        Finished { game: RoomId, winner: u32 },
    }

    pub enum Broadcast {
        Text { text: String },
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Finished { .. } = event;
        ctx.update(|state| state.finished += 1)?;
        Ok(())
    }
}

/// A room that answers requests.
#[room]
pub mod poll {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Vote,
    }

    pub enum Broadcast {
        Voted,
    }

    pub fn on_request(ctx: &Ctx, _request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        Err(ctx.refuse("nothing is here"))
    }
}

/// The shop whose events have rules.
#[room(validate(event))]
pub mod shop {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    #[derive(garde::Validate)]
    pub enum Event {
        Order {
            #[garde(dive)]
            items: Vec<Item>,
        },
    }

    #[data]
    #[derive(garde::Validate)]
    pub struct Item {
        #[garde(length(min = 1))]
        pub name: String,
    }

    pub enum Broadcast {
        Ordered,
    }
}

/// The room of the chapter "Concepts".
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
