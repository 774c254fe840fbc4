//! The runtime by another name: as `Cargo.toml` says it, and as the option does, where that cannot be told.

#![deny(warnings)]
#![no_implicit_prelude]

/// The runtime as this crate passes it on.
pub mod facade {
    pub use ::rooms::*;
}

/// Finds the runtime's name by itself.
#[::rooms::room]
pub mod chat {
    #[derive(::core::default::Default)]
    pub struct State {
        pub notes: ::std::vec::Vec<Note>,
    }
    pub struct Connection {}
    pub enum Event {
        Note { text: ::std::string::String },
    }
    pub struct Broadcast {}

    #[::rooms::data]
    pub struct Note {
        pub text: ::std::string::String,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Note { text } = event;
        ctx.update(|state| state.notes.push(Note { text }))?;
        ::core::result::Result::Ok(())
    }
}

/// Is told.
#[facade::room(crate = "crate::facade")]
pub mod told {
    #[derive(::core::default::Default)]
    pub struct State {}
    pub struct Connection {}
    pub enum Event {
        Go,
    }
    pub struct Broadcast {}

    #[crate::facade::data(crate = "crate::facade")]
    pub struct Note {}
}
