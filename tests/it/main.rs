//! Whole-program tests: one binary, so that it links once.
//!
//! `rig` is a whole service with its cameras; the other modules are what it must do.

#[cfg(test)]
mod activity;
#[cfg(test)]
mod activity_trial;
#[cfg(test)]
mod bad_database;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bad_streams;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod cameras;
#[cfg(test)]
mod cameras_bad_input;
#[cfg(test)]
mod cameras_login;
#[cfg(test)]
mod cameras_media;
#[cfg(test)]
mod cameras_messages;
#[cfg(test)]
mod cameras_sessions;
#[cfg(test)]
mod cameras_sound;
#[cfg(test)]
mod cameras_transport;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod export;
#[cfg(test)]
mod fault_camera;
#[cfg(test)]
mod gaps;
#[cfg(test)]
mod history;
#[cfg(test)]
mod http;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod mirror_faults;
#[cfg(test)]
mod mirror_start;
#[cfg(test)]
mod mp4;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod pipelines;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod primary_faults;
#[cfg(test)]
mod process;
#[cfg(test)]
mod read_back;
#[cfg(test)]
mod record;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod reference_worker;
#[cfg(test)]
mod refill;
#[cfg(test)]
mod refill_many;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sampling;
#[cfg(test)]
mod sampling_storm;
#[cfg(test)]
mod scrub;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod sound;
#[cfg(test)]
mod stress;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod transports;
#[cfg(test)]
mod volumes;
#[cfg(test)]
mod wait;
#[cfg(test)]
mod when;
#[cfg(test)]
mod workers;

#[path = "../sim/mod.rs"]
mod sim;
