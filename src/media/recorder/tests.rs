//! The record branch, fed by hand; what it makes is read by ffprobe.

use std::{collections::HashMap, process::Command};

use bytes::Bytes;
use gstreamer_app::AppSink;

use super::*;
use crate::media::units;
use crate::model::{
    segment::{Next, SegmentBytes, SegmentHead, SegmentWrite, SinkRefused},
    unit::{AudioFormat, VideoFormat},
};

type Kept = Arc<Mutex<HashMap<usize, (SegmentHead, Vec<u8>, bool)>>>;

/// Keeps each segment's bytes in memory; refuses those of segments called so.
#[derive(Debug, Default)]
struct Shelf(Kept, Vec<usize>);

struct Item(Kept, usize, bool);

impl SegmentSink for Shelf {
    fn open(&self, head: SegmentHead) -> Box<dyn SegmentWrite> {
        let mut shelf = lock(&self.0);
        let n = shelf.len();
        shelf.insert(n, (head, Vec::new(), false));
        Box::new(Item(self.0.clone(), n, self.1.contains(&n)))
    }
}

impl SegmentWrite for Item {
    fn write(&mut self, fragment: SegmentBytes) -> Result<Next, SinkRefused> {
        if self.2 {
            return Err(SinkRefused);
        }
        let mut kept = lock(&self.0);
        let file = &mut kept.get_mut(&self.1).unwrap().1;
        fragment.chunks.iter().for_each(|chunk| file.extend_from_slice(chunk));
        assert_eq!(file.len() as u64, fragment.extent.bytes);
        Ok(Next::Go)
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        lock(&self.0).get_mut(&self.1).unwrap().2 = true;
    }
}

fn ffprobe(file: &std::path::Path) -> serde_json::Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-count_packets", "-show_streams", "-show_format"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn segments_begin_with_keyframes_lose_nothing_and_say_what_they_are() {
    gst::init().unwrap();
    let units = units_of(
        "videotestsrc num-buffers=500 pattern=ball ! video/x-raw,width=320,height=240,framerate=50/1
         ! x264enc key-int-max=50 bframes=0 speed-preset=ultrafast ! h264parse
         ! video/x-h264,stream-format=avc,alignment=au ! appsink name=out sync=false",
    );
    let mut bench = Bench::new(2);
    for (n, unit) in (0..).zip(&units) {
        bench.push_at(unit, Some(gst::ClockTime::from_mseconds(20) * n));
    }
    bench.end();
    let kept = lock(&bench.kept);
    assert_eq!(kept.len(), 5);
    let dir = tempfile::tempdir().unwrap();
    let mut start = None;
    for n in 0..kept.len() {
        let (head, bytes, closed) = &kept[&n];
        assert!(closed);
        assert_eq!((head.width, head.height), (320, 240));
        if let Some(before) = start.replace(head.start) {
            assert_eq!(head.start.0 - before.0, 2_000_000);
        }
        let file = dir.path().join(format!("{n}.mp4"));
        std::fs::write(&file, bytes).unwrap();
        let probe = ffprobe(&file);
        assert_eq!(probe["streams"][0]["nb_read_packets"], "100");
        assert_eq!(probe["streams"][0]["codec_tag_string"], "avc1");
        assert_eq!(
            probe["format"]["tags"]["comment"],
            format!("watchkeeper camera=front profile=main source=live start_us={}", head.start.0)
        );
        let keys = Command::new("ffprobe")
            .args(["-v", "error", "-of", "csv=p=0", "-show_entries", "packet=flags"])
            .arg(&file)
            .output()
            .unwrap();
        let keys = String::from_utf8(keys.stdout).unwrap();
        let at: Vec<usize> =
            keys.lines().enumerate().filter(|(_, flags)| flags.starts_with('K')).map(|(n, _)| n).collect();
        assert_eq!(at, [0, 50]);
    }
}

const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Access units of a small picture, the first of them a keyframe.
fn encoded(width: u32, frames: u32) -> Vec<AccessUnit> {
    let units = units_of(&format!(
        "videotestsrc num-buffers={frames} ! video/x-raw,width={width},height=120,framerate=25/1
         ! x264enc key-int-max={frames} bframes=0 speed-preset=ultrafast ! h264parse
         ! video/x-h264,stream-format=avc,alignment=au ! appsink name=out sync=false"
    ));
    assert_eq!(units.len(), frames as usize);
    units
}

