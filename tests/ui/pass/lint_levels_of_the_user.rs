//! The lint levels that a user sets on an enum, its variants and fields also apply to the code generated for them; an
//! `expect` applies to the user's code only.

#![deny(warnings)]

use room_runtime::prelude::*;

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    #[allow(non_camel_case_types)]
    pub enum Event {
        #[allow(non_snake_case)]
        move_to { posX: i32 },
    }
    #[expect(clippy::large_enum_variant)]
    pub enum Broadcast {
        #[expect(non_snake_case)]
        MovedTo { posX: i32 },
        #[cfg_attr(all(), expect(non_snake_case, reason = "the page reads it"))]
        MovedBy { posX: [u64; 32] },
        Went {
            #[expect(clippy::type_complexity)]
            path: Vec<((i32, i32), Vec<Vec<Vec<Vec<(Option<i32>, Option<i32>, Option<Vec<i32>>)>>>>)>,
        },
    }

    fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::move_to { posX } = event;
        ctx.broadcast(&Broadcast::MovedTo { posX })?;
        ctx.broadcast(&Broadcast::MovedBy { posX: [0; 32] })?;
        ctx.broadcast(&Broadcast::Went { path: Vec::new() })?;
        Ok(())
    }
}

/// A message between rooms.
#[data]
#[warn(non_camel_case_types)]
pub enum Message {
    #[expect(non_camel_case_types)]
    say { text: String },
}

fn main() {
    assert!(room_runtime::serde_json::from_str::<Message>(r#"{ "type": "say", "text": "" }"#).is_ok());
}
