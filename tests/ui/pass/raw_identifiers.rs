//! A name is the same with and without `r#`.

#![deny(warnings)]
#![allow(clippy::missing_errors_doc)]

use room_runtime::prelude::*;

#[room(r#batch = "20ms")]
pub mod r#match {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum r#Event {
        Pick { r#move: String, r#fn: u8 },
    }
    pub struct Broadcast {}

    pub fn r#on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Pick { r#move, r#fn } = event;
        ctx.peers().tagged(&format!("{move}{fn}")).send(&Broadcast {})?;
        Ok(())
    }
}

fn main() {
    assert_eq!(<r#match::Room as room_runtime::Room>::CLASS, "MatchRoom");
    assert_eq!(<r#match::Room as room_runtime::Room>::BINDING, "MATCH");
}
