use room_runtime::prelude::*;

#[data]
pub struct Circle {
    pub radius: f64,
}

#[data(tag = "kind")]
pub enum Figure {
    Round(Circle),
    Point,
}

fn main() {}
