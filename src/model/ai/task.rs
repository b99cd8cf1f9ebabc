//! What a program that looks at pictures is to look at: a camera, how often and how large.

use std::collections::BTreeMap;

use super::budget::{Ask, Mfps, Stream};
use crate::{
    base::CameraId,
    model::{
        Profile,
        camera::{BadField, text},
    },
};

/// Least and most frames a second, in thousandths.
pub const RATE: std::ops::RangeInclusive<Mfps> = 100..=30_000;
/// Least and greatest width of a picture in pixels.
pub const WIDTH: std::ops::RangeInclusive<u32> = 160..=3840;
/// Least and greatest priority.
pub const PRIORITY: std::ops::RangeInclusive<i32> = -1_000..=1_000;
/// Most tasks.
pub const TASKS_MAX: u32 = 1_000;
/// Longest `config`, as JSON.
pub const CONFIG_MAX: usize = 16 * 1024;

/// A task before it has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// Whose frames.
    pub camera: CameraId,
    /// What is done with them, for the programs: `motion`, `people` …
    pub kind: String,
    /// Of which stream; of the main one where the camera has no other.
    pub profile: Profile,
    /// How many frames, in thousandths a second.
    pub rate: Mfps,
    /// How wide a picture is at most, in pixels.
    pub width: u32,
    /// Whatever the program needs, as JSON.
    pub config: String,
    /// Whether it is to be done.
    pub enabled: bool,
    /// Greater goes first where the budget is short.
    pub priority: i32,
    /// Whether keyframes suffice while the scene is quiet.
    pub adaptive: bool,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id, never used twice.
    pub id: i64,
    /// What it says.
    pub task: NewTask,
}

impl NewTask {
    /// Whether its fields make sense.
    pub fn check(&self) -> Result<(), BadField> {
        text("type", &self.kind)?;
        if self.kind.trim().is_empty() {
            return Err(BadField::new("type", "is empty; say what the program does, such as `motion`"));
        }
        if !RATE.contains(&self.rate) {
            return Err(BadField::new("fps", "is 0.1 to 30"));
        }
        if !WIDTH.contains(&self.width) {
            return Err(BadField::new("width", "is 160 to 3840"));
        }
        if !PRIORITY.contains(&self.priority) {
            return Err(BadField::new("priority", "is -1000 to 1000"));
        }
        if self.config.len() > CONFIG_MAX {
            return Err(BadField::new("config", format!("has more than {CONFIG_MAX} bytes as JSON")));
        }
        Ok(())
    }
}

/// A stream that is sampled.
pub type Sampled = (CameraId, Profile);

/// What the samplers ask for: for each stream the most that any of its enabled tasks does; adaptive if all are. `stream` tells what a stream is
/// really called (a camera without a sub stream has only a main one) and what it brings; `None`: there is no such camera.
pub fn asks(
    tasks: &[Task],
    stream: impl Fn(&CameraId, Profile) -> Option<(Profile, Option<Stream>)>,
) -> Vec<Ask> {
    let mut asks: BTreeMap<(CameraId, bool), Ask> = BTreeMap::new();
    for Task { task, .. } in tasks.iter().filter(|task| task.task.enabled) {
        let Some((profile, stream)) = stream(&task.camera, task.profile) else { continue };
        let ask = asks.entry((task.camera.clone(), profile == Profile::Sub)).or_insert_with(|| Ask {
            camera: task.camera.clone(),
            profile,
            priority: task.priority,
            rate: task.rate,
            width: task.width,
            adaptive: true,
            stream,
        });
        ask.priority = ask.priority.max(task.priority);
        ask.rate = ask.rate.max(task.rate);
        ask.width = ask.width.max(task.width);
        ask.adaptive &= task.adaptive;
    }
    asks.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: i64, camera: &str, profile: Profile, rate: Mfps, width: u32, enabled: bool) -> Task {
        let (camera, kind, config) = (camera.parse().unwrap(), "motion".to_owned(), "{}".to_owned());
        let (priority, adaptive) = (id as i32, id != 2);
        Task { id, task: NewTask { camera, kind, profile, rate, width, config, enabled, priority, adaptive } }
    }

    #[test]
    fn a_stream_is_sampled_once_for_all_its_tasks() {
        let tasks = [
            task(1, "a", Profile::Sub, 2_000, 640, true),
            task(2, "a", Profile::Main, 500, 1280, true),
            task(3, "a", Profile::Main, 9_000, 3840, false),
            task(4, "b", Profile::Sub, 5_000, 320, true),
            task(5, "gone", Profile::Sub, 5_000, 320, true),
        ];
        // `a` has no sub stream.
        let asks = asks(&tasks, |camera, profile| match camera.as_str() {
            "a" => Some((Profile::Main, None)),
            "b" => Some((profile, None)),
            _ => None,
        });
        let short: Vec<_> = asks
            .iter()
            .map(|ask| (ask.camera.as_str(), ask.profile, ask.rate, ask.width, ask.priority, ask.adaptive))
            .collect();
        // One task that is not adaptive makes its sampler run at full.
        let of_a = ("a", Profile::Main, 2_000, 1280, 2, false);
        assert_eq!(short, [of_a, ("b", Profile::Sub, 5_000, 320, 4, true)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let good = task(1, "a", Profile::Sub, 2_000, 640, true).task;
        good.check().unwrap();
        for (bad, field) in [
            (NewTask { rate: 99, ..good.clone() }, "fps"),
            (NewTask { rate: 30_001, ..good.clone() }, "fps"),
            (NewTask { width: 159, ..good.clone() }, "width"),
            (NewTask { kind: " ".into(), ..good.clone() }, "type"),
            (NewTask { priority: 1_001, ..good.clone() }, "priority"),
            (NewTask { config: "x".repeat(CONFIG_MAX + 1), ..good.clone() }, "config"),
        ] {
            assert_eq!(bad.check().unwrap_err().field, field);
        }
    }
}
