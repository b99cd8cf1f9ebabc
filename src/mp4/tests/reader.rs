//! Reads what the writer wrote, strictly: each box has its place, and each byte belongs to one.

/// A sample as the boxes describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) decode: u64,
    pub(super) offset: i32,
    pub(super) duration: u32,
    pub(super) key: bool,
    pub(super) data: Vec<u8>,
}

/// The samples of a track in one fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) track: u32,
    pub(super) samples: Vec<Sample>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The boxes in `bytes`, which they fill.
pub(super) fn boxes(mut bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0) as usize;
        assert!(length >= 8, "a box of {length} bytes");
        let (whole, rest) = bytes.split_at(length);
        found.push((whole[4..8].try_into().unwrap(), &whole[8..]));
        bytes = rest;
    }
    found
}

pub(super) fn names(bytes: &[u8]) -> Vec<String> {
    boxes(bytes).iter().map(|(kind, _)| kind.escape_ascii().to_string()).collect()
}

/// The body of the first box at the end of a path of names.
pub(super) fn find<'a>(mut bytes: &'a [u8], path: &[&[u8; 4]]) -> &'a [u8] {
    for name in path {
        let found = boxes(bytes).into_iter().find(|(kind, _)| kind == *name);
        bytes = found.unwrap_or_else(|| panic!("no {}", name.escape_ascii())).1;
    }
    bytes
}

/// The runs of a fragment; checks its number and that the data of the samples fills the `mdat` in order.
pub(super) fn fragment(bytes: &[u8], sequence: u32) -> Vec<Run> {
    let top = boxes(bytes);
    assert_eq!(names(bytes), ["moof", "mdat"]);
    let (moof, mdat) = (top[0].1, top[1].1);
    let data_begins = bytes.len() - mdat.len();
    let mut data_at = data_begins;
    let parts = boxes(moof);
    assert_eq!(parts[0], (*b"mfhd", &[&[0; 4], &sequence.to_be_bytes()[..]].concat()[..]));
    let mut runs = Vec::new();
    for (kind, traf) in &parts[1..] {
        assert_eq!(kind, b"traf");
        assert_eq!(names(traf), ["tfhd", "tfdt", "trun"]);
        let tfhd = find(traf, &[b"tfhd"]);
        let flags = u32_at(tfhd, 0);
        assert_eq!(flags & !0x20, 0x02_0000);
        let track = u32_at(tfhd, 4);
        let default_flags = if flags & 0x20 != 0 { u32_at(tfhd, 8) } else { 0 };
        let tfdt = find(traf, &[b"tfdt"]);
        assert_eq!(u32_at(tfdt, 0), 1 << 24);
        let mut decode = u64::from_be_bytes(tfdt[4..].try_into().unwrap());
        let trun = find(traf, &[b"trun"]);
        let flags = u32_at(trun, 0) & 0x00ff_ffff;
        assert_eq!(flags & !0xc00, 0x301);
        assert_eq!(u32_at(trun, 8) as usize, data_at, "data offset");
        let words: Vec<u32> = trun[12..].chunks(4).map(|word| u32_at(word, 0)).collect();
        let per_sample = 2 + usize::from(flags & 0x400 != 0) + usize::from(flags & 0x800 != 0);
        assert_eq!(words.len(), per_sample * u32_at(trun, 4) as usize);
        let mut samples = Vec::new();
        for word in words.chunks(per_sample) {
            let sample_flags = if flags & 0x400 != 0 { word[2] } else { default_flags };
            assert!([0x0200_0000, 0x0101_0000].contains(&sample_flags), "{sample_flags:x}");
            let offset = if flags & 0x800 != 0 { word[per_sample - 1].cast_signed() } else { 0 };
            assert!(offset >= 0 || trun[0] == 1, "a negative offset in version 0");
            let data = bytes[data_at..data_at + word[1] as usize].to_vec();
            data_at += data.len();
            let key = sample_flags == 0x0200_0000;
            samples.push(Sample { decode, offset, duration: word[0], key, data });
            decode += u64::from(word[0]);
        }
        assert!(!samples.is_empty());
        runs.push(Run { track, samples });
    }
    assert_eq!(data_at, bytes.len(), "bytes in the mdat that belong to no sample");
    assert!(!runs.is_empty() && runs.windows(2).all(|pair| pair[0].track < pair[1].track));
    runs
}
