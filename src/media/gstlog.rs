//! GStreamer's own log goes into `tracing`, warnings and errors, with the camera's id where an element tells it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gstreamer::{self as gst, prelude::*};

/// Whose an element is, by its address: a log function must not ask the object itself, because lines are logged
/// under the object's own lock.
static OWNERS: Mutex<Option<HashMap<usize, Arc<str>>>> = Mutex::new(None);

/// Takes over GStreamer's log. `GST_DEBUG` still says what is logged beyond warnings.
pub fn start() {
    gst::log::remove_default_log_function();
    if std::env::var_os("GST_DEBUG").is_none() {
        gst::log::set_default_threshold(gst::DebugLevel::Warning);
    }
    gst::log::add_log_function(|category, level, file, _function, line, object, message| {
        let text = message.get().unwrap_or_default();
        // URLs are masked in every line of the log. Properties such as `user-pw` are logged by GStreamer only at
        // levels that nobody switches on by accident; they are dropped here all the same.
        if text.contains("user-pw") {
            return;
        }
        let owner = object
            .and_then(|object| owners().as_ref()?.get(&(object.as_ptr() as usize)).cloned())
            .unwrap_or_else(|| "".into());
        let (camera, category) = (&*owner, category.name());
        match level {
            gst::DebugLevel::Error => {
                tracing::warn!(target: "gst", { camera.id = camera, category, file = %file, line }, "{text}");
            }
            gst::DebugLevel::Warning | gst::DebugLevel::Fixme => {
                tracing::debug!(target: "gst", { camera.id = camera, category, file = %file, line }, "{text}");
            }
            _ => {
                tracing::trace!(target: "gst", { camera.id = camera, category, file = %file, line }, "{text}")
            }
        }
    });
}

fn owners() -> MutexGuard<'static, Option<HashMap<usize, Arc<str>>>> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks every element of `pipeline`, and those it gets later, as `owner`'s.
pub fn own(pipeline: &gst::Pipeline, owner: &str) {
    let owner: Arc<str> = owner.into();
    let note = move |element: &gst::Element| {
        owners().get_or_insert_default().insert(element.as_ptr() as usize, owner.clone());
    };
    pipeline.iterate_recurse().into_iter().flatten().for_each(|element| note(&element));
    pipeline.connect_deep_element_added(move |_, _, element| note(element));
    pipeline.connect_deep_element_removed(|_, _, element| {
        if let Some(owners) = owners().as_mut() {
            owners.remove(&(element.as_ptr() as usize));
        }
    });
}

/// Forgets the elements of `pipeline`.
pub fn disown(pipeline: &gst::Pipeline) {
    // Walking through them takes locks under which others log, and logs itself when told to log everything: not while
    // the log function waits for `OWNERS`.
    let elements: Vec<gst::Element> = pipeline.iterate_recurse().into_iter().flatten().collect();
    if let Some(owners) = owners().as_mut() {
        for element in &elements {
            owners.remove(&(element.as_ptr() as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::mpsc,
        thread,
        time::{Duration, Instant},
    };

    #[test]
    fn a_pipeline_is_forgotten_while_others_log_under_its_lock() {
        crate::media::init().unwrap();
        let category = gst::DebugCategory::new("wktest", gst::DebugColorFlags::empty(), None);
        let pipeline = gst::parse::launch("fakesrc ! fakesink").unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let (done, ended) = mpsc::channel();
        let (logged, logs) = (pipeline.clone(), done.clone());
        own(&pipeline, "front");
        let (held, lock_held) = mpsc::channel();
        thread::spawn(move || {
            let _under = logged.object_lock();
            held.send(()).unwrap();
            let began = Instant::now();
            while began.elapsed() < Duration::from_millis(300) {
                gst::warning!(category, obj = logged, "something");
            }
            logs.send(()).unwrap();
        });
        lock_held.recv().unwrap();
        thread::spawn(move || {
            disown(&pipeline);
            done.send(()).unwrap();
        });
        for _ in 0..2 {
            ended.recv_timeout(Duration::from_secs(20)).expect("nobody waits for the other");
        }
    }
}