/// What comes out of a pipeline with an appsink `out`, with the times of showing at 90 kHz.
fn units_of(text: &str) -> Vec<AccessUnit> {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut format: Option<Arc<VideoFormat>> = None;
    let unit = |sample: gst::Sample| {
        let new = units::video_format(sample.caps().unwrap()).unwrap();
        let format = match &format {
            Some(format) if **format == new => format.clone(),
            _ => format.insert(Arc::new(new)).clone(),
        };
        let buffer = sample.buffer_owned().unwrap();
        let rtp_time = buffer.pts().map(ticks);
        units::access_unit(buffer, &format, rtp_time, None, Instant::now()).unwrap()
    };
    let units = std::iter::from_fn(|| out.pull_sample().ok()).map(unit).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    units
}

/// A time in ticks of 90 kHz.
fn ticks(at: gst::ClockTime) -> u32 {
    (at.nseconds() * 9 / 100_000) as u32
}

/// A recorder fed by hand, and what it kept.
struct Bench {
    recorder: Recorder,
    kept: Kept,
    began: Instant,
    pushed: u64,
}

impl Bench {
    fn new(segment_seconds: u32) -> Self {
        Self::on(Shelf::default(), segment_seconds)
    }

    fn on(shelf: Shelf, segment_seconds: u32) -> Self {
        gst::init().unwrap();
        let kept = shelf.0.clone();
        let settings = RecordSettings {
            camera: "front".parse().unwrap(),
            profile: Profile::Main,
            segment_seconds: Arc::new(AtomicU32::new(segment_seconds)),
            want: Arc::default(),
            memory: Memory::default(),
            reached: Arc::default(),
            lookers: Lookers::default(),
            activity: Arc::default(),
            jumps: tokio::sync::mpsc::unbounded_channel().0,
            placing: None,
        };
        let recorder = Recorder::new(Texts::default(), settings, Arc::new(shelf)).unwrap();
        Self { recorder, kept, began: Instant::now(), pushed: 0 }
    }

    fn push(&mut self, unit: &AccessUnit) {
        let at = FRAME * self.pushed;
        self.push_at(unit, Some(at));
    }

    /// Pushes a unit that arrives in its time, or now if it has none.
    fn push_at(&mut self, unit: &AccessUnit, at: Option<gst::ClockTime>) {
        self.pushed += 1;
        let arrived = at.map_or_else(Instant::now, |at| self.began + Duration::from_nanos(at.nseconds()));
        let unit = AccessUnit { rtp_time: at.map(ticks), arrived, ..unit.clone() };
        assert_eq!(self.recorder.video(unit), Duration::ZERO);
    }

    fn push_all(&mut self, units: &[AccessUnit]) {
        units.iter().for_each(|unit| self.push(unit));
    }

    /// Pushes a silent frame of AAC.
    fn push_sound(&self, number: u32, format: &Arc<AudioFormat>) {
        self.recorder.audio(AudioUnit {
            data: Bytes::from_static(&[0x21, 0x10, 0x04, 0x60]),
            rtp_time: Some(number * 1024),
            ticks: 1024,
            arrived: self.began + Duration::from_secs_f64(f64::from(number * 1024) / 48_000.0),
            format: format.clone(),
        });
    }

    /// Stops it; the frames of each segment.
    fn end(&self) -> Vec<u32> {
        assert!(self.recorder.finish(Instant::now() + Duration::from_secs(20)));
        self.recorder.stop();
        let kept = lock(&self.kept);
        (0..kept.len()).map(|n| frames(&kept[&n].1)).collect()
    }
}

/// Counts the samples of all fragments of a file.
fn frames(file: &[u8]) -> u32 {
    let counts = file.windows(12).filter(|bytes| bytes.starts_with(b"trun"));
    counts.map(|bytes| u32::from_be_bytes(bytes[8..].try_into().unwrap())).sum()
}

