//! Cameras that behave as real ones were seen to, each a case of a table: what is recorded of them, over each source.
//!
//! The cases are in `cameras_*.rs`; here is how they are run and judged. A camera's quirks are those of
//! `sim::scripted::quirk`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Instant,
};

use watchkeeper::{
    base::Secret,
    model::{
        camera::CameraPatch,
        source::SourceChoice,
        status::{CameraStatus, Shown},
    },
};

use crate::{
    rig::{Rig, id},
    sim::{
        frames,
        proof::prove_sent,
        scripted::{ScriptedCamera, ScriptedSpec, SentPicture},
    },
    wait::PATIENCE,
};

/// Pictures of each camera, unless a test says otherwise: 6 s.
pub(crate) const PICTURES: usize = 150;
/// Pictures that were under way at the end are not recorded.
const TAIL_AT_MOST: usize = 15;

/// What receives a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Native,
    Rtspsrc,
}

impl Via {
    /// Asks for this source.
    pub(crate) fn apply(self, patch: &mut CameraPatch) {
        let choice = match self {
            Via::Native => SourceChoice::Native,
            Via::Rtspsrc => SourceChoice::Rtspsrc,
        };
        patch.source = Some(Some(choice));
    }

    /// The same in a request's body.
    pub(crate) fn apply_json(self, given: &mut serde_json::Value) {
        given["source"] = self.name().into();
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Via::Native => "native",
            Via::Rtspsrc => "rtspsrc",
        }
    }

    /// Sources to be tested with what rtspsrc can or cannot do.
    pub(crate) fn tested(rtspsrc: Rtspsrc) -> Vec<Via> {
        let other = (rtspsrc == Rtspsrc::Passes).then_some(Via::Rtspsrc);
        [Via::Native].into_iter().chain(other).collect()
    }
}

/// What GStreamer's rtspsrc makes of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rtspsrc {
    Passes,
    /// And why.
    Fails(&'static str),
}

/// What must be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Every picture bit for bit, once, in order, without a break, and it decodes.
    Exact,
    /// The same, but other units may stand between the pictures.
    ExactPictures,
    /// Every picture of every session.
    Sessions,
    /// Every picture; it decodes as well as what was sent.
    Numbers,
    /// The same, or the state says that a keyframe is missing.
    NumbersOrSaid,
    /// All but groups of pictures in which something was damaged.
    UndamagedGroups,
}

/// What was recorded of a camera, for the checks of single cases.
pub(crate) struct Recorded<'a> {
    pub(crate) camera: &'a ScriptedCamera,
    pub(crate) files: &'a [PathBuf],
    /// Before the service was stopped.
    pub(crate) status: &'a CameraStatus,
    /// The last picture that was sent before the service was stopped.
    last: u64,
}

