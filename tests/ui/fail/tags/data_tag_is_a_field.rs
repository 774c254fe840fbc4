use room_runtime::prelude::*;

#[data]
pub enum Shape {
    Circle { r#type: String },
}

fn main() {}
