//! Whole-program tests: one binary, so that it links once.
