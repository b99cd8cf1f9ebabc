//! Simulated cameras by hand: `cargo run --example sim -- --help`.
fn main() {}
