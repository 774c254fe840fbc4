use room_runtime::prelude::*;

#[data(externally_tagged = true)]
pub enum Shape {
    Circle(f64),
}

fn main() {}