static COMPLAINTS: AtomicU64 = AtomicU64::new(0);

#[test]
fn many_changes_of_the_picture_are_a_segment_each() {
    let pictures = [encoded(160, 5), encoded(176, 5)];
    let mut bench = Bench::new(3600);
    glib::log_set_default_handler(|domain, level, text| {
        glib::log_default_handler(domain, level, Some(text));
        COMPLAINTS.fetch_add(u64::from(text.contains("gst_value_compare")), Relaxed);
    });
    for n in 0..200 {
        bench.push_all(&pictures[n % 2]);
    }
    assert_eq!(bench.end(), vec![5; 200]);
    assert_eq!(COMPLAINTS.load(Relaxed), 0, "freed memory was read");
    let dir = tempfile::tempdir().unwrap();
    for n in (0..200).step_by(25) {
        let file = dir.path().join(format!("{n}.mp4"));
        std::fs::write(&file, &lock(&bench.kept)[&n].1).unwrap();
        let probe = ffprobe(&file);
        assert_eq!(probe["streams"][0]["nb_read_packets"], "5");
        assert_eq!(probe["streams"][0]["width"], [160, 176][n % 2]);
    }
}

#[test]
fn latency_events_do_not_reach_splitmuxsink() {
    let mut bench = Bench::new(3600);
    bench.push_all(&encoded(160, 5));
    let began = Instant::now();
    let (pipeline, pad) = loop {
        let pipeline = bench.recorder.pipelines().pop();
        let sink = pipeline.as_ref().and_then(|pipeline| {
            let mut all = pipeline.iterate_recurse().into_iter().flatten();
            all.find(|of| of.factory().is_some_and(|factory| factory.name() == "fakesink"))
        });
        if let Some((pipeline, pad)) = pipeline.zip(sink.and_then(|sink| sink.static_pad("sink"))) {
            break (pipeline, pad);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "there is no segment");
        std::thread::yield_now();
    };
    let came = Arc::new(AtomicU32::new(0));
    let count = came.clone();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let is_latency = info.event().is_some_and(|event| event.type_() == gst::EventType::Latency);
        count.fetch_add(is_latency.into(), Relaxed);
        gst::PadProbeReturn::Ok
    });
    assert!(pipeline.recalculate_latency().is_ok());
    assert_eq!(came.load(Relaxed), 0);
    assert_eq!(bench.end(), [5]);
}

#[test]
fn parameters_that_change_before_the_first_keyframe_cut_nothing() {
    let (small, large) = (encoded(160, 5), encoded(176, 5));
    let mut bench = Bench::new(3600);
    bench.push_all(&small[1..]);
    bench.push_all(&large[1..]);
    for _ in 0..3 {
        bench.push_all(&small);
    }
    assert_eq!(bench.end(), [15]);
    assert_eq!(bench.recorder.recorded().dropped_frames, 0);
}

#[test]
fn a_stop_at_a_cut_keeps_the_last_frame() {
    let picture = encoded(160, 5);
    for _ in 0..50 {
        let mut bench = Bench::new(0);
        bench.push_all(&picture);
        bench.push(&picture[0]);
        assert_eq!(bench.end(), [5, 1]);
    }
}

#[test]
fn frames_without_a_time_are_kept() {
    let picture = encoded(160, 5);
    let mut bench = Bench::new(3600);
    bench.push_all(&picture);
    picture.iter().for_each(|unit| bench.push_at(unit, None));
    bench.push_all(&picture);
    assert_eq!(bench.end(), [15]);
}

#[test]
fn a_refused_segment_is_followed_by_one_that_is_kept() {
    // With 50 frames a second fragment is made, and refused, before the second keyframe; that is due anyway.
    let picture = encoded(160, 50);
    for (segment_seconds, expected) in [(3600, vec![0, 0, 100]), (2, vec![0, 0, 50, 50])] {
        let mut bench = Bench::on(Shelf(Kept::default(), vec![0, 1]), segment_seconds);
        for n in 1..5 {
            bench.push_all(&picture);
            // The keyframe that follows comes after the refusal.
            let deadline = Instant::now() + Duration::from_secs(20);
            while n < 3 && !bench.recorder.shared.cut_now.load(Relaxed) {
                assert!(Instant::now() < deadline, "segment {n} is not refused");
                std::thread::yield_now();
            }
        }
        assert_eq!(bench.end(), expected);
    }
}

