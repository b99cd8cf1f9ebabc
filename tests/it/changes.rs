//! Parameters that change at random moments: each begins a segment with its keyframe, every segment decodes, no frame is
//! missing, and nobody else notices.
//!
//! `CHANGES` says how many [8]; `scripts/change-loop` makes 200.

use std::env;

use crate::{
    process::pause,
    rig::Rig,
    sim::{
        camera::CameraSpec,
        footage::{Encoding, Source},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_random_moments_cost_no_frame() {
    let changes: usize = env::var("CHANGES").map_or(8, |text| text.parse().unwrap());
    let rig = Rig::recording([CameraSpec::new("front"), CameraSpec::new("yard")]).await;
    let small = |width, height| Encoding { width, height, ..Encoding::small(Source::Cars) };
    let sizes = [small(640, 360), small(320, 180), small(480, 270)];
    for change in 0..changes {
        let camera = &rig.scene("front").camera;
        camera.set_encoding(sizes[(change + 1) % sizes.len()]).unwrap();
        // Many in a row come within a GOP, others after some.
        tokio::task::block_in_place(|| pause(rand::random_range(50..2_500)));
    }
    rig.frames_more("front", 60).await;
    rig.stop().await;
    for name in ["front", "yard"] {
        rig.prove(name);
    }
    println!("{changes} changes, {} segments", rig.files("front").len());
    assert!(rig.files("front").len() > changes / 3);
}
