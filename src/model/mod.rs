//! What is decided, apart from what is done: values in, values out. No clock, no I/O, no async, no logging.

pub mod address;
pub mod ai;
pub mod anchor;
pub mod backoff;
pub mod camera;
pub mod clip;
pub mod copies;
pub mod coverage;
pub mod demand;
pub mod event;
pub mod gate;
pub mod hold;
pub mod ledger;
pub mod login;
pub mod machine;
pub mod mirror;
pub mod naming;
pub mod pace;
pub mod pipeline;
pub mod reconcile;
pub mod refill;
pub mod reorder;
pub mod retention;
pub mod schedule;
pub mod segment;
pub mod source;
pub mod status;
pub mod stream;
pub mod timeline;
pub mod unit;
pub mod volume;

pub use camera::{Camera, Profile};
