use room_runtime::prelude::*;

#[data(tag = "kind")]
#[serde(tag = "op")]
pub enum Shape {
    Circle { radius: f64 },
}

fn main() {}
