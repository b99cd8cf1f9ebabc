//! A camera's storage gives its past away as a recorder would fetch it: through GStreamer's own ONVIF replay and through
//! a vendor's URLs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::camera::{CameraSpec, Channel, Login, SimCamera};
use super::footage::{Encoding, Source};
use super::harm::Reports;
use super::nal::Codec;
use super::selftest::{Recording, let_pass, opens, playing, until};
use super::selftest_streams::{NTP_TO_UNIX_US, stamp_in, told_us};
use super::stamp::Stamp;
use super::storage::{Ends, Headers, Rtsp, Sends, Sessions, Storage, Tells, clock_text, ntp};

const DEADLINE: Duration = Duration::from_secs(60);
const ONVIF: &str = "rtspsrc name=src protocols=tcp onvif-mode=true onvif-rate-control=false is-live=true \
    buffer-mode=none latency=0 ! rtponvifparse ! rtph264depay name=depay ! h264parse ! \
    video/x-h264,stream-format=byte-stream,alignment=au ! fakesink name=out sync=false async=false";
const VENDOR: &str = "rtspsrc name=src protocols=tcp is-live=true buffer-mode=none latency=0 \
    add-reference-timestamp-meta=true ! rtph264depay name=depay ! h264parse ! \
    video/x-h264,stream-format=byte-stream,alignment=au ! fakesink name=out sync=false async=false";

/// A frame that was fetched.
#[derive(Debug, Clone, Copy)]
struct Got {
    stamp: Stamp,
    /// Of the buffer.
    pts: Option<gst::ClockTime>,
    /// Absolute time by a sender report, microseconds since 1970.
    told_us: Option<i64>,
    key: bool,
    discontinuity: bool,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// With EOS.
    Well,
    /// With an error.
    Badly(String),
    /// By us, who had enough frames.
    Enough,
    /// By us, as nothing came any more.
    Silence,
}

struct Fetched {
    frames: Vec<Got>,
    ended: Ended,
    /// From the first frame to the last.
    took: Duration,
}

impl Fetched {
    fn numbers(&self) -> Vec<u64> {
        self.frames.iter().map(|got| got.stamp.number).collect()
    }

    /// By how much the absolute times of the replay extension differ from those in the frames, seconds.
    fn off_s(&self) -> Vec<f64> {
        let off = |got: &Got| {
            let pts_us = i64::try_from(got.pts.unwrap().useconds()).unwrap() - NTP_TO_UNIX_US;
            (pts_us - got.stamp.capture_us.cast_signed()) as f64 / 1e6
        };
        self.frames.iter().map(off).collect()
    }
}

/// Gives each packet of a frame the time of its first. `rtponvifparse` takes it from the extension, which need not stand
/// on the others; those keep times of `rtspsrc`, which count from the start of the range as if the first frame were
/// captured then, or none; and a frame in several packets has the time of a later one.
fn carry_times(depayloader: &gst::Element) {
    let last = Mutex::new(None);
    depayloader.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer_mut().unwrap();
        let has_extension = {
            let bytes = buffer.map_readable().unwrap();
            bytes[0] & 0x10 != 0 && bytes[12..14] == [0xab, 0xac]
        };
        let mut last = last.lock().unwrap();
        if has_extension {
            *last = buffer.pts();
        } else if last.is_some() {
            buffer.make_mut().set_pts(*last);
        }
        gst::PadProbeReturn::Ok
    });
}

/// A fetch under way.
struct Fetch {
    pipeline: gst::Pipeline,
    came: mpsc::Receiver<Got>,
    begun: Instant,
}

