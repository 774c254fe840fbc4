//! A room in the body of a function, and one in a private module.

#![deny(warnings)]
#![allow(clippy::missing_const_for_fn, clippy::wildcard_imports, unreachable_pub)]

use room_runtime::prelude::*;

mod inner {
    use super::*;

    #[room]
    mod quiet {
        #[derive(Default)]
        pub struct State {}
        pub struct Connection {}
        pub struct Event {}
        pub struct Broadcast {}
    }

    pub fn name() -> &'static str {
        <quiet::Room as room_runtime::Room>::NAME
    }
}

fn main() {
    #[room]
    pub mod local {
        #[derive(Default)]
        pub struct State {}
        pub struct Connection {}
        pub struct Event {}
        pub struct Broadcast {}
    }

    assert_eq!((inner::name(), <local::Room as room_runtime::Room>::NAME), ("quiet", "local"));
}
