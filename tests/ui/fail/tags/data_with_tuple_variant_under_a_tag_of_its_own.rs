use room_runtime::prelude::*;

#[data]
#[serde(tag = "op")]
pub enum Shape {
    Line(f64, f64),
}

fn main() {}
