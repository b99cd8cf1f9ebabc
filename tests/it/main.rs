//! Whole-program tests: one binary, so that it links once.

#[path = "../sim/mod.rs"]
mod sim;
