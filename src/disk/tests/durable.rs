//! What is told is on the medium, and what may not be is said to be suspect.

use super::*;

#[test]
fn nothing_is_told_before_it_is_synced() {
    let rig = Rig::new();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let gate = rig.writer.sync_gate();
    let hung = gate.lock().unwrap();
    let mut segment = rig.writer.open(head("front", START));
    segment.write(parts[0].clone()).unwrap();
    let path = rig.at("front/20261120_100000.mp4");
    let began = Instant::now();
    while fs::metadata(&path).map_or(0, |found| found.len()) < parts[0].extent.bytes {
        assert!(began.elapsed() < LONG, "not written");
    }
    // The writer goes on to the end of the segment; the index hears of neither its beginning nor its end.
    segment.write(joined(&parts[1..])).unwrap();
    drop(segment);
    while fs::metadata(&path).unwrap().len() < file.len() as u64 {
        assert!(began.elapsed() < LONG, "the writer waits for a sync");
    }
    assert!(!rig.writer.flush(Duration::from_millis(300)), "a flush is a sync");
    assert_eq!(rig.writer.facts().pending(), 0);
    drop(hung);
    let [facts] = rig.flushed().try_into().unwrap();
    assert_eq!((facts.state, facts.extent.bytes), (SegmentState::Closed, file.len() as u64));
}

#[test]
fn a_new_file_does_not_wait_for_the_next_pass() {
    let rig = Rig::new();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let facts = rig.writer.facts();
    let told = |what: &str| {
        let began = Instant::now();
        while facts.pending() == 0 {
            assert!(began.elapsed() < LONG, "{what}");
            std::thread::yield_now();
        }
        (began.elapsed(), facts.take())
    };
    assert!(rig.writer.flush(LONG));
    let mut segment = rig.writer.open(head("front", START));
    segment.write(parts[0].clone()).unwrap();
    let (at_once, _) = told("the first fragment");
    assert!(at_once < Duration::from_millis(500), "{at_once:?}");
    // All that is kept from before a trigger is written in one go.
    segment.write(parts[1].clone()).unwrap();
    let (at_once, grown) = told("the second one");
    assert!(at_once < Duration::from_millis(500), "{at_once:?}");
    assert_eq!(grown[0].1.extent.bytes, parts[1].extent.bytes);
}

#[test]
fn a_second_copy_is_synced_at_leisure_while_the_first_is_well_and_as_often_as_it_when_it_is_not() {
    let (first, dir) = (Rig::new(), tempfile::tempdir().unwrap());
    let volume = Volume::open(dir.path()).unwrap();
    let second = VolumeWriter::start_second(&first.writer, volume, Limits::default()).unwrap();
    let file = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let facts = second.facts();
    let told = |within: Duration| {
        let began = Instant::now();
        loop {
            let bytes = facts.take().last().map(|(_, facts)| (facts.state, facts.extent.bytes as usize));
            if bytes.is_some() || began.elapsed() > within {
                return bytes;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    let mut segment = second.open(head("front", START));
    segment.write(parts[0].clone()).unwrap();
    assert_eq!(told(LONG), Some((SegmentState::Open, end(&parts[0]))), "a new file is synced at once");
    std::thread::park_timeout(Duration::from_millis(1100));
    segment.write(parts[1].clone()).unwrap();
    assert_eq!(told(Duration::from_millis(1500)), None, "it could wait");
    first.writer.away(Some("unplugged".to_owned()));
    assert_eq!(
        told(Duration::from_millis(2300)),
        Some((SegmentState::Open, end(&parts[1]))),
        "the only copy waits"
    );
    first.writer.away(None);
    segment.write(joined(&parts[2..])).unwrap();
    drop(segment);
    assert_eq!(told(LONG), Some((SegmentState::Closed, file.len())));
}

/// An ext4 whose medium is too small for it, as a thinly provisioned one may be: writes work, and their sync fails.
/// Without a journal, which would fail too and make it read-only.
struct Thin {
    outer: Tmpfs,
    inner: tempfile::TempDir,
}

impl Thin {
    fn new() -> Self {
        let (outer, inner) = (Tmpfs::sized("64m"), tempfile::tempdir().unwrap());
        let image = outer.0.path().join("image");
        fs::File::create(&image).unwrap().set_len(48 << 20).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal"]).arg(&image).status();
        assert!(made.unwrap().success());
        mount(&["-o", "loop,errors=continue", image.to_str().unwrap()], inner.path());
        Self { outer, inner }
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.outer.0.path().join("filler")).unwrap();
        while io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.outer.0.path().join("filler")).unwrap();
    }
}

impl Drop for Thin {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.inner.path()).status();
    }
}

