//! The disk with what Debian's muxer really writes, and with faults.

mod durable;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gstreamer::prelude::*;
use proptest::prelude::*;

use super::*;
use crate::{
    base::WallUs,
    model::{
        camera::Profile,
        naming,
        reconcile::FoundFile,
        segment::{
            Codec, Extent, Hash, SegmentBytes, SegmentFacts, SegmentHead, SegmentSink, SegmentState,
            SinkRefused, Source,
        },
    },
};

const LONG: Duration = Duration::from_secs(20);
const START: WallUs = WallUs(1_795_168_800_123_456);

/// The buffers of a muxer into an appsink.
fn muxed(frames: u32, size: &str, encoder: &str) -> Vec<Bytes> {
    gstreamer::init().unwrap();
    let text = format!(
        "videotestsrc num-buffers={frames} ! video/x-raw,{size},framerate=25/1 ! x264enc {encoder} key-int-max=25 \
         ! h264parse ! taginject tags=\"comment=\\\"watchkeeper camera=a start_us={}\\\"\" \
         ! mp4mux fragment-duration=500 ! appsink name=sink sync=false",
        START.0
    );
    let pipeline = gstreamer::parse::launch(&text).unwrap().downcast::<gstreamer::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
    pipeline.set_state(gstreamer::State::Playing).unwrap();
    let mut out = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        out.push(Bytes::copy_from_slice(&map));
    }
    pipeline.set_state(gstreamer::State::Null).unwrap();
    assert!(out.len() > 2, "nothing came out of `{text}`");
    out
}

/// 200 frames of a small picture, 8 seconds.
fn footage() -> &'static [Bytes] {
    static MADE: OnceLock<Vec<Bytes>> = OnceLock::new();
    MADE.get_or_init(|| muxed(200, "width=160,height=120", "bframes=0"))
}

fn whole(buffers: &[Bytes]) -> Vec<u8> {
    buffers.concat()
}

/// Where the top-level boxes of a good file begin, with their names.
fn borders(file: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut at = 0;
    let mut out = Vec::new();
    while at < file.len() {
        out.push((at, file[at + 4..at + 8].to_vec()));
        at += u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    }
    out
}

/// Where whole fragments end.
fn fragment_ends(file: &[u8]) -> Vec<usize> {
    let all = borders(file);
    let next = all.iter().skip(1).map(|(at, _)| *at).chain([file.len()]);
    all.iter().zip(next).filter(|((_, kind), _)| kind == b"mdat").map(|(_, end)| end).collect()
}

/// A good file as a recorder hands it over. What follows the last fragment belongs to it.
fn fragments(file: &Bytes) -> Vec<SegmentBytes> {
    let mut ends = fragment_ends(file);
    *ends.last_mut().unwrap() = file.len();
    let mut counter = None;
    let mut from = 0;
    let mut made = Vec::new();
    for end in ends {
        for (kind, body) in boxes::children(&file[from..end]) {
            match &kind {
                b"moov" => counter = Some(boxes::Counter::new(boxes::Track::video(body).unwrap())),
                b"moof" => counter.as_mut().unwrap().add(body).unwrap(),
                _ => {}
            }
        }
        let extent = counter.as_ref().unwrap().extent(end as u64);
        made.push(SegmentBytes { chunks: vec![file.slice(from..end)], extent });
        from = end;
    }
    made
}

/// Several fragments that follow each other, as one.
fn joined(fragments: &[SegmentBytes]) -> SegmentBytes {
    let chunks = fragments.iter().flat_map(|fragment| fragment.chunks.clone()).collect();
    SegmentBytes { chunks, extent: fragments.last().unwrap().extent }
}

fn footage_fragments() -> Vec<SegmentBytes> {
    fragments(&Bytes::from(whole(footage())))
}

/// Where the last of these fragments ends in the file.
fn end(fragment: &SegmentBytes) -> usize {
    fragment.extent.bytes as usize
}

