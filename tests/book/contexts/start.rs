use worker::event;

// BLOCK
