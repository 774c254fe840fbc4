// A handler that adds up the rows of a table.
use room_runtime::prelude::*;

#[room]
pub mod auction {
    use room_runtime::prelude::*;

    #[derive(Default)]
    struct Totals(std::collections::BTreeMap<String, u64>);

    impl Totals {
        fn add(&mut self, user: String, amount: u64) {
            *self.0.entry(user).or_default() += amount;
        }
    }

    #[derive(Default)]
    pub struct State {}

    pub struct Connection {}

    pub enum Event {
        Sum,
    }

    pub enum Broadcast {
        Summed,
    }

    pub fn on_event(ctx: &Ctx, event: Event) -> Result {
        let Event::Sum = event;
        let mut totals = Totals::default();
        // BLOCK
        Ok(())
    }
}
