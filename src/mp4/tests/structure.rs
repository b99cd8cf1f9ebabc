//! The header, box by box, and the formats that are refused.

use bytes::Bytes;

use super::{
    super::{FormatError, Header},
    audio_format, header,
    reader::{boxes, find, names},
    video_format,
};
use crate::{
    base::WallUs,
    model::{
        segment::{AudioCodec, Codec},
        unit::{AudioFormat, VideoFormat},
    },
};

/// The `trak` with this number, from 0.
fn trak(file: &[u8], number: usize) -> &[u8] {
    let traks = boxes(find(file, &[b"moov"])).into_iter().filter(|(kind, _)| kind == b"trak");
    traks.map(|(_, body)| body).nth(number).unwrap()
}

/// The sample entry of a track, a whole box.
fn entry(trak: &[u8]) -> &[u8] {
    &find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])[8..]
}

#[test]
fn the_header_has_all_boxes_that_a_player_needs() {
    let header = header(true);
    let file = header.bytes();
    assert_eq!(names(file), ["ftyp", "moov"]);
    assert_eq!(find(file, &[b"ftyp"]), b"mp42\0\0\0\0mp42mp41iso5iso6avc1");
    assert_eq!(names(find(file, &[b"moov"])), ["mvhd", "trak", "trak", "mvex", "udta"]);
    assert_eq!(names(find(file, &[b"moov", b"mvex"])), ["trex", "trex"]);
    for (number, (about, handler)) in [("vmhd", b"vide"), ("smhd", b"soun")].into_iter().enumerate() {
        let trak = trak(file, number);
        assert_eq!(names(trak), ["tkhd", "mdia"]);
        assert_eq!(find(trak, &[b"tkhd"])[..4], [0, 0, 0, 7]);
        assert_eq!(find(trak, &[b"tkhd"]).len(), 84);
        assert_eq!(names(find(trak, &[b"mdia"])), ["mdhd", "hdlr", "minf"]);
        assert_eq!(&find(trak, &[b"mdia", b"hdlr"])[8..12], handler);
        assert_eq!(names(find(trak, &[b"mdia", b"minf"])), [about, "dinf", "stbl"]);
        let stbl = find(trak, &[b"mdia", b"minf", b"stbl"]);
        assert_eq!(names(stbl), ["stsd", "stts", "stsc", "stsz", "stco"]);
        assert!(["stts", "stsc", "stsz", "stco"].iter().all(|name| {
            let kind = name.as_bytes().try_into().unwrap();
            find(stbl, &[&kind]).iter().all(|byte| *byte == 0)
        }));
    }
    let (video, audio) = (trak(file, 0), trak(file, 1));
    assert_eq!(find(video, &[b"tkhd"])[76..], [0x07, 0x80, 0, 0, 0x04, 0x38, 0, 0]);
    assert_eq!(find(video, &[b"mdia", b"mdhd"])[12..16], 90_000u32.to_be_bytes());
    assert_eq!(find(audio, &[b"mdia", b"mdhd"])[12..16], 16_000u32.to_be_bytes());
    assert_eq!(find(file, &[b"moov", b"mvhd"])[96..], 3u32.to_be_bytes());
}

#[test]
fn the_comment_is_a_tag_and_the_creation_time_counts_from_1904() {
    let format = video_format(Codec::H264);
    let text = "watchkeeper camera=a profile=main source=live start_us=1795168800123456";
    let file = Header::new(&format, None, text, Some(WallUs(1_795_168_800_123_456))).unwrap();
    let file = file.bytes();
    let meta = find(file, &[b"moov", b"udta", b"meta"]);
    assert_eq!(names(&meta[4..]), ["hdlr", "ilst"]);
    let data = find(&meta[4..], &[b"ilst", b"\xa9cmt", b"data"]);
    assert_eq!(data, [b"\0\0\0\x01\0\0\0\0", text.as_bytes()].concat());
    let created = (1_795_168_800u32 + 2_082_844_800).to_be_bytes();
    assert_eq!(find(file, &[b"moov", b"mvhd"])[4..8], created);
    // Beyond what 32 bits hold, and before 1904.
    for time in [i64::MAX, i64::MIN] {
        let file = Header::new(&format, None, "", Some(WallUs(time))).unwrap();
        assert_eq!(find(file.bytes(), &[b"moov", b"mvhd"])[4..8], [0; 4]);
        assert_eq!(names(find(file.bytes(), &[b"moov"])), ["mvhd", "trak", "mvex"]);
    }
}

