use room_runtime::prelude::*;

#[data(tag: "kind")]
pub enum Shape {
    Circle { radius: f64 },
}

fn main() {}
