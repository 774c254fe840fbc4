use room_runtime::prelude::*;

#[data(externally_tagged)]
pub struct Circle {
    pub radius: f64,
}

fn main() {}