impl Fetch {
    /// `range` is in the camera's clock, microseconds since 1970.
    fn start(launch: &str, url: &str, login: Option<&Login>, range: Option<Range<u64>>) -> Fetch {
        gst::init().unwrap();
        let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("src").unwrap();
        source.set_property("location", url);
        if let Some(login) = login {
            source.set_property("user-id", &login.user);
            source.set_property("user-pw", &login.password);
        }
        let codec = if launch.contains("h265") { Codec::H265 } else { Codec::H264 };
        // Before the sink, which drops what lies before the range: the frames that are needed to decode its first.
        let (coming, came) = mpsc::channel();
        let entry = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
        entry.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let buffer = info.buffer().unwrap();
            // Nobody listens any more when there were enough.
            let _ = coming.send(Got {
                stamp: stamp_in(codec, buffer).expect("each frame has its stamp"),
                pts: buffer.pts(),
                told_us: told_us(buffer),
                key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
                discontinuity: buffer.flags().contains(gst::BufferFlags::DISCONT),
            });
            gst::PadProbeReturn::Ok
        });
        carry_times(&pipeline.by_name("depay").unwrap());
        pipeline.set_state(gst::State::Ready).unwrap();
        if let Some(range) = range {
            let ntp = |us: u64| gst::ClockTime::from_useconds(us + NTP_TO_UNIX_US.cast_unsigned());
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
            let (start, stop) = (ntp(range.start), ntp(range.end));
            let seek = gst::event::Seek::new(1.0, flags, gst::SeekType::Set, start, gst::SeekType::Set, stop);
            source.send_event(seek);
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        Fetch { pipeline, came, begun: Instant::now() }
    }

    /// Takes frames until the end, or until there are enough.
    fn finish(self, enough: usize, silence: Duration) -> Fetched {
        let bus = self.pipeline.bus().unwrap();
        let (mut frames, mut first, mut last) = (Vec::new(), None, Instant::now());
        let ended = loop {
            if let Ok(got) = self.came.recv_timeout(Duration::from_millis(20)) {
                last = Instant::now();
                first = first.or(Some(last));
                frames.push(got);
            }
            if frames.len() >= enough {
                break Ended::Enough;
            }
            let said = bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]);
            match said.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => {
                    break Ended::Badly(format!("{} {:?}", error.error(), error.debug()));
                }
                Some(_) => break Ended::Well,
                None if last.elapsed() > silence => break Ended::Silence,
                None => (),
            }
            assert!(
                self.begun.elapsed() < DEADLINE,
                "neither an end nor silence after {} frames",
                frames.len()
            );
        };
        frames.extend(self.came.try_iter().take(enough - frames.len()));
        let took = first.map_or(Duration::ZERO, |first| last - first);
        self.pipeline.set_state(gst::State::Null).unwrap();
        Fetched { frames, ended, took }
    }
}

/// Fetches by ONVIF replay to the end.
fn replay(camera: &SimCamera, range: Range<u64>) -> Fetched {
    let login = camera.login();
    Fetch::start(ONVIF, &camera.replay_url(), login.as_ref(), Some(range)).finish(usize::MAX, DEADLINE)
}

fn storing(storage: Storage) -> SimCamera {
    SimCamera::start(CameraSpec { storage: Some(storage), ..CameraSpec::new("test") }).unwrap()
}

/// True times from just before one frame is captured to just before another is.
fn between(camera: &SimCamera, numbers: Range<u64>) -> Range<u64> {
    let feed = &camera.storage().feed;
    feed.capture_us(numbers.start) - 10_000..feed.capture_us(numbers.end) - 10_000
}

fn gone(camera: &SimCamera) {
    until("the replay sessions end", || camera.storage().replay_sessions() == 0);
}

#[test]
fn a_range_is_replayed_whole_at_its_true_times_and_faster_than_it_was() {
    let camera = storing(Storage::Everything);
    let_pass(&camera, 160);
    assert_eq!(camera.sent(Channel::Main), [], "nobody was connected while this was captured");
    let range = between(&camera, 30..130);
    for headers in [Headers::EveryPacket, Headers::FirstPacket] {
        camera.storage().set(|modes| modes.headers = headers);
        let fetched = replay(&camera, range.clone());
        assert_eq!(fetched.ended, Ended::Well, "{headers:?}");
        // From the keyframe before: the group of pictures is 25 frames long.
        assert_eq!(fetched.numbers(), run(25..130), "{headers:?}");
        assert!(fetched.off_s().iter().all(|off| off.abs() < 0.001), "{headers:?}: {:?}", fetched.off_s());
        assert!(fetched.frames.iter().all(|got| got.key == (got.stamp.number % 25 == 0)), "{headers:?}");
        assert!(fetched.took < Duration::from_secs(2), "4.2 s of video took {:?}", fetched.took);
        gone(&camera);
    }
    let asked = camera.storage().asked();
    assert_eq!(asked.len(), 2);
    let near = |a: u64, b: u64| a.abs_diff(b) < 2;
    assert!(
        near(asked[0].from_us, range.start) && near(asked[0].to_us.unwrap(), range.end),
        "{asked:?} {range:?}"
    );
    assert!(asked[0].fast);
    assert_eq!(camera.storage().max_replay_sessions(), 1);
}

