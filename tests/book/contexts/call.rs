// A chat that knows the names of its users.
use room_runtime::prelude::*;

#[room]
pub mod chat {
    use room_runtime::prelude::*;

    #[derive(Default)]
    pub struct State {
        names: Vec<String>,
    }

    impl State {
        fn owner_of(&self, name: &str) -> Option<String> {
            self.names.iter().find(|found| *found == name).cloned()
        }

        fn rename(&mut self, name: String) -> usize {
            self.names.push(name);
            self.names.len()
        }
    }

    pub struct Connection {}

    pub enum Event {
        Ping,
    }

    pub enum Broadcast {
        Pong,
    }

    // BLOCK
}
