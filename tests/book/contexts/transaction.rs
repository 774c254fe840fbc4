// The handler of a bid.
use room_runtime::prelude::*;

#[room]
pub mod auction {
    use room_runtime::prelude::*;
    use std::time::Duration;

    #[derive(Default)]
    pub struct State {
        pub version: u64,
        pub bids: u64,
    }

    impl State {
        fn bid(&mut self, _user: &str, _amount: u64) -> Result<u64> {
            self.bids += 1;
            Ok(self.bids)
        }
    }

    pub struct Connection {}

    pub enum Event {
        Bid { user: String, amount: u64 },
    }

    pub enum Broadcast {
        Bid { bids: u64 },
    }

    pub enum Alarm {
        Report,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Bid { user, amount } = event;
        let user = &*user;
        // BLOCK
        Ok(())
    }

    pub fn on_alarm(_ctx: &Ctx, _alarm: Alarm) {}
}