/// Numbers of frames without a hole.
fn run(numbers: Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// The same from range to range.
fn all(ranges: &[Range<u64>]) -> Vec<u64> {
    ranges.iter().cloned().flatten().collect()
}

#[test]
fn what_it_does_not_hold_is_a_flagged_hole() {
    let camera = storing(Storage::Everything);
    let_pass(&camera, 160);
    let card = camera.storage();
    let range = between(&camera, 30..130);
    card.forget(between(&camera, 60..62));
    let fetched = replay(&camera, range.clone());
    assert_eq!(fetched.numbers(), all(&[25..50, 75..130]));
    let flagged = |fetched: &Fetched| -> Vec<u64> {
        let frames = fetched.frames.iter().skip(1).filter(|got| got.discontinuity);
        frames.map(|got| got.stamp.number).collect()
    };
    assert_eq!(flagged(&fetched), [75]);
    assert!(fetched.off_s().iter().all(|off| off.abs() < 0.001));
    assert_eq!(fetched.ended, Ended::Well);

    card.hold(Storage::Only(vec![20..80, 100..150]));
    assert_eq!(replay(&camera, range.clone()).numbers(), all(&[25..50, 100..130]));
    card.hold(Storage::Nothing);
    let refused = replay(&camera, range.clone());
    assert!(refused.frames.is_empty() && matches!(refused.ended, Ended::Badly(_)), "{:?}", refused.ended);
    card.set(|modes| modes.empty_is_silent = true);
    let silent = Fetch::start(ONVIF, &camera.replay_url(), None, Some(range));
    assert_eq!(silent.finish(1, Duration::from_secs(2)).ended, Ended::Silence);
}

#[test]
fn a_wrong_clock_is_wrong_everywhere() {
    let reports = Reports::Off { seconds: 37 };
    let spec = CameraSpec { reports, storage: Some(Storage::Everything), ..CameraSpec::new("test") };
    let camera = SimCamera::start(spec).unwrap();
    let_pass(&camera, 80);
    let Range { start, end } = between(&camera, 25..75);
    let fetched = replay(&camera, start + 37_000_000..end + 37_000_000);
    assert_eq!(fetched.numbers(), run(0..75));
    assert!(fetched.off_s().iter().all(|off| (off - 37.0).abs() < 0.001), "{:?}", fetched.off_s());
    // By a true clock this is 37 s before the camera was there.
    assert!(replay(&camera, start..end).frames.is_empty());
    camera.report(Reports::True);
    assert_eq!(replay(&camera, start..end).numbers(), run(0..75));
}

#[test]
fn a_replay_wants_the_password() {
    let login = Login { user: "admin".into(), password: "one".into() };
    let storage = Some(Storage::Everything);
    let camera =
        SimCamera::start(CameraSpec { login: Some(login.clone()), storage, ..CameraSpec::new("test") })
            .unwrap();
    let_pass(&camera, 30);
    let range = between(&camera, 5..25);
    assert_eq!(replay(&camera, range.clone()).numbers(), run(0..25));
    let wrong = Login { password: "two".into(), ..login };
    for login in [None, Some(&wrong)] {
        let fetched =
            Fetch::start(ONVIF, &camera.replay_url(), login, Some(range.clone())).finish(1, DEADLINE);
        assert!(matches!(fetched.ended, Ended::Badly(_)), "{:?}", fetched.ended);
    }
    assert_eq!(camera.storage().max_replay_sessions(), 1);
}

#[test]
fn what_is_wrong_with_a_replay_is_what_was_ordered() {
    let camera = storing(Storage::Everything);
    let_pass(&camera, 130);
    let (card, range) = (camera.storage(), between(&camera, 30..100));
    let fetch = |enough| {
        Fetch::start(ONVIF, &camera.replay_url(), None, Some(range.clone())).finish(enough, DEADLINE)
    };

    card.set(|modes| modes.sends = Sends::Earlier { seconds: 3600 });
    let earlier = fetch(usize::MAX);
    assert_eq!(earlier.numbers(), run(25..100));
    assert!(earlier.off_s().iter().all(|off| (off + 3600.0).abs() < 0.001));

    card.set(|modes| modes.sends = Sends::Disordered);
    assert_eq!(fetch(usize::MAX).numbers(), all(&[50..75, 25..50, 75..100]));
    card.set(|modes| modes.sends = Sends::Overlapping);
    assert_eq!(fetch(usize::MAX).numbers(), all(&[25..50, 50..75, 50..75, 75..100]));

    card.set(|modes| modes.sends = Sends::Endless);
    assert_eq!(fetch(120).numbers(), run(25..145));
    card.set(|modes| modes.sends = Sends::Now);
    let present = camera.next_number(Channel::Main);
    let now = fetch(30).numbers();
    assert!(now[0] + 25 > present && now.len() == 30, "{now:?} at {present}");

    card.set(|modes| (modes.sends, modes.real_time_only) = (Sends::Asked, true));
    let slow = fetch(usize::MAX);
    assert_eq!(slow.numbers(), run(25..100));
    // The last few may come at once, however slow the first was.
    assert!(slow.took > Duration::from_millis(50 * 40), "{:?}", slow.took);

    card.set(|modes| (modes.real_time_only, modes.dies_after) = (false, Some(40)));
    let died = fetch(usize::MAX).numbers();
    assert!(died.len() <= 40 && died == run(25..25 + died.len() as u64), "{died:?}");
    gone(&camera);
}

/// Whether the live stream refuses a session, by what ffprobe says.
fn live(camera: &SimCamera) -> Result<(), String> {
    opens(&camera.url(Channel::Main))
}

#[test]
fn a_camera_may_bear_only_one_session() {
    let files = tempfile::tempdir().unwrap();
    let camera = storing(Storage::Everything);
    let_pass(&camera, 60);
    let (card, range) = (camera.storage(), between(&camera, 25..50));
    card.set(|modes| (modes.sessions, modes.sends) = (Sessions::One, Sends::Endless));
    let recording = Recording::start(&camera.url(Channel::Main), files.path().join("one.mkv"));
    playing(&camera);
    let refused = replay(&camera, range.clone());
    assert!(refused.frames.is_empty() && matches!(refused.ended, Ended::Badly(_)), "{:?}", refused.ended);
    assert_eq!((card.max_replay_sessions(), camera.sessions(Channel::Main)), (0, 1));
    drop(recording);
    until("the live session ends", || camera.sessions(Channel::Main) == 0);
    let fetch = Fetch::start(ONVIF, &camera.replay_url(), None, Some(range.clone()));
    until("the replay begins", || card.replay_sessions() == 1);
    assert!(live(&camera).unwrap_err().contains("453"));
    drop(fetch.finish(10, DEADLINE));
    gone(&camera);
    live(&camera).unwrap();
    until("the live session ends", || camera.sessions(Channel::Main) == 0);

    // Worse: the live session is closed.
    card.set(|modes| modes.sessions = Sessions::Newest);
    let recording = Recording::start(&camera.url(Channel::Main), files.path().join("two.mkv"));
    playing(&camera);
    let fetch = Fetch::start(ONVIF, &camera.replay_url(), None, Some(range));
    until("the live session is closed", || camera.sessions(Channel::Main) == 0);
    drop(recording);
    // And the other way round.
    assert_eq!(card.replay_sessions(), 1);
    live(&camera).unwrap();
    gone(&camera);
    assert!(matches!(fetch.finish(usize::MAX, DEADLINE).ended, Ended::Well | Ended::Badly(_)));
}

#[test]
fn a_vendors_url_tells_its_times_in_sender_reports() {
    let camera = storing(Storage::Everything);
    let_pass(&camera, 160);
    let card = camera.storage();
    let Range { start, end } = between(&camera, 60..130);
    let url = camera.vendor_url(start, end);
    let fetch = || Fetch::start(VENDOR, &url, None, None).finish(usize::MAX, Duration::from_secs(5));
    card.set(|modes| modes.vendor_is_fast = true);
    for (tells, ends) in [
        (Tells::After, Ends::Bye),
        (Tells::Before, Ends::Closes),
        (Tells::Never, Ends::Bye),
        (Tells::After, Ends::Silent),
    ] {
        card.set(|modes| (modes.vendor_tells, modes.vendor_ends) = (tells, ends));
        let fetched = fetch();
        assert_eq!(fetched.ended, if ends == Ends::Silent { Ended::Silence } else { Ended::Well });
        let numbers = fetched.numbers();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        // Both ends of the range are cut to seconds.
        assert!(first % 25 == 0 && first <= 60 && (104..130).contains(&last), "{numbers:?}");
        assert_eq!(numbers, run(first..last + 1));
        let told: Vec<_> = fetched.frames.iter().filter_map(|got| Some((got.stamp, got.told_us?))).collect();
        // GStreamer does not take a report before it has seen a packet of that source: it knows the next, a second on.
        let untold = match tells {
            Tells::Before => 25,
            Tells::After => 1,
            Tells::Never => numbers.len(),
        };
        assert_eq!(told.len(), numbers.len() - untold, "{tells:?}");
        for (stamp, told_us) in told {
            assert!(told_us.cast_unsigned().abs_diff(stamp.capture_us) < 1000, "{stamp:?} {told_us}");
        }
    }
    gone(&camera);
    card.set(|modes| modes.vendor_is_fast = false);
    let slow = Fetch::start(VENDOR, &url, None, None).finish(30, DEADLINE);
    assert!(slow.took > Duration::from_millis(20 * 40), "{:?}", slow.took);
}

#[test]
fn a_camera_that_is_off_has_no_storage_either() {
    let camera = storing(Storage::Everything);
    let_pass(&camera, 50);
    let ports = [camera.onvif_port(), camera.replay_port()];
    let mut client = TcpStream::connect(("127.0.0.1", camera.replay_port())).unwrap();
    camera.kill().unwrap();
    assert!(ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()));
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    camera.revive().unwrap();
    let_pass(&camera, 5);
    assert_eq!(replay(&camera, between(&camera, 5..50)).numbers(), run(0..50));
}

