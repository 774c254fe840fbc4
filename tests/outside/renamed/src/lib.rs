//! The runtime under another name: given by `Cargo.toml`, or by the option `crate` if `Cargo.toml` does not show it.

#![deny(warnings)]
#![no_implicit_prelude]

/// The runtime, re-exported by this crate.
pub mod facade {
    pub use ::rooms::*;
}

/// A room that finds the runtime's name without an option.
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

/// A room that needs the option `crate`.
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
