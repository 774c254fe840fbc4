use room_runtime::prelude::*;

#[data]
pub enum Shape {
    Circle { radius: f64 },
    Path(Vec<f64>),
}

fn main() {}
