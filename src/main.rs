//! The `watchkeeper` program: see `watchkeeper --help`.
fn main() {}