#[test]
fn every_kind_of_video_is_replayed_at_its_true_times() {
    let kinds = [(Codec::H264, true), (Codec::H265, false), (Codec::H265, true)];
    let cameras = kinds.map(|(codec, b_frames)| {
        let main = Encoding { codec, b_frames, ..Encoding::small(Source::Cars) };
        let storage = Some(Storage::Everything);
        SimCamera::start(CameraSpec { main, storage, ..CameraSpec::new("test") }).unwrap()
    });
    for ((codec, b_frames), camera) in kinds.iter().zip(&cameras) {
        let_pass(camera, 110u64.saturating_sub(camera.next_number(Channel::Main)));
        let launch = match codec {
            Codec::H264 => ONVIF.to_owned(),
            Codec::H265 => ONVIF.replace("h264", "h265"),
        };
        let range = between(camera, 30..80);
        let fetched =
            Fetch::start(&launch, &camera.replay_url(), None, Some(range)).finish(usize::MAX, DEADLINE);
        let mut numbers = fetched.numbers();
        assert_eq!(numbers.is_sorted(), !b_frames, "{codec:?}: {numbers:?}");
        numbers.sort_unstable();
        // With B-frames it ends where nothing is missing: up to two frames on.
        let end = numbers[numbers.len() - 1] + 1;
        assert!((80..=if *b_frames { 82 } else { 80 }).contains(&end), "{codec:?}: {numbers:?}");
        assert_eq!(numbers, run(25..end), "{codec:?}");
        assert!(fetched.off_s().iter().all(|off| off.abs() < 0.001), "{codec:?}: {:?}", fetched.off_s());
        assert_eq!(fetched.ended, Ended::Well);
    }
}

