//! `Alarm` and `Services` may be re-exported or an alias.

#![deny(warnings)]

use room_runtime::prelude::*;

pub mod types {
    use room_runtime::prelude::*;

    #[data]
    pub struct Reminder {
        pub text: String,
    }

    pub struct Clock;
}

#[room]
pub mod chat {
    #[derive(Default)]
    pub struct State {}
    pub struct Connection {}
    pub struct Event {}
    pub struct Broadcast {}
    pub use super::types::Reminder as Alarm;
    pub type Services = std::rc::Rc<super::types::Clock>;

    fn services(_: &worker::Env) -> Services {
        std::rc::Rc::new(super::types::Clock)
    }

    fn on_alarm(ctx: &Ctx, Alarm { text }: Alarm) {
        let _: (&super::types::Clock, String) = (ctx.services(), text);
    }
}

fn main() {}
