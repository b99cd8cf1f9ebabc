//! What `mp4` writes is read by others: ffprobe, ffmpeg, GStreamer and our own measuring of files find the samples, times, flags and
//! facts that were pushed. `scripts/mp4-trial` does it with many more streams.

use std::{fs, path::Path, process::Command};

use bytes::Bytes;
use serde_json::Value;
use watchkeeper::{
    base::WallUs,
    disk::{Volume, measure},
    model::{
        segment::{AudioCodec, Codec, Extent},
        unit::{AudioFormat, VideoFormat},
    },
    mp4::{AudioSample, Fragmenter, Header, VIDEO_TIMESCALE, VideoSample},
};

/// Streams in a usual run; `STREAMS` names another number.
const STREAMS: u64 = 40;
/// One stream in so many is also read by GStreamer.
const GSTREAMER_EACH: u64 = 5;
const START_US: i64 = 1_795_168_800_123_456;
const PATH: &str = "a/20261120T100000Z_main.mp4";

/// Random numbers that are the same in each run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A packet as ffprobe describes it, with its bytes.
#[derive(Clone, Debug)]
struct Packet {
    is_video: bool,
    decode_ns: i64,
    presentation_ns: i64,
    ticks: u32,
    key: bool,
    data: Bytes,
}

fn run(program: &str, args: &[&str]) -> Vec<u8> {
    let out = Command::new(program).args(args).output().unwrap();
    let messages = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && messages.is_empty(), "{program} {args:?}: {messages}");
    out.stdout
}

/// The streams and packets of a file.
fn probe(file: &str) -> Value {
    let show = ["-show_streams", "-show_packets", "-show_format", "-show_data_hash", "md5"];
    let args = [&["-v", "error", "-of", "json"], &show[..], &[file]].concat();
    serde_json::from_slice(&run("ffprobe", &args)).unwrap()
}

fn number(of: &Value) -> i64 {
    of.as_i64().or_else(|| of.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{of} is no number"))
}

/// The bytes after a name in a file, the length of the box before it.
fn box_after<'a>(file: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let at = file.windows(4).rposition(|bytes| bytes == name)?;
    let length = u32::from_be_bytes(file[at - 4..at].try_into().unwrap()) as usize;
    file.get(at + 4..at - 4 + length)
}

/// The AudioSpecificConfig in an `esds` that ffmpeg wrote: after tag 5 with a length of four bytes.
fn specific_config(file: &[u8]) -> Bytes {
    let esds = box_after(file, b"esds").unwrap();
    let at = esds.windows(4).position(|bytes| bytes == [5, 0x80, 0x80, 0x80]).unwrap();
    let length = usize::from(esds[at + 4]);
    Bytes::copy_from_slice(&esds[at + 5..at + 5 + length])
}

/// A stream as an encoder made it.
struct Stream {
    video: VideoFormat,
    audio: Option<AudioFormat>,
    /// In the order of their decode times.
    packets: Vec<Packet>,
    description: String,
}