#[test]
fn video_entries_hold_size_and_configuration() {
    for (codec, kind, record) in [(Codec::H264, b"avc1", b"avcC"), (Codec::H265, b"hvc1", b"hvcC")] {
        let format = video_format(codec);
        let file = Header::new(&format, None, "", None).unwrap();
        let body = find(entry(trak(file.bytes(), 0)), &[kind]);
        assert_eq!(body[24..28], [0x07, 0x80, 0x04, 0x38]);
        assert_eq!(find(&body[78..], &[record]), &format.configuration[..]);
        assert_eq!(find(file.bytes(), &[b"ftyp"]).ends_with(b"avc1"), codec == Codec::H264);
    }
}

#[test]
fn audio_entries_hold_the_rate_and_what_the_decoder_needs() {
    let written = |format: &AudioFormat| {
        let file = Header::new(&video_format(Codec::H265), Some(format), "", None).unwrap();
        entry(trak(file.bytes(), 1)).to_vec()
    };
    for (rate, field) in [(8000, [0x1f, 0x40, 0, 0]), (48_000, [0xbb, 0x80, 0, 0]), (96_000, [0; 4])] {
        let entry = written(&audio_format(AudioCodec::Aac, rate));
        let body = find(&entry, &[b"mp4a"]);
        assert_eq!((&body[16..20], &body[24..28]), (&[0, 1, 0, 16][..], &field[..]));
        let esds = find(&body[28..], &[b"esds"]);
        let bits = (6144 * rate / 1024).to_be_bytes();
        let expected = [
            &[0, 0, 0, 0, 3, 24, 0, 0, 0][..],
            &[4, 17, 0x40, 0x15, 0, 3, 0],
            &bits,
            &[0, 0, 0, 0, 5, 2, 0x14, 0x08, 6, 1, 2],
        ];
        // 24 = ES_ID and flags (3) + decoder (2 + 17) + ... + synchronization (3), less one.
        let lengths: usize = esds[4 + 2..].len();
        assert_eq!(usize::from(esds[5]), lengths);
        assert_eq!(esds[9..], expected.concat()[9..]);
    }
    let opus = written(&audio_format(AudioCodec::Opus, 48_000));
    let dops = find(&find(&opus, &[b"Opus"])[28..], &[b"dOps"]);
    assert_eq!(dops, [0, 1, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 0]);
}

#[test]
fn long_descriptors_have_long_lengths() {
    let configuration = Bytes::from(vec![0x14; 300]);
    let format = AudioFormat { configuration, ..audio_format(AudioCodec::Aac, 16_000) };
    let file = Header::new(&video_format(Codec::H264), Some(&format), "", None).unwrap();
    let esds = find(&find(entry(trak(file.bytes(), 1)), &[b"mp4a"])[28..], &[b"esds"]);
    // 300 = 2 * 128 + 44
    assert!(esds.windows(4).any(|bytes| bytes == [5, 0x82, 44, 0x14]));
}

#[test]
fn formats_that_no_file_can_hold_are_refused() {
    let video = video_format(Codec::H264);
    let refused =
        |video: &VideoFormat, audio: Option<&AudioFormat>| Header::new(video, audio, "", None).unwrap_err();
    for codec in [AudioCodec::Pcma, AudioCodec::Pcmu] {
        let error = refused(&video, Some(&audio_format(codec, 8000)));
        assert_eq!(error, FormatError::AudioCodec(codec));
    }
    assert_eq!(
        refused(&video, Some(&audio_format(AudioCodec::Pcma, 8000))).to_string(),
        "PCMA audio cannot be stored in a segment: transcode it to AAC"
    );
    for (codec, rate, channels) in [
        (AudioCodec::Aac, 0, 1),
        (AudioCodec::Aac, 8000, 0),
        (AudioCodec::Opus, 16_000, 1),
        (AudioCodec::Opus, 48_000, 3),
    ] {
        let format = AudioFormat { channels, ..audio_format(codec, rate) };
        assert_eq!(refused(&video, Some(&format)), FormatError::AudioRate { rate, channels });
    }
    let silent = AudioFormat { configuration: Bytes::new(), ..audio_format(AudioCodec::Aac, 8000) };
    assert_eq!(refused(&video, Some(&silent)), FormatError::AudioConfiguration);
    for (width, height) in [(0, 1), (1, 0), (65_536, 1)] {
        let format = VideoFormat { width, height, ..video.clone() };
        assert_eq!(refused(&format, None), FormatError::PictureSize { width, height });
    }
    let unknown = VideoFormat { configuration: Bytes::new(), ..video };
    assert_eq!(refused(&unknown, None), FormatError::VideoConfiguration);
}
