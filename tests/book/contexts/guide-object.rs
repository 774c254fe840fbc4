// A Durable Object without this library.
use serde::{Deserialize, Serialize};
use worker::*;

// BLOCK
