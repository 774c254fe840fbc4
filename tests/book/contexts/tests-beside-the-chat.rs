// `tests/book/bindings` has the file of this chat.
use crate::rooms::chat;

// BLOCK