/// Frames that ffprobe can read, or 0.
fn ffprobe_frames(path: &Path) -> u64 {
    let out = Command::new("ffprobe")
        .args(["-v", "quiet", "-count_packets", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap().trim().parse().unwrap_or(0)
}

pub(super) fn head(camera: &str, start: WallUs) -> SegmentHead {
    SegmentHead {
        camera: camera.parse().unwrap(),
        profile: Profile::Main,
        start,
        codec: Codec::H264,
        width: 160,
        height: 120,
        audio: None,
        source: Source::Live,
        only_mirror: false,
    }
}

struct Rig {
    dir: tempfile::TempDir,
    writer: VolumeWriter,
}

impl Rig {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = VolumeWriter::start(Volume::open(dir.path()).unwrap(), limits).unwrap();
        Self { dir, writer }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn flushed(&self) -> Vec<SegmentFacts> {
        assert!(self.writer.flush(LONG), "the writer hangs");
        self.writer.facts().take().into_iter().map(|(_, facts)| facts).collect()
    }

    /// Names in the camera's directory, hidden ones too.
    fn names(&self, camera: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(camera)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn health(&self) -> Health {
        self.writer.health().borrow().clone()
    }

    /// Facts say what the file holds, and the file is whole.
    fn agrees(&self, facts: &SegmentFacts) {
        let measured = measure(self.writer.volume(), &facts.path).unwrap();
        assert_eq!((measured.extent, measured.torn_bytes), (facts.extent, 0));
        assert_eq!(ffprobe_frames(&self.at(&facts.path)), facts.extent.frames);
    }
}

#[test]
fn a_file_is_what_came_and_its_facts_are_what_ffprobe_sees() {
    for (size, encoder) in [
        ("width=160,height=120", "bframes=0"),
        ("width=640,height=360", "bframes=2"),
        ("width=160,height=120", "tune=zerolatency"),
    ] {
        let rig = Rig::new();
        let buffers = muxed(200, size, encoder);
        let mut segment = rig.writer.open(head("front", START));
        for fragment in fragments(&Bytes::from(whole(&buffers))) {
            segment.write(fragment).unwrap();
        }
        drop(segment);
        let facts = rig.flushed();
        let [facts] = facts.as_slice() else { panic!("{facts:?}") };
        let file = fs::read(rig.at(&facts.path)).unwrap();
        assert!(file == whole(&buffers), "the file is not what came");
        assert_eq!(facts.hash, Some(hash(rig.writer.volume(), &facts.path).unwrap()));
        assert_eq!(facts.hash, Some(Hash(*blake3::hash(&file).as_bytes())));
        assert_eq!((facts.state, facts.path.as_str()), (SegmentState::Closed, "front/20261120_100000.mp4"));
        assert_eq!((facts.extent.frames, facts.extent.bytes), (200, file.len() as u64));
        assert!((facts.extent.duration_us - 8_000_000).abs() < 1_000, "{:?}", facts.extent);
        rig.agrees(facts);
        assert_eq!(rig.names("front"), ["20261120_100000.mp4"], "no hidden file stays");
        let measured = measure(rig.writer.volume(), &facts.path).unwrap();
        assert_eq!(measured.start_us, Some(START.0));
        assert_eq!(format!("width={},height={}", measured.width, measured.height), size);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn borders_of_chunks_mean_nothing(cuts in proptest::collection::vec(0usize..5_000, 1..60)) {
        let rig = Rig::new();
        let file = Bytes::from(whole(footage()));
        let mut segment = rig.writer.open(head("front", START));
        let mut sizes = cuts.iter().copied().cycle();
        for SegmentBytes { chunks, extent } in fragments(&file) {
            let mut rest = chunks[0].clone();
            let mut cut = Vec::new();
            // More pieces than the kernel takes in one write.
            while cut.len() < 2_000 && !rest.is_empty() {
                cut.push(rest.split_to(sizes.next().unwrap().min(rest.len())));
            }
            cut.push(rest);
            segment.write(SegmentBytes { chunks: cut, extent }).unwrap();
        }
        drop(segment);
        let facts = rig.flushed();
        prop_assert_eq!(facts.len(), 1);
        prop_assert!(fs::read(rig.at(&facts[0].path)).unwrap() == file);
        prop_assert_eq!(facts[0].extent.frames, 200);
        prop_assert_eq!(facts[0].extent.bytes, file.len() as u64);
        prop_assert_eq!(rig.writer.queued_bytes(), 0);
    }

    #[test]
    fn damage_never_panics(at in 0usize..2_000, value in any::<u32>(), cut in 100usize..20_000) {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::open(dir.path()).unwrap();
        let mut file = whole(footage());
        file.truncate(cut);
        let at = at.min(cut - 4);
        file[at..at + 4].copy_from_slice(&value.to_be_bytes());
        fs::write(dir.path().join("x.mp4"), &file).unwrap();
        if let Ok(measured) = measure(&volume, "x.mp4") {
            prop_assert!(measured.extent.bytes + measured.torn_bytes == file.len() as u64);
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_measured_up_to_its_last_whole_fragment() {
    let rig = Rig::new();
    let file = whole(&muxed(40, "width=64,height=48", "bframes=0"));
    let ends = fragment_ends(&file);
    let path = rig.at("cut.mp4");
    let mut frames = Vec::new();
    for end in &ends {
        fs::write(&path, &file[..*end]).unwrap();
        frames.push(ffprobe_frames(&path));
    }
    assert_eq!(frames.last(), Some(&40));
    fs::write(&path, &file).unwrap();
    let handle = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for cut in (0..=file.len()).rev() {
        handle.set_len(cut as u64).unwrap();
        let measured = measure(rig.writer.volume(), "cut.mp4");
        let fragments = ends.iter().filter(|end| **end <= cut).count();
        let Some(last) = fragments.checked_sub(1) else {
            assert!(matches!(measured, Err(Error::Empty { .. })), "{cut}: {measured:?}");
            continue;
        };
        let measured = measured.unwrap();
        let good = if cut == file.len() { cut } else { ends[last] };
        assert_eq!(measured.extent.frames, frames[last], "{cut}");
        assert_eq!((measured.extent.bytes, measured.torn_bytes), (good as u64, (cut - good) as u64), "{cut}");
        assert_eq!((measured.codec, measured.width, measured.height), (Codec::H264, 64, 48));
    }
}

#[test]
fn other_files_are_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::open(dir.path()).unwrap();
    let file = whole(footage());
    let boxes = borders(&file);
    let (moov, moof) = (boxes[1].0, boxes[2].0);
    let not_fragmented = [&file[..moof], b"\0\0\0\x0cmdatxxxx"].concat();
    let no_moov = [&file[..moov], &file[moof..]].concat();
    let mut endless = file[..moof].to_vec();
    endless.extend(b"\0\0\0\0mdat");
    let headers = b"\0\0\0\x08free".repeat(4_000);
    let texts: [(&[u8], bool); 7] = [
        (b"just some text, longer than a header", false),
        (&not_fragmented, false),
        (&no_moov, false),
        (b"\xff\xff\xff\xffmoov\xff\xff\xff\xff", false),
        (&headers, false),
        (&endless, true),
        (&[], true),
    ];
    for (number, (bytes, empty)) in texts.iter().enumerate() {
        fs::write(dir.path().join("x.mp4"), bytes).unwrap();
        let answer = measure(&volume, "x.mp4");
        let right = match answer {
            Err(Error::Empty { .. }) => *empty,
            Err(Error::NotOurs { .. }) => !empty,
            _ => false,
        };
        assert!(right, "{number}: {answer:?}");
    }
}

#[test]
fn a_file_appears_with_its_first_fragment_and_grows_by_whole_ones() {
    let rig = Rig::new();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let mut segment = rig.writer.open(head("front", START));
    assert_eq!(rig.flushed(), []);
    assert_eq!(rig.names("front"), [""; 0]);
    assert_eq!(rig.writer.last_written(&head("front", START).stream()), None);

    let before = Instant::now();
    segment.write(parts[0].clone()).unwrap();
    segment.write(parts[1].clone()).unwrap();
    let facts = rig.flushed().pop().unwrap();
    assert_eq!((facts.state, facts.extent, facts.hash), (SegmentState::Open, parts[1].extent, None));
    assert_eq!(fs::read(rig.at(&facts.path)).unwrap(), &file[..end(&parts[1])]);
    rig.agrees(&facts);
    assert!(rig.writer.last_written(&head("front", START).stream()).unwrap() >= before);
    assert_eq!(rig.flushed(), [], "unchanged facts do not come again");

    // Left without a close.
    segment.write(parts[2].clone()).unwrap();
    drop(segment);
    let [facts] = rig.flushed().try_into().unwrap();
    assert_eq!((facts.state, facts.extent), (SegmentState::Closed, parts[2].extent));
    assert_eq!(fs::read(rig.at(&facts.path)).unwrap(), &file[..end(&parts[2])]);
    assert_eq!(facts.hash, Some(Hash(*blake3::hash(&file[..end(&parts[2])]).as_bytes())));
    rig.agrees(&facts);
    assert_eq!(rig.writer.queued_bytes(), 0);
}

#[test]
fn one_second_has_room_for_many_and_nothing_is_overwritten() {
    let rig = Rig::new();
    fs::create_dir_all(rig.at("front")).unwrap();
    let second = |copy| naming::relative_path(&"front".parse().unwrap(), START, copy);
    fs::write(rig.at(&second(1)), "somebody's").unwrap();
    fs::write(rig.at("front/.20261120_100000.mp4.part"), "left by a kill").unwrap();
    let mut open: Vec<_> = (0..3).map(|n| rig.writer.open(head("front", START.plus_us(n)))).collect();
    for fragment in footage_fragments() {
        for segment in &mut open {
            segment.write(fragment.clone()).unwrap();
        }
    }
    drop(open);
    let facts = rig.flushed();
    let paths: Vec<_> = facts.iter().map(|facts| facts.path.clone()).collect();
    assert_eq!(paths, [second(0), second(2), second(3)]);
    assert_eq!(fs::read(rig.at(&second(1))).unwrap(), b"somebody's");
    assert_eq!(fs::read(rig.at("front/.20261120_100000.mp4.part")).unwrap(), b"left by a kill");
    facts.iter().for_each(|facts| rig.agrees(facts));
}

#[test]
fn a_hanging_disk_costs_bounded_memory_and_delays_nobody() {
    let file = Bytes::from(whole(footage()));
    let piece = 1_000;
    let part = |from: usize| {
        let extent = Extent { bytes: (from + piece) as u64, ..Extent::default() };
        SegmentBytes { chunks: vec![file.slice(from..from + piece)], extent }
    };
    let limits = Limits { camera_bytes: 40_000, total_bytes: 60_000 };
    let rig = Rig::with(limits);
    let hanging = rig.writer.hang();
    let began = Instant::now();
    let fill = |camera: &str| {
        let mut segment = rig.writer.open(head(camera, START));
        let mut taken = 0;
        while segment.write(part(taken)).is_ok() {
            taken += piece;
        }
        // Refused once is refused for good, even if there were room again.
        assert_eq!(segment.write(part(0)), Err(SinkRefused));
        taken
    };
    let (front, yard, late) = (fill("front"), fill("yard"), fill("late"));
    assert!((30_000..40_000).contains(&front), "{front}");
    assert!((10_000..25_000).contains(&yard), "{yard}");
    assert!(late < 2_000, "{late}");
    assert!(rig.writer.queued_bytes() <= limits.total_bytes);
    assert!(matches!(rig.health(), Health::Failing { error, .. } if error.contains("behind")));
    assert!(!rig.writer.flush(Duration::from_millis(50)));
    assert!(began.elapsed() < LONG);

    drop(hanging);
    let facts = rig.flushed();
    assert_eq!(rig.writer.queued_bytes(), 0);
    assert_eq!(rig.health(), Health::Ok);
    for (facts, taken) in facts.iter().zip([front, yard]) {
        assert_eq!((facts.state, facts.extent.bytes), (SegmentState::Closed, taken as u64));
        assert_eq!(fs::read(rig.at(&facts.path)).unwrap(), &file[..taken]);
    }
    let _hanging = rig.writer.hang();
    assert!(!rig.writer.shutdown(Duration::from_millis(50)), "shutdown does not wait for a hanging disk");
}

#[test]
fn what_is_written_late_is_in_hand_until_then_and_nothing_is_late_afterwards() {
    let rig = Rig::with(Limits::default());
    let hanging = rig.writer.hang();
    let mut segment = rig.writer.open(head("front", START));
    segment.write(joined(&footage_fragments())).unwrap();
    drop(segment);
    let path = "front/20261120_100000.mp4";
    assert!(rig.writer.has_in_hand(path) && !rig.writer.has_in_hand("front/20261120_100001.mp4"));
    drop(hanging);
    assert_eq!(rig.flushed()[0].path, path);
    assert!(rig.writer.has_in_hand(path), "its row may be on its way");
    // The end came together with the data.
    let began = Instant::now();
    while !rig.writer.lag().is_zero() {
        assert!(began.elapsed() < LONG, "{:?} behind", rig.writer.lag());
        std::thread::yield_now();
    }
    // One that never got any bytes is nobody's.
    drop(rig.writer.open(head("yard", START)));
    assert!(!rig.writer.has_in_hand("yard/20261120_100000.mp4"));
}

/// A small file system of its own. Needs root, as in CI; without, the test fails rather than pass unseen.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn sized(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], dir.path());
        Self(dir)
    }
}

fn mount(args: &[&str], at: &Path) {
    let done = Command::new("mount").args(args).arg(at).status().unwrap();
    assert!(done.success(), "mount failed; this test needs root");
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Writes the footage fragment by fragment, each on disk before the next is handed over, until it is refused.
fn write_slowly(writer: &VolumeWriter, head: SegmentHead, file: &Bytes) -> Result<(), SinkRefused> {
    let mut segment = writer.open(head);
    for fragment in fragments(file) {
        segment.write(fragment)?;
        assert!(writer.flush(LONG));
    }
    Ok(())
}

#[test]
fn a_full_disk_ends_the_segment_at_a_whole_fragment_and_room_mends_it() {
    let tmpfs = Tmpfs::sized("2m");
    let root = tmpfs.0.path();
    let writer = VolumeWriter::start(Volume::open(root).unwrap(), Limits::default()).unwrap();
    let health = writer.health();
    let file = Bytes::from(whole(footage()));
    let ends = fragment_ends(&file);
    // Leaves room for some fragments and a piece of the next.
    let room = ends[4] + 3_000;
    let filler = |bytes: u64| fs::write(root.join("filler"), vec![1; bytes as usize]).unwrap();
    let free = writer.volume().space().unwrap().free_bytes;
    filler(free - room as u64 - 8_192);

    assert_eq!(write_slowly(&writer, head("front", START), &file), Err(SinkRefused));
    let Health::Failing { error, path, .. } = health.borrow().clone() else { panic!("still ok") };
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(path, root.join("front/20261120_100000.mp4"));
    let taken = writer.facts().take();
    let [(_, facts)] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!(facts.state, SegmentState::Closed);
    assert!(ends.contains(&(facts.extent.bytes as usize)));
    assert_eq!(fs::metadata(root.join(&facts.path)).unwrap().len(), facts.extent.bytes);
    assert_eq!(measure(writer.volume(), &facts.path).unwrap().extent, facts.extent);
    assert_eq!(hash(writer.volume(), &facts.path).unwrap(), facts.hash.unwrap(), "without the torn fragment");

    // Not even a first fragment fits: no file, no hidden file, no facts.
    filler(writer.volume().space().unwrap().free_bytes + free - room as u64 - 8_192);
    let _ = write_slowly(&writer, head("yard", START), &file);
    assert_eq!(writer.facts().take(), []);
    assert_eq!(fs::read_dir(root.join("yard")).map_or(0, Iterator::count), 0);

    fs::remove_file(root.join("filler")).unwrap();
    write_slowly(&writer, head("front", START.plus(LONG)), &file).unwrap();
    assert!(writer.flush(LONG));
    assert_eq!(*health.borrow(), Health::Ok);
    assert_eq!(writer.facts().take()[0].1.extent.frames, 200);

    // A disk that the kernel has made read-only.
    mount(&["-o", "remount,ro"], root);
    assert_eq!(write_slowly(&writer, head("front", START), &file), Err(SinkRefused));
    let failing = health.borrow().clone();
    assert!(matches!(&failing, Health::Failing { error, .. } if error.contains("Read-only")), "{failing:?}");
    mount(&["-o", "remount,rw"], root);
    write_slowly(&writer, head("front", START), &file).unwrap();
    assert_eq!(*health.borrow(), Health::Ok);
    assert!(writer.shutdown(LONG));
}

#[test]
fn what_is_gone_is_not_claimed() {
    let rig = Rig::new();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let mut segment = rig.writer.open(head("front", START));
    segment.write(parts[0].clone()).unwrap();
    let [facts] = rig.flushed().try_into().unwrap();
    fs::remove_dir_all(rig.at("front")).unwrap();
    segment.write(parts[1].clone()).unwrap();
    let [lost] = rig.flushed().try_into().unwrap();
    assert_eq!((lost.state, &lost.path, lost.extent), (SegmentState::Lost, &facts.path, facts.extent));
    assert_eq!(segment.write(joined(&parts[2..])), Err(SinkRefused));
    // The directory comes back with the next segment.
    write_slowly(&rig.writer, head("front", START), &file).unwrap();
    rig.agrees(&rig.flushed()[0]);
    assert_eq!(rig.health(), Health::Ok);

    fs::remove_dir_all(rig.dir.path()).unwrap();
    let mut segment = rig.writer.open(head("yard", START));
    segment.write(joined(&parts)).unwrap();
    assert_eq!(rig.flushed(), []);
    assert_eq!(segment.write(joined(&parts)), Err(SinkRefused));
    assert!(matches!(rig.health(), Health::Failing { .. }));
}

#[test]
fn a_panic_over_one_camera_costs_no_other() {
    let rig = Rig::new();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let mut good = rig.writer.open(head("front", START));
    let mut panics = rig.writer.open(head("yard", START));
    good.write(parts[0].clone()).unwrap();
    panics.write(parts[0].clone()).unwrap();
    let keys: HashSet<_> = {
        assert!(rig.writer.flush(LONG));
        let facts = rig.writer.facts().take();
        facts.iter().filter(|(_, facts)| facts.head.camera.as_str() == "yard").map(|(key, _)| *key).collect()
    };
    keys.iter().for_each(|key| rig.writer.panic_at(*key));
    good.write(joined(&parts[1..])).unwrap();
    drop(good);
    let facts = rig.flushed();
    assert_eq!(panics.write(joined(&parts[1..])), Err(SinkRefused));
    let states: Vec<_> =
        facts.iter().map(|facts| (facts.path.as_str(), facts.state, facts.extent.bytes)).collect();
    assert_eq!(
        states,
        [
            ("front/20261120_100000.mp4", SegmentState::Closed, file.len() as u64),
            ("yard/20261120_100000.mp4", SegmentState::Closed, parts[0].extent.bytes),
        ]
    );
    assert_eq!(rig.health(), Health::Ok, "no fault of the disk");
    assert_eq!(rig.writer.queued_bytes(), 0);
}

#[test]
fn shutdown_ends_what_is_open_and_takes_nothing_more() {
    let rig = Rig::new();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let mut segment = rig.writer.open(head("front", START));
    segment.write(joined(&parts[..3])).unwrap();
    assert!(rig.writer.shutdown(LONG));
    assert_eq!(segment.write(joined(&parts[3..])), Err(SinkRefused));
    drop(segment);
    let [(_, facts)] = rig.writer.facts().take().try_into().unwrap();
    assert_eq!((facts.state, facts.extent.bytes), (SegmentState::Closed, parts[2].extent.bytes));
    assert_eq!(rig.writer.open(head("front", START)).write(joined(&parts)), Err(SinkRefused));
    assert!(!rig.writer.flush(Duration::from_millis(50)));
    assert_eq!(rig.writer.queued_bytes(), 0);
}

#[tokio::test]
async fn a_slow_index_gets_the_latest_facts_of_each_segment() {
    let rig = Rig::new();
    let waiting = tokio::spawn({
        let facts = rig.writer.facts();
        async move {
            facts.changed().await;
            facts.pending()
        }
    });
    for n in 0..3 {
        let mut segment = rig.writer.open(head("front", START.plus_us(n * 1_000_000)));
        for fragment in footage_fragments() {
            segment.write(fragment).unwrap();
        }
    }
    assert!(tokio::time::timeout(LONG, waiting).await.unwrap().unwrap() >= 1);
    let facts = rig.flushed();
    assert_eq!(facts.len(), 3, "one entry per segment, however many fragments");
    assert!(facts.iter().all(|facts| facts.state == SegmentState::Closed && facts.extent.frames == 200));
}

#[test]
fn what_the_writer_made_is_found_by_a_scan() {
    let rig = Rig::new();
    write_slowly(&rig.writer, head("front", START), &Bytes::from(whole(footage()))).unwrap();
    let [facts] = rig.flushed().try_into().unwrap();
    let listed = |since| Listing::new(rig.writer.volume(), since).unwrap().page().unwrap().unwrap();
    let found = |bytes| [FoundFile { path: facts.path.clone(), bytes }];
    assert_eq!(listed(WallUs(0)), found(Some(facts.extent.bytes)));
    assert_eq!(listed(START.plus(LONG)), found(None), "no inode is read");
}

#[test]
fn a_list_in_pieces_is_the_whole_list_in_order_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::open(dir.path()).unwrap();
    let mut ours = Vec::new();
    for camera in ["a", "a-b", "b"] {
        fs::create_dir(dir.path().join(camera)).unwrap();
        for n in 0..7 {
            let copy = if n % 2 == 0 { String::new() } else { format!("_{n}") };
            ours.push(format!("{camera}/20261120_10000{}{copy}.mp4", n / 2));
        }
    }
    ours.sort();
    ours.iter().for_each(|path| fs::write(dir.path().join(path), "12345").unwrap());
    for other in ["a/notes.txt", "a/holiday.mp4", "a/.20261120_100000.mp4.part", "20261120_100000.mp4"] {
        fs::write(dir.path().join(other), "x").unwrap();
    }
    fs::create_dir_all(dir.path().join("NoSlug")).unwrap();
    fs::write(dir.path().join("NoSlug/20261120_100000.mp4"), "x").unwrap();
    fs::create_dir(dir.path().join("a/20261120_110000.mp4")).unwrap();
    std::os::unix::fs::symlink("20261120_100000.mp4", dir.path().join("a/20261120_120000.mp4")).unwrap();
    for names in [1, 3, 7, 8, 100] {
        let mut listing = Listing::new(&volume, WallUs(0)).unwrap().by(names);
        assert_eq!(listing.count(WallUs(i64::MAX)).unwrap(), 21);
        let mut found = Vec::new();
        while let Some(page) = listing.page().unwrap() {
            assert!((1..=names).contains(&page.len()), "{}", page.len());
            found.extend(page);
        }
        assert!(found.iter().all(|file| file.bytes == Some(5)));
        assert_eq!(found.into_iter().map(|file| file.path).collect::<Vec<_>>(), ours, "{names}");
    }
}