type Check = fn(&Recorded<'_>) -> Result<(), String>;

/// A camera with what is expected of it.
pub(crate) struct Case {
    spec: ScriptedSpec,
    rtspsrc: Rtspsrc,
    expect: Expect,
    change: fn(&mut CameraPatch),
    check: Check,
}

impl Case {
    /// A camera of which everything must be recorded, over both sources.
    pub(crate) fn exact(spec: ScriptedSpec) -> Case {
        let (rtspsrc, expect) = (Rtspsrc::Passes, Expect::Exact);
        Case { spec, rtspsrc, expect, change: |_| {}, check: |_| Ok(()) }
    }

    pub(crate) fn expecting(self, expect: Expect) -> Case {
        Case { expect, ..self }
    }

    pub(crate) fn fails_with_rtspsrc(self, why: &'static str) -> Case {
        Case { rtspsrc: Rtspsrc::Fails(why), ..self }
    }

    /// With other settings of the camera.
    pub(crate) fn given(self, change: fn(&mut CameraPatch)) -> Case {
        Case { change, ..self }
    }

    /// With something else to be looked at.
    pub(crate) fn checked(self, check: Check) -> Case {
        Case { check, ..self }
    }
}

struct Running {
    camera: ScriptedCamera,
    expect: Expect,
    check: Check,
}

/// The settings with which a camera is added.
pub(crate) fn patch(spec: &ScriptedSpec, url: String, via: Via) -> CameraPatch {
    let login = spec.login.as_ref();
    let mut patch = CameraPatch {
        main_url: Some(Some(url)),
        username: login.map(|login| Some(login.user.clone())),
        password: login.map(|login| Some(Secret::new(login.password.clone()))),
        segment_seconds: Some(10),
        record_audio: (!spec.sound.is_empty()).then_some(true),
        ..CameraPatch::default()
    };
    via.apply(&mut patch);
    patch
}

/// Records all cameras at once until each has sent so many pictures, and judges what is on the disk then.
pub(crate) async fn record(cases: Vec<Case>, pictures: usize) {
    let rig = Rig::new().await;
    let mut running = Vec::new();
    for case in cases {
        for via in Via::tested(case.rtspsrc) {
            let name = format!("{}-{}", case.spec.name, via.name());
            let camera = ScriptedCamera::start(ScriptedSpec { name, ..case.spec.clone() }).unwrap();
            let mut given = patch(camera.spec(), camera.url(), via);
            (case.change)(&mut given);
            rig.service.add_camera(id(camera.name()), given).await.unwrap();
            running.push(Running { camera, expect: case.expect, check: case.check });
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
    while running.iter().any(|case| case.camera.sent_count() < pictures) && Instant::now() < deadline {
        ticks.tick().await;
    }
    let asked_to_stop: Vec<u64> =
        running.iter().map(|case| case.camera.sent().last().map_or(0, |sent| sent.number)).collect();
    let states: Vec<CameraStatus> = running.iter().map(|case| rig.status(case.camera.name())).collect();
    rig.stop().await;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let half = running.len().div_ceil(2).max(1);
        let judges: Vec<_> = running
            .chunks(half)
            .zip(states.chunks(half).zip(asked_to_stop.chunks(half)))
            .map(|(running, (states, lasts))| {
                let rig = &rig;
                scope.spawn(move || {
                    let judged =
                        running.iter().zip(states.iter().zip(lasts)).filter_map(|(case, (status, last))| {
                            let files = rig.files(case.camera.name());
                            let recorded =
                                Recorded { camera: &case.camera, files: &files, status, last: *last };
                            let judged = judge(&recorded, case.expect, pictures);
                            judged
                                .and_then(|()| (case.check)(&recorded))
                                .err()
                                .map(|wrong| format!("{}: {wrong}\n{}", case.camera.name(), story(&recorded)))
                        });
                    judged.collect::<Vec<_>>()
                })
            })
            .collect();
        judges.into_iter().flat_map(|judge| judge.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), running.len(), wrong.join("\n"));
}

/// What the service said of a camera, and its last requests.
fn story(recorded: &Recorded<'_>) -> String {
    let CameraStatus { shown, reason, detail, reconnects, last_error, .. } = recorded.status;
    let requests = recorded.camera.requests();
    let last: Vec<String> = requests
        .iter()
        .skip(requests.len().saturating_sub(12))
        .map(|request| {
            let after = request.at.duration_since(requests[0].at).as_secs_f64();
            format!("#{} {after:.1} s {} {}", request.connection, request.method, request.answered)
        })
        .collect();
    format!(
        "    {shown:?} {reason:?} {detail:?} reconnects {reconnects} last {last_error:?}\n    {}",
        last.join(", ")
    )
}

fn judge(recorded: &Recorded<'_>, expect: Expect, pictures: usize) -> Result<(), String> {
    let (sent, status) = (recorded.camera.sent(), recorded.status);
    if sent.len() < pictures {
        return Err(format!("only {} pictures were sent", sent.len()));
    }
    let said = status.detail.as_ref().is_some_and(|detail| detail.contains("keyframe"));
    if expect == Expect::NumbersOrSaid && said {
        return Ok(());
    }
    if status.shown != Shown::Recording {
        return Err("is not recording".into());
    }
    if expect != Expect::Sessions && (recorded.camera.sessions(), status.reconnects) != (1, 0) {
        return Err(format!("{} sessions", recorded.camera.sessions()));
    }
    let mut numbers = Vec::new();
    for file in recorded.files {
        let here = numbers_in(file, expect).map_err(|wrong| format!("{wrong:#}"))?;
        let samples = frames::probe(file).map_err(|wrong| format!("{wrong:#}"))?.frames;
        if expect != Expect::UndamagedGroups && samples != here.len() as u64 {
            return Err(format!("{samples} samples for {} pictures", here.len()));
        }
        if matches!(expect, Expect::Exact | Expect::Sessions) {
            same_bits(file, &sent)?;
        }
        numbers.extend(here);
    }
    if expect == Expect::UndamagedGroups {
        return undamaged_groups(&sent, &numbers, recorded.last);
    }
    let all: Vec<u64> = sent.iter().map(|sent| sent.number).collect();
    let proof = prove_sent(&all, &numbers)?;
    let tail = sent.iter().filter(|sent| (proof.last + 1..=recorded.last).contains(&sent.number)).count();
    if proof.head > 0 || tail > TAIL_AT_MOST {
        return Err(format!("{} pictures are missing at the begin, {tail} at the end", proof.head));
    }
    Ok(())
}

fn numbers_in(file: &Path, expect: Expect) -> anyhow::Result<Vec<u64>> {
    Ok(match expect {
        Expect::Exact | Expect::ExactPictures | Expect::Sessions => {
            frames::played(file)?.into_iter().map(|stamp| stamp.number).collect()
        }
        Expect::Numbers | Expect::NumbersOrSaid | Expect::UndamagedGroups => {
            frames::numbers_in_damaged(file)?
        }
    })
}

/// NAL units on the disk are those that were sent.
fn same_bits(file: &Path, sent: &[SentPicture]) -> Result<(), String> {
    for (number, hash) in frames::pictures_in(file).map_err(|wrong| format!("{wrong:#}"))? {
        match sent.iter().find(|sent| sent.number == number) {
            Some(sent) if sent.hash == hash => {}
            Some(_) => return Err(format!("picture {number} has other NAL units than were sent")),
            None => return Err(format!("picture {number} was never sent")),
        }
    }
    Ok(())
}

/// Every picture is there once and in order but those of groups with damage, of which some may be there.
fn undamaged_groups(sent: &[SentPicture], recorded: &[u64], until: u64) -> Result<(), String> {
    let (mut damaged, mut needed) = (false, Vec::new());
    for group in sent.chunk_by(|_, next| !next.entry) {
        let begins_damaged = group.iter().any(|picture| picture.damaged);
        damaged |= begins_damaged;
        if !begins_damaged {
            needed.extend(group.iter().map(|picture| picture.number));
        }
    }
    let known: BTreeSet<u64> = sent.iter().map(|picture| picture.number).collect();
    let there: BTreeSet<u64> = recorded.iter().copied().collect();
    let in_order = recorded.is_sorted() && there.len() == recorded.len();
    let last = recorded.last().copied().unwrap_or(0);
    let missing: Vec<u64> =
        needed.into_iter().filter(|number| *number <= last && !there.contains(number)).collect();
    let tail = sent.iter().filter(|picture| (last + 1..=until).contains(&picture.number)).count();
    if !damaged {
        return Err("nothing was damaged".into());
    }
    if !in_order || !there.is_subset(&known) || !missing.is_empty() || tail > TAIL_AT_MOST + 25 {
        return Err(format!(
            "of {} pictures {} are there; in order: {in_order}; missing: {missing:?}; after the last: {tail}",
            sent.len(),
            there.len()
        ));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_do_nothing_unusual_are_recorded() {
    use crate::sim::{
        footage::{Encoding, Source},
        nal::Codec,
        scripted::Clip,
    };
    let new = |name: &str| ScriptedSpec::new(name);
    let small = Encoding::small(Source::Cars);
    let plain = |name: &str, encoding| Case::exact(ScriptedSpec { clip: Clip::Plain(encoding), ..new(name) });
    let cases = vec![
        plain("b-frames", Encoding { b_frames: true, ..small }),
        plain("b-frames-h265", Encoding { b_frames: true, codec: Codec::H265, ..small }),
        plain("gop-10s", Encoding { gop_frames: 10 * small.fps, ..small }),
        plain("gop-10s-h265", Encoding { gop_frames: 10 * small.fps, codec: Codec::H265, ..small }),
        Case::exact(new("plain")),
        Case::exact(ScriptedSpec { clip: Clip::small(Codec::H265), ..new("h265") }),
        Case::exact(ScriptedSpec { paced: true, ..new("paced") }),
        Case::exact(ScriptedSpec { clip: Clip::Sliced(Codec::H264), ..new("slices") }),
        Case::exact(ScriptedSpec { clip: Clip::Sliced(Codec::H265), ..new("slices-h265") }),
    ];
    record(cases, PICTURES).await;
}
