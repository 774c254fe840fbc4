use room_runtime::prelude::*;

#[data(tag = 1)]
pub enum Shape {
    Circle { radius: f64 },
}

fn main() {}