#[test]
fn a_failed_sync_makes_its_segments_suspect_for_good_and_no_other() {
    let thin = Thin::new();
    let writer = VolumeWriter::start(Volume::open(thin.inner.path()).unwrap(), Limits::default()).unwrap();
    let health = writer.health();
    let file = Bytes::from(whole(&muxed(
        200,
        "width=1280,height=720",
        "bframes=0 speed-preset=ultrafast pass=quant quantizer=2",
    )));
    let small = Bytes::from(whole(footage()));
    let parts = fragments(&file);
    let latest = |camera: &str| {
        assert!(writer.flush(LONG));
        let mut facts = writer.facts().take().into_iter().map(|(_, facts)| facts);
        facts.rfind(|facts| facts.head.camera.as_str() == camera).unwrap()
    };
    write_slowly(&writer, head("before", START), &small).unwrap();
    assert_eq!(latest("before").state, SegmentState::Closed);
    let mut segment = writer.open(head("front", START));
    segment.write(parts[0].clone()).unwrap();
    assert_eq!(latest("front").state, SegmentState::Open);

    thin.fill();
    // The medium has a little room left in blocks that it gave to the file system before.
    let failed = (1..parts.len() - 3).find(|n| {
        segment.write(parts[*n].clone()).unwrap();
        latest("front").state == SegmentState::Suspect
    });
    let failed = failed.expect("no sync failed");
    let failing = health.borrow().clone();
    let path = thin.inner.path().join("front/20261120_100000.mp4");
    assert!(matches!(failing, Health::Failing { path: at, .. } if at == path));

    // Another sync of the same file works now, and would lie; no other segment is the worse for it.
    thin.free();
    segment.write(joined(&parts[failed + 1..])).unwrap();
    drop(segment);
    let facts = latest("front");
    assert_eq!((facts.state, facts.extent.bytes), (SegmentState::Suspect, file.len() as u64));
    assert!(matches!(*health.borrow(), Health::Failing { .. }), "its own success mends nothing");
    write_slowly(&writer, head("after", START), &small).unwrap();
    assert_eq!((latest("after").state, health.borrow().clone()), (SegmentState::Closed, Health::Ok));
    // Read back from the medium, it is not what was recorded: the hash tells.
    assert_ne!(hash(writer.volume(), &facts.path).ok(), facts.hash);
    assert!(facts.hash.is_some() && writer.shutdown(LONG));
}

#[test]
fn the_next_segment_is_published_after_all_of_the_one_before_it() {
    let rig = Rig::new();
    let facts = rig.writer.facts();
    let parts = footage_fragments();
    let all = parts.last().unwrap().extent;
    // Waits until the second segment is published; how much of the first one was by then.
    let first_by_then = || {
        let (mut first, began) = (None, Instant::now());
        loop {
            assert!(began.elapsed() < LONG, "the second segment is not published");
            let taken = facts.take();
            let of = |start: WallUs| taken.iter().find(|(_, facts)| facts.head.start == start);
            first = of(START).map(|(_, facts)| facts.extent).or(first);
            if of(START.plus(LONG)).is_some() {
                return first;
            }
            std::thread::yield_now();
        }
    };
    // The first one grows in the moment in which the next one begins: it still waits for its sound.
    let mut first = rig.writer.open(head("front", START));
    first.write(joined(&parts[..2])).unwrap();
    // Files are synced whenever they grow in their first second.
    let began = Instant::now();
    while began.elapsed() <= Duration::from_secs(1) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    rig.flushed();
    first.write(joined(&parts[2..])).unwrap();
    let mut second = rig.writer.open(head("front", START.plus(LONG)));
    second.write(parts[0].clone()).unwrap();
    assert_eq!(first_by_then(), Some(all));
}
