//! Nothing: the examples are what is linted.