/// What the replay server answers to a request; nothing within a second is an empty text.
fn ask(client: &mut TcpStream, method: &str, url: &str, headers: &str) -> String {
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    write!(client, "{method} {url} RTSP/1.0\r\nCSeq: 7\r\n{headers}\r\n").unwrap();
    let mut answer = vec![0; 4096];
    let read = client.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[test]
fn the_replay_server_answers_as_it_should_or_was_told() {
    let camera = storing(Storage::Everything);
    let_pass(&camera, 30);
    let (card, url) = (camera.storage(), camera.replay_url());
    let connect = || TcpStream::connect(("127.0.0.1", camera.replay_port())).unwrap();
    let mut client = connect();
    assert!(ask(&mut client, "OPTIONS", &url, "").contains("DESCRIBE"));
    assert!(ask(&mut client, "DESCRIBE", &format!("{url}x"), "").starts_with("RTSP/1.0 404 "));
    assert!(ask(&mut client, "DESCRIBE", &url, "Require: x\r\n").starts_with("RTSP/1.0 551 "));
    let said = ask(&mut client, "DESCRIBE", &url, "Require: onvif-replay\r\n");
    assert!(said.contains("a=rtpmap:96 H264/90000\r\n") && said.contains("CSeq: 7\r\n"), "{said}");
    assert!(ask(&mut client, "PLAY", &url, "").starts_with("RTSP/1.0 454 "));
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    assert!(ask(&mut client, "SETUP", &url, udp).starts_with("RTSP/1.0 461 "));
    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n";
    assert!(ask(&mut client, "SETUP", &url, tcp).contains("interleaved=2-3"));
    assert_eq!(card.replay_sessions(), 1);
    assert!(ask(&mut client, "GET_PARAMETER", &url, "").starts_with("RTSP/1.0 200 "));
    assert!(ask(&mut client, "TEARDOWN", &url, "").starts_with("RTSP/1.0 200 "));
    assert_eq!(card.replay_sessions(), 0);

    card.set(|modes| modes.rtsp = Rtsp::Status(500));
    assert!(ask(&mut client, "DESCRIBE", &url, "").starts_with("RTSP/1.0 500 "));
    card.set(|modes| modes.rtsp = Rtsp::Never);
    assert_eq!(ask(&mut client, "OPTIONS", &url, ""), "");
}

/// RTP packets of the channel 2, as they come, until the last of all or for a second.
fn packets(client: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut head = [0; 4];
    while client.read_exact(&mut head).is_ok() {
        assert_eq!(head[..2], [b'$', 2]);
        let mut packet = vec![0; u16::from_be_bytes([head[2], head[3]]).into()];
        client.read_exact(&mut packet).unwrap();
        packets.push(packet);
    }
    packets
}

#[test]
fn the_extension_says_what_the_specification_wants() {
    let (c, e, d, t) = (0x80, 0x40, 0x20, 0x10);
    let camera = storing(Storage::Everything);
    let_pass(&camera, 110);
    let (card, url) = (camera.storage(), camera.replay_url());
    card.set(|modes| modes.headers = Headers::FirstPacket);
    card.forget_frames(25..75);
    let mut client = TcpStream::connect(("127.0.0.1", camera.replay_port())).unwrap();
    ask(&mut client, "DESCRIBE", &url, "");
    ask(&mut client, "SETUP", &url, "Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n");
    let Range { start, end } = between(&camera, 0..100);
    let range = format!("Range: clock={}-{}\r\nRate-Control: no\r\n", clock_text(start), clock_text(end));
    write!(client, "PLAY {url} RTSP/1.0\r\nCSeq: 519\r\n{range}\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("RTSP/1.0 200 ") && answer.contains("rtptime="), "{answer}");

    let packets = packets(&mut client);
    let sequence = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
    assert!(packets.windows(2).all(|pair| sequence(&pair[1]) == sequence(&pair[0]).wrapping_add(1)));
    let frames: Vec<_> = packets.split_inclusive(|packet| packet[1] & 0x80 != 0).collect();
    assert_eq!(frames.len(), 50);
    let flags = |packet: &[u8]| (packet[0] & 0x10 != 0).then(|| packet[20 + 4]);
    for (index, frame) in frames.iter().enumerate() {
        let number = if index < 25 { index } else { index + 50 };
        let (first, last) = (flags(&frame[0]).unwrap(), flags(&frame[frame.len() - 1]));
        assert!(frame[1..frame.len() - 1].iter().all(|packet| flags(packet).is_none()), "{number}");
        let key = if number % 25 == 0 { c } else { 0 };
        let at_first = if number == 75 { d } else { 0 };
        let at_last = match number {
            24 => e,
            99 => e | t,
            _ => 0,
        };
        assert!(frame.len() > 1, "a stamp and a picture at least");
        assert_eq!(first, key | at_first, "{number}");
        assert_eq!(last, (at_last != 0).then_some(key | at_last), "{number}");
        let packet = &frame[0];
        assert_eq!((packet[12..16].to_vec(), packet[25]), (vec![0xab, 0xac, 0, 3], (519 & 0xff) as u8));
        let told = u64::from_be_bytes(packet[16..24].try_into().unwrap());
        assert_eq!(told, ntp(card.feed.capture_us(number as u64)));
    }
}