/// Encodes a random stream and takes it apart.
fn encode(random: &mut Random, dir: &Path) -> Stream {
    let codec = random.one_of(&[Codec::H264, Codec::H265]);
    let (width, height) = random.one_of(&[(160, 120), (320, 180), (98, 66)]);
    let fps = random.one_of(&["1", "5", "12.5", "15", "25", "30000/1001", "60"]);
    let (gop, b_frames) =
        (random.one_of(&["1", "2", "7", "12", "25", "40", "120"]), random.one_of(&["0", "1", "2", "3"]));
    let seconds = random.one_of(&["0.2", "1", "2.5", "4"]);
    let audio = random.one_of(&[
        None,
        Some(("aac", 8000)),
        Some(("aac", 16_000)),
        Some(("aac", 44_100)),
        Some(("aac", 96_000)),
        Some(("libopus", 48_000)),
    ]);
    let channels = random.one_of(&["1", "2"]);
    let picture = format!("testsrc2=size={width}x{height}:rate={fps}:duration={seconds}");
    let tone =
        format!("sine=frequency=440:duration={seconds}:sample_rate={}", audio.map_or(8000, |(_, rate)| rate));
    let out = dir.join("encoded.mp4");
    let out = out.to_str().unwrap();
    let mut args = vec!["-y", "-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture];
    if audio.is_some() {
        args.extend(["-f", "lavfi", "-i", &tone]);
    }
    let x265 = format!("log-level=none:bframes={b_frames}:keyint={gop}:min-keyint=1:scenecut=0:open-gop=0");
    match codec {
        Codec::H264 => {
            args.extend(["-c:v", "libx264", "-bf", b_frames, "-sc_threshold", "0", "-tag:v", "avc1"])
        }
        Codec::H265 => args.extend(["-c:v", "libx265", "-x265-params", &x265, "-tag:v", "hvc1"]),
    }
    args.extend(["-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", gop]);
    if let Some((encoder, _)) = audio {
        args.extend(["-c:a", encoder, "-ac", channels]);
    }
    args.push(out);
    run("ffmpeg", &args);
    let (file, found) = (fs::read(out).unwrap(), probe(out));
    let configuration = box_after(&file, if codec == Codec::H264 { b"avcC" } else { b"hvcC" }).unwrap();
    let video = VideoFormat {
        codec,
        configuration: Bytes::copy_from_slice(configuration),
        width,
        height,
        fps_declared: None,
    };
    let audio = audio.map(|(encoder, rate)| AudioFormat {
        codec: if encoder == "aac" { AudioCodec::Aac } else { AudioCodec::Opus },
        rate,
        channels: channels.parse().unwrap(),
        configuration: if encoder == "aac" { specific_config(&file) } else { Bytes::new() },
    });
    let mut packets: Vec<Packet> = Vec::new();
    for packet in found["packets"].as_array().unwrap() {
        let stream = &found["streams"][number(&packet["stream_index"]) as usize];
        let base: i64 = stream["time_base"].as_str().unwrap().strip_prefix("1/").unwrap().parse().unwrap();
        let ns = |time: &Value| (i128::from(number(time)) * 1_000_000_000).div_euclid(base.into()) as i64;
        let (at, bytes) = (number(&packet["pos"]) as usize, number(&packet["size"]) as usize);
        packets.push(Packet {
            is_video: packet["codec_type"] == "video",
            decode_ns: ns(&packet["dts"]),
            presentation_ns: ns(&packet["pts"]),
            ticks: packet.get("duration").map_or(0, number).try_into().unwrap(),
            key: packet["flags"].as_str().unwrap().starts_with('K'),
            data: Bytes::copy_from_slice(&file[at..at + bytes]),
        });
    }
    packets.sort_by_key(|packet| packet.decode_ns);
    let description = format!(
        "{codec:?} {width}x{height} {fps} fps, GOP {gop}, {b_frames} B-frames, {seconds} s, {audio:?}"
    );
    Stream { video, audio, packets, description }
}

/// Moves everything from some keyframes on to a later time.
fn pause(random: &mut Random, packets: &mut [Packet]) {
    let mut shift_ns = 0;
    for packet in packets {
        if packet.is_video && packet.key && random.below(4) == 0 {
            shift_ns += 300_000_000 + random.below(5_000_000_000) as i64;
        }
        packet.decode_ns += shift_ns;
        packet.presentation_ns += shift_ns;
    }
}

fn to_ticks(ns: i64, rate: u32) -> i64 {
    (i128::from(ns) * i128::from(rate)).div_euclid(1_000_000_000) as i64
}

/// Writes the stream with flushes at random; the file's bytes, and the extent that its last fragment reports.
fn write(random: &mut Random, stream: &Stream) -> (Vec<u8>, Extent) {
    let comment = format!("watchkeeper camera=a profile=main source=live start_us={START_US}");
    let header = Header::new(&stream.video, stream.audio.as_ref(), &comment, Some(WallUs(START_US))).unwrap();
    let mut writer = Fragmenter::new(&header);
    let mut file = header.bytes().to_vec();
    let mut extent = Extent::default();
    let flush_each = random.one_of(&[u64::MAX, 40, 7]);
    for packet in &stream.packets {
        let Packet { data, key, decode_ns, presentation_ns, ticks, is_video } = packet.clone();
        let pushed = if is_video {
            writer.push_video(VideoSample { data, key, decode_ns, presentation_ns })
        } else {
            writer.push_audio(AudioSample { data, time_ns: presentation_ns, ticks })
        };
        let flushed = if random.below(flush_each) == 0 { writer.flush(None) } else { None };
        for fragment in pushed.unwrap().into_iter().chain(flushed) {
            assert_eq!(fragment.offset, file.len() as u64);
            file.extend_from_slice(&fragment.concat());
            extent = fragment.extent;
            assert_eq!(extent.bytes, file.len() as u64);
        }
    }
    if let Some(last) = writer.flush(None) {
        file.extend_from_slice(&last.concat());
        extent = last.extent;
    }
    (file, extent)
}

/// How many frames of sound are missing at the begin: those that end before the first picture.
fn missing_audio(stream: &Stream, found: &Value) -> usize {
    let origin_ns = stream.packets.iter().find(|packet| packet.is_video).unwrap().decode_ns;
    let found = found["packets"].as_array().unwrap().iter().filter(|of| of["codec_type"] == "audio").count();
    let audio: Vec<&Packet> = stream.packets.iter().filter(|packet| !packet.is_video).collect();
    let missing = audio.len() - found;
    let rate = i64::from(stream.audio.as_ref().map_or(1, |audio| audio.rate));
    for early in &audio[..missing] {
        let end_ns = early.presentation_ns + i64::from(early.ticks) * 1_000_000_000 / rate;
        assert!(end_ns <= origin_ns + 1_000_000_000 / rate, "sound of the first picture is missing");
    }
    missing
}

/// The packets of one kind in the file, compared with those that were pushed.
fn compare(stream: &Stream, found: &Value, missing_audio: usize) {
    let origin_ns = stream.packets.iter().find(|packet| packet.is_video).unwrap().decode_ns;
    for is_video in [true, false] {
        let kind = if is_video { "video" } else { "audio" };
        let rate =
            if is_video { VIDEO_TIMESCALE } else { stream.audio.as_ref().map_or(1, |audio| audio.rate) };
        let all = found["packets"].as_array().unwrap();
        let packets: Vec<&Value> = all.iter().filter(|packet| packet["codec_type"] == kind).collect();
        let pushed: Vec<&Packet> =
            stream.packets.iter().filter(|packet| packet.is_video == is_video).collect();
        let pushed = &pushed[if is_video { 0 } else { missing_audio }..];
        assert_eq!(packets.len(), pushed.len(), "{kind} packets");
        let mut last = i64::MIN;
        for (packet, pushed) in packets.iter().zip(pushed) {
            assert_eq!(number(&packet["size"]), pushed.data.len() as i64);
            assert_eq!(packet["flags"].as_str().unwrap().starts_with('K'), pushed.key, "{kind} {packet}");
            let expected = to_ticks(pushed.presentation_ns - origin_ns, rate).max(0);
            // A tick for rounding; audio stays continuous within 50 ms.
            let tolerance = if is_video { 1 } else { i64::from(rate / 20) + 1 };
            let deviation = number(&packet["pts"]) - expected;
            assert!(deviation.abs() <= tolerance, "{kind} {packet}: expected {expected}");
            let decode = number(&packet["dts"]);
            assert!(decode > last, "{kind}: {decode} after {last}");
            last = decode;
        }
    }
}

/// The hashes of all samples, in the order of the tracks.
fn data_hashes(found: &Value, kind: &str) -> Vec<String> {
    let packets = found["packets"].as_array().unwrap().iter();
    let of_kind = packets.filter(|packet| packet["codec_type"] == kind);
    of_kind.map(|packet| packet["data_hash"].as_str().unwrap().to_owned()).collect()
}

fn decode_with_gstreamer(file: &str, stream: &Stream) {
    let decoder: &[&str] = match stream.video.codec {
        Codec::H264 => &["h264parse", "!", "avdec_h264"],
        Codec::H265 => &["h265parse", "!", "avdec_h265"],
    };
    let location = format!("location={file}");
    // Queues without a limit: a decoder that needs some pictures first must not wait for a queue of audio that is full.
    let queue = ["queue", "max-size-time=0", "max-size-bytes=0", "max-size-buffers=0", "!"];
    let begin = ["-q", "filesrc", &location, "!", "qtdemux", "name=d", "d.video_0", "!"];
    let mut args = [&begin[..], &queue, decoder, &["!", "fakesink", "sync=false"]].concat();
    if let Some(audio) = &stream.audio {
        let decoder = if audio.codec == AudioCodec::Aac { "avdec_aac" } else { "opusdec" };
        args.extend(["d.audio_0", "!"].iter().chain(&queue));
        args.extend([decoder, "!", "fakesink", "sync=false"]);
    }
    run("gst-launch-1.0", &args);
}

#[test]
fn what_is_written_is_read_by_others() {
    let streams = std::env::var("STREAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(STREAMS);
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::open(dir.path()).unwrap();
    let path = dir.path().join(PATH);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = path.to_str().unwrap();
    for seed in 1..=streams {
        let mut random = Random(seed << 32);
        let mut stream = encode(&mut random, dir.path());
        let encoded = probe(dir.path().join("encoded.mp4").to_str().unwrap());
        if random.below(2) == 0 {
            pause(&mut random, &mut stream.packets);
        }
        println!("{seed}: {}", stream.description);
        let (bytes, extent) = write(&mut random, &stream);
        fs::write(&path, &bytes).unwrap();

        let found = probe(file);
        let comment = format!("watchkeeper camera=a profile=main source=live start_us={START_US}");
        assert_eq!(found["format"]["tags"]["comment"], comment);
        assert_eq!(found["format"]["tags"]["creation_time"], "2026-11-20T10:00:00.000000Z");
        let missing = missing_audio(&stream, &found);
        compare(&stream, &found, missing);
        assert_eq!(data_hashes(&found, "video"), data_hashes(&encoded, "video"));
        assert_eq!(data_hashes(&found, "audio"), data_hashes(&encoded, "audio")[missing..]);
        // The time base of the file, so that no two pictures get the same time on the way out.
        let times = ["-vsync", "passthrough", "-enc_time_base:v", "1:90000"];
        let args = [&["-nostdin", "-v", "error", "-i", file][..], &times, &["-f", "null", "-"]].concat();
        let decoded = run("ffmpeg", &args);
        assert!(decoded.is_empty());

        let measured = measure(&volume, PATH).unwrap();
        assert_eq!(measured.extent, extent);
        assert_eq!((measured.codec, measured.torn_bytes), (stream.video.codec, 0));
        assert_eq!((measured.width, measured.height), (stream.video.width, stream.video.height));
        assert_eq!(measured.audio, stream.audio.as_ref().map(|audio| audio.codec));
        assert_eq!(measured.start_us, Some(START_US));
        if seed % GSTREAMER_EACH == 0 {
            decode_with_gstreamer(file, &stream);
        }
    }
}
