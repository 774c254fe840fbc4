use room_runtime::prelude::*;

#[data(tag = "kind")]
pub struct Circle {
    pub radius: f64,
}

fn main() {}