#[test]
fn nothing_of_a_recorder_outlives_it() {
    let picture = encoded(160, 5);
    let mut bench = Bench::new(0);
    let elements: Arc<Mutex<Vec<glib::WeakRef<gst::Element>>>> = Arc::default();
    let note = |elements: &Mutex<Vec<_>>, element: &gst::Element| lock(elements).push(element.downgrade());
    bench.push_all(&picture);
    let deadline = Instant::now() + Duration::from_secs(20);
    let pipeline = loop {
        if let Some(pipeline) = bench.recorder.pipelines().pop() {
            break pipeline;
        }
        assert!(Instant::now() < deadline, "no pipeline is made");
        std::thread::yield_now();
    };
    let added = elements.clone();
    pipeline.connect_deep_element_added(move |_, _, element| note(&added, element));
    pipeline.iterate_recurse().into_iter().flatten().for_each(|element| note(&elements, &element));
    drop(pipeline);
    (0..2).for_each(|_| bench.push_all(&picture));
    assert_eq!(bench.end(), [5, 5, 5]);
    let shared = Arc::downgrade(&bench.recorder.shared);
    drop(bench);
    let left = |elements: &Mutex<Vec<glib::WeakRef<gst::Element>>>| {
        lock(elements).iter().filter_map(|element| Some(element.upgrade()?.name())).collect::<Vec<_>>()
    };
    // A stretch that has just ended is taken away by a thread of its own.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !left(&elements).is_empty() || shared.upgrade().is_some() {
        assert!(Instant::now() < deadline, "{:?} stay, shared: {}", left(&elements), shared.strong_count());
        std::thread::yield_now();
    }
    assert!(lock(&elements).len() > 6);
}

