use room_runtime::prelude::*;

#[data(tag = "kind", externally_tagged)]
pub enum Shape {
    Circle { radius: f64 },
}

fn main() {}