/// Frames out of their order of display, in both codecs: every one is in the files, decodes, and is shown when it was
/// meant to be.
#[test]
fn b_frames_are_recorded_in_both_codecs() {
    gst::init().unwrap();
    let h264 = "x264enc key-int-max=20 bframes=3 b-pyramid=true b-adapt=false ! h264parse
                ! video/x-h264,stream-format=avc,alignment=au";
    let h265 =
        "x265enc key-int-max=20 option-string=bframes=3:b-adapt=0:open-gop=0:log-level=none ! h265parse
                ! video/x-h265,stream-format=hvc1,alignment=au";
    for (codec, encoder, tag) in [(Codec::H264, h264, "avc1"), (Codec::H265, h265, "hvc1")] {
        let text = format!(
            "videotestsrc num-buffers=100 pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 ! {encoder}
             ! appsink name=out sync=false"
        );
        let units = units_of(&text);
        assert_eq!(units.len(), 100);
        assert!(units.iter().all(|unit| unit.format.codec == codec));
        let bench = Bench::new(2);
        for unit in &units {
            bench.recorder.video(AccessUnit { arrived: Instant::now(), ..unit.clone() });
        }
        assert_eq!(bench.end(), [60, 40]);
        let dir = tempfile::tempdir().unwrap();
        for (n, count) in [(0, 60), (1, 40)] {
            let file = dir.path().join(format!("{n}.mp4"));
            std::fs::write(&file, &lock(&bench.kept)[&n].1).unwrap();
            assert_eq!(ffprobe(&file)["streams"][0]["codec_tag_string"], tag);
            let shown = Command::new("ffprobe")
                .args(["-v", "error", "-of", "csv=p=0", "-show_entries", "frame=pts_time"])
                .arg(&file)
                .output()
                .unwrap();
            assert!(shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
            let shown = String::from_utf8(shown.stdout).unwrap();
            let shown: Vec<f64> = shown.lines().filter_map(|at| at.trim_matches(',').parse().ok()).collect();
            assert_eq!(shown.len(), count);
            assert!(shown.windows(2).all(|pair| (pair[1] - pair[0] - 0.04).abs() < 0.001), "{shown:?}");
            let decoded = Command::new("ffmpeg")
                .args(["-v", "error", "-f", "null", "-", "-i"])
                .arg(&file)
                .output()
                .unwrap();
            assert!(decoded.stderr.is_empty(), "{}", String::from_utf8_lossy(&decoded.stderr));
        }
        let kept = lock(&bench.kept);
        assert!((kept[&1].0.start.0 - kept[&0].0.start.0 - 2_400_000).abs() < 1000);
    }
}

#[test]
fn a_cameras_clock_is_known_at_both_ends_of_what_is_missing() {
    let reached = Reached::default();
    let at = |seconds: i64| WallUs(seconds * 1_000_000);
    let note = |run, from, upto, ahead_us| {
        reached.note_clock(RunClock { run, from: at(from), upto: at(upto), ahead_us })
    };
    reached.runs.store(1, Relaxed);
    note(0, 10, 10, 37_000_000);
    note(0, 11, 11, 37_001_000);
    assert_eq!(reached.ahead_us(), Some(37_000_000), "within a stretch it is near enough");
    note(0, 60, 60, 37_010_000);
    reached.runs.store(2, Relaxed);
    assert_eq!(reached.ahead_us(), None, "of another run nothing is known yet");
    note(1, 100, 100, 37_040_000);
    note(1, 105, 105, 37_040_000);
    note(1, 160, 160, 37_020_000);
    assert_eq!(
        (reached.ahead_before_us(at(61)), reached.ahead_after_us(at(100))),
        (Some(37_010_000), Some(37_040_000))
    );
    assert_eq!(
        (reached.ahead_before_us(at(130)), reached.ahead_after_us(at(130))),
        (Some(37_020_000), Some(37_020_000))
    );
    assert_eq!((reached.ahead_before_us(at(80)), reached.ahead_after_us(at(80))), (None, None));
    assert_eq!(reached.ahead_us(), Some(37_020_000));
}

#[test]
fn a_cameras_clock_is_known_at_a_runs_begin_although_it_is_told_later_and_the_run_moved_meanwhile() {
    const AHEAD_US: i64 = 37_000_000;
    let units = encoded(160, 32);
    let mut bench = Bench::new(3600);
    let shared = bench.recorder.shared.clone();
    let mut begin = None;
    for (n, unit) in (0..).zip(&units) {
        let mut unit = unit.clone();
        if let Some(begin) = begin.filter(|_| n > 16) {
            unit.camera_time = Some(WallUs::plus_us(begin, AHEAD_US + 40_000 * i64::from(n)));
        }
        bench.push(&unit);
        if n == 0 || n == 16 {
            let at_ns = ZERO_NS + 40_000_000 * i64::from(n);
            let at = shared.wall(at_ns);
            begin.get_or_insert(at);
            if n == 16 {
                *lock(&shared.anchor) = Some(Anchor::new(at.plus_us(25_000), at_ns / 1000, None));
            }
        }
    }
    let reached = &shared.settings.reached;
    let near = |ahead: Option<i64>, expected: i64| (ahead.unwrap() - expected).abs() < 1000;
    assert!(near(reached.ahead_after_us(begin.unwrap()), AHEAD_US), "{reached:?}");
    assert!(near(reached.ahead_us(), AHEAD_US - 25_000), "{reached:?}");
    assert_eq!(bench.end(), [32]);
}

/// Notes when the last frame was.
#[derive(Debug, Default)]
struct LastTime(Mutex<Option<WallUs>>);

impl Look for LastTime {
    fn pass(&self, passing: &Passing<'_>) {
        *lock(&self.0) = Some(passing.at);
    }
}

/// The first frame came so late that the run, seconds later, goes slowly until the others are where they belong. A session may be lost
/// at any moment of that.
#[test]
fn a_cameras_clock_is_known_wherever_a_session_is_lost() {
    const LATE: Duration = Duration::from_millis(750);
    let picture = encoded(160, 25);
    for at_once in [1, 4] {
        let bench = Bench::new(3600);
        let settings = &bench.recorder.shared.settings;
        let last = Arc::new(LastTime::default());
        settings.lookers.add(last.clone());
        let mut wrong = Vec::new();
        for n in 0..250 {
            let read = Duration::from_millis(40) * (n + at_once - 1 - n % at_once);
            let camera = WallUs(1_796_000_000_000_000 + i64::from(n) * 40_000);
            bench.recorder.video(AccessUnit {
                rtp_time: Some(n * 3600),
                arrived: bench.began + read.max(LATE),
                camera_time: Some(camera),
                ..picture[n as usize % 25].clone()
            });
            let at = lock(&last.0).unwrap();
            let known = settings.reached.ahead_before_us(at);
            if n >= 16 && known.is_none_or(|known| (known - (camera.0 - at.0)).abs() > CLOCK_STEP_US) {
                wrong.push((n, known, camera.0 - at.0));
            }
        }
        assert_eq!(wrong, [], "{at_once} at once");
        assert_eq!(bench.end(), [250]);
    }
}

/// A trigger's segment holds the pre-roll, and after it nothing is written until the next.
#[test]
fn a_trigger_writes_what_was_kept_and_ends_at_a_keyframe() {
    let picture = encoded(160, 5);
    let mut bench = Bench::new(3600);
    let want = bench.recorder.shared.settings.want.clone();
    want.set(Wanted::Keep(Duration::from_millis(600)));
    (0..20).for_each(|_| bench.push_all(&picture));
    assert_eq!(lock(&bench.kept).len(), 0);
    let recorded = bench.recorder.recorded();
    assert!(
        recorded.pre_roll >= Duration::from_millis(600) && recorded.pre_roll < Duration::from_millis(800)
    );
    // The last frame is at 3.96 s, so 3.3 s lies in the GOP that begins at 3.2 s: frame 80.
    let from = bench.recorder.shared.wall(10_000_000_000).plus_us(3_300_000);
    want.set(Wanted::From(from));
    bench.push_all(&picture);
    want.set(Wanted::Keep(Duration::ZERO));
    (0..3).for_each(|_| bench.push_all(&picture));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !lock(&bench.kept).get(&0).is_some_and(|kept| kept.2) {
        assert!(Instant::now() < deadline, "the segment stays open");
        std::thread::yield_now();
    }
    want.set(Wanted::All);
    bench.push_all(&picture);
    assert_eq!(bench.end(), [25, 10]);
    let kept = lock(&bench.kept);
    assert_eq!(kept[&0].0.start, from.plus_us(-100_000));
    assert_eq!(bench.recorder.recorded().dropped_frames, 0);
}

/// Silence beside pictures, as a camera sends both: a stop waits for nothing.
#[test]
fn a_recording_with_sound_ends_when_it_is_told_to() {
    let picture = encoded(160, 25);
    // Ticks and bytes of a packet.
    let aac = (AudioCodec::Aac, 1024, Bytes::from_static(&[0x21, 0x10, 0x04, 0x60]));
    let pcmu = (AudioCodec::Pcmu, 320, Bytes::from(vec![0xff; 320]));
    for (rate, (codec, ticks, data)) in [(12_000, &aac), (16_000, &aac), (48_000, &aac), (8_000, &pcmu)] {
        let mut bench = Bench::new(3600);
        bench.recorder.expect_sound(*codec);
        let channels = if *codec == AudioCodec::Aac { 2 } else { 1 };
        let configuration = Bytes::from_static(if *codec == AudioCodec::Aac { &[0x14, 0x10] } else { &[] });
        let format = Arc::new(AudioFormat { codec: *codec, rate, channels, configuration });
        let mut sounds = 0;
        for n in 0..75 {
            bench.push(&picture[n as usize % 25]);
            // Sound of the same time.
            while sounds * ticks * 25 <= n * rate {
                let after = Duration::from_secs_f64(f64::from(sounds * ticks) / f64::from(rate));
                bench.recorder.audio(AudioUnit {
                    data: data.clone(),
                    rtp_time: Some(sounds * ticks),
                    ticks: *ticks,
                    arrived: bench.began + after,
                    format: format.clone(),
                });
                sounds += 1;
            }
            // Five times as fast as a camera.
            std::thread::park_timeout(Duration::from_millis(8));
        }
        let began = Instant::now();
        bench.end();
        assert!(began.elapsed() < Duration::from_secs(3), "{codec:?} {rate}: {:?}", began.elapsed());
        assert!(lock(&bench.kept).values().all(|(.., is_closed)| *is_closed), "{codec:?} {rate}");
        assert_eq!(packets(&bench.kept, "v"), 75, "{codec:?} {rate}");
    }
}

/// Packets of a track (`v` or `a`) in all files.
fn packets(kept: &Kept, track: &str) -> u32 {
    let dir = tempfile::tempdir().unwrap();
    let count = |(n, (_, bytes, _)): (&usize, &(SegmentHead, Vec<u8>, bool))| {
        let file = dir.path().join(format!("{n}.mp4"));
        std::fs::write(&file, bytes).unwrap();
        // The sound is none, which ffprobe would say; only packets are counted.
        let counted = Command::new("ffprobe")
            .args(["-v", "quiet", "-select_streams", track, "-count_packets", "-of", "csv=p=0"])
            .args(["-show_entries", "stream=nb_read_packets"])
            .arg(&file)
            .output()
            .unwrap();
        String::from_utf8(counted.stdout).unwrap().trim().parse().unwrap_or(0)
    };
    lock(kept).iter().map(count).sum()
}

fn aac(configuration: &'static [u8]) -> Arc<AudioFormat> {
    let configuration = Bytes::from_static(configuration);
    Arc::new(AudioFormat { codec: AudioCodec::Aac, rate: 48_000, channels: 2, configuration })
}

/// Three seconds of pictures and AAC of this configuration, the sound of each picture's time before or after it; the recorder's bench
/// and how many packets of sound there were.
fn with_aac(configuration: &'static [u8], is_sound_first: bool) -> (Bench, u32) {
    let picture = encoded(160, 25);
    let mut bench = Bench::new(1);
    bench.recorder.expect_sound(AudioCodec::Aac);
    let format = aac(configuration);
    let mut sounds = 0;
    for n in 0..75 {
        if !is_sound_first {
            bench.push(&picture[n as usize % 25]);
        }
        while sounds * 1024 * 25 <= n * 48_000 {
            bench.push_sound(sounds, &format);
            sounds += 1;
        }
        if is_sound_first {
            bench.push(&picture[n as usize % 25]);
        }
        // Five times as fast as a camera.
        std::thread::park_timeout(Duration::from_millis(8));
    }
    (bench, sounds)
}

#[test]
fn no_sound_is_missing_where_a_segment_ends() {
    for is_sound_first in [true, false] {
        let (bench, sounds) = with_aac(&[0x11, 0x90], is_sound_first);
        assert_eq!(bench.end().len(), 3);
        assert_eq!((packets(&bench.kept, "v"), packets(&bench.kept, "a")), (75, sounds), "{is_sound_first}");
    }
}

#[test]
fn late_sound_holds_back_no_picture() {
    let picture = encoded(160, 25);
    let mut bench = Bench::new(1);
    bench.recorder.expect_sound(AudioCodec::Aac);
    let format = aac(&[0x11, 0x90]);
    // 0.4 s, and then it is late.
    (0..20).for_each(|n| bench.push_sound(n, &format));
    bench.push_all(&picture);
    bench.push_all(&picture[..20]);
    let began = Instant::now();
    while lock(&bench.kept).len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "the second segment does not begin");
        std::thread::yield_now();
    }
    assert_eq!(frames(&lock(&bench.kept)[&0].1), 25 + 20, "pictures and sound");
    (20..85).for_each(|n| bench.push_sound(n, &format));
    assert_eq!(bench.end().len(), 2);
    assert_eq!(packets(&bench.kept, "v"), 45);
}

#[test]
fn sound_that_a_file_cannot_hold_costs_no_picture() {
    let (bench, _) = with_aac(&[], true);
    assert_eq!(bench.end(), [25, 25, 25]);
    assert!(lock(&bench.kept).values().all(|(head, ..)| head.audio.is_none()));
    assert_eq!((packets(&bench.kept, "v"), packets(&bench.kept, "a")), (75, 0));
    assert_eq!(bench.recorder.recorded().dropped_frames, 0);
}
