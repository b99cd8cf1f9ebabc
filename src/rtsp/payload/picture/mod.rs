//! Makes pictures (access units) of the NAL units of H.264 and H.265.
//!
//! The bytes of a picture are copied once, from its packets into one buffer. Behind the picture under construction the buffer
//! holds what belongs to the next slice (delimiter, SEI), and a NAL unit whose fragments are still coming:
//!
//! ```text
//! | NAL units of the picture | NAL units before the next slice | open NAL unit |
//!                       picture_end                         nal.start
//! ```
//!
//! Where a picture ends is decided by the next slice: by its "first in picture" flag, and by its RTP time where that is
//! missing. RTP times and marker bits alone are wrong in too many cameras. Once a camera's markers proved right, its
//! pictures are delivered at their markers.

mod nal_units;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::{
    Outlet, Packet, h264, h265,
    markers::Markers,
    nal::{Field, NalKind, Slice},
};
use crate::{
    base::WallUs,
    model::{
        segment::Codec,
        unit::{AccessUnit, VideoFormat},
    },
    rtsp::{
        parameters::{ParameterSet, ParameterSets},
        reorder::Continuity,
        track::TrackOutput,
    },
};

/// Length field before each NAL unit.
const LENGTH: usize = 4;
/// A larger picture is dropped. Some cameras send keyframes of 20 MB.
const MAX_PICTURE_BYTES: usize = 32 << 20;
/// NAL units before a slice that are kept.
const MAX_PREFIX_BYTES: usize = 1 << 20;
/// Pictures share buffers of this size, which are freed with the last of them: the allocator is asked twice a second, not for each.
const BUFFER_BYTES: usize = 256 << 10;
/// A NAL unit begins in another buffer if this one has less room.
const BUFFER_LEFT_BYTES: usize = 4 << 10;
/// A picture is taken for complete after this much silence,
const SILENCE: Duration = Duration::from_millis(100);
/// or after this much, if its marker is missing and others had one.
const LONG_SILENCE: Duration = Duration::from_secs(1);

/// The picture under construction; there is one as soon as a slice of it came.
#[derive(Debug)]
struct Picture {
    /// RTP timestamp of its first slice.
    time: u32,
    /// RTP timestamp of its last slice.
    last_time: u32,
    last_address: u32,
    arrived: Instant,
    replay_time: Option<WallUs>,
    format: Option<Arc<VideoFormat>>,
    /// Parameter sets with new content that were taken out of the buffer, and where they were.
    changed: Vec<(usize, Bytes)>,
    random_access: bool,
    intra: bool,
    recovery_point: bool,
    has_sps: bool,
    has_pps: bool,
    field: Option<Field>,
    has_second_field: bool,
    damaged: bool,
    /// Whether a picture before it is missing or damaged.
    references_missing: bool,
    markers: u32,
    /// Whether its last packet had the marker bit.
    marked: bool,
}

/// What came for the next slice.
#[derive(Debug, Default)]
struct Prefix {
    /// Parameter sets with new content, and where they were in the buffer.
    changed: Vec<(usize, ParameterSet)>,
    recovery_point: bool,
    has_sps: bool,
    has_pps: bool,
    references_missing: bool,
    /// Time from the ONVIF replay header, with the RTP timestamp of its packet.
    replay_time: Option<(u32, WallUs)>,
}

/// A NAL unit that is not whole yet.
#[derive(Clone, Copy, Debug)]
struct OpenNal {
    /// Where its length is in the buffer.
    start: usize,
    /// RTP timestamp of its first packet.
    time: u32,
    kind: Option<NalKind>,
}

/// A fragmentation unit whose end did not come yet.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    kind: u8,
    /// Whether its last packet had the marker bit.
    marked: bool,
}

/// The part of [`Packet`] that is needed while its NAL units are taken.
#[derive(Clone, Copy, Debug)]
struct Current {
    time: u32,
    arrived: Instant,
    /// Whether part of the picture under construction came in it.
    contributes: bool,
}

/// Intra pictures that nothing marks as keyframes, of a stream that has no others, before they are taken for keyframes.
const PLAIN_INTRA_TO_TRUST: u32 = 2;

/// Makes pictures.
#[derive(Debug)]
pub(in crate::rtsp) struct PictureBuilder {
    codec: Codec,
    /// Whether a keyframe came that the stream itself marks as such, and how many intra pictures came that are not.
    marked_keys: bool,
    plain_intra: u32,
    sets: ParameterSets,
    buffer: BytesMut,
    picture_end: usize,
    picture: Option<Picture>,
    prefix: Prefix,
    nal: Option<OpenNal>,
    fragment: Option<Fragment>,
    current: Option<Current>,
    /// Whether no packet is missing since the last slice.
    contiguous: bool,
    /// Whether slices are dropped up to the next first slice of a picture.
    discards: bool,
    markers: Markers,
    /// RTP timestamp of the last picture that was delivered before its next one came, and whether silence was why.
    delivered_early: Option<(u32, bool)>,
    /// Silence proved to be no end of a picture.
    distrusts_silence: bool,
    /// RTP timestamp of the picture that ends a replay.
    terminal: Option<u32>,
    damaged_units: u64,
}

impl PictureBuilder {
    /// For a stream with the parameter sets of its session description, NAL units that may have start codes.
    pub(in crate::rtsp) fn new(codec: Codec, described: &[Vec<u8>]) -> Self {
        let mut builder = Self {
            codec,
            marked_keys: false,
            plain_intra: 0,
            sets: ParameterSets::new(codec),
            buffer: BytesMut::new(),
            picture_end: 0,
            picture: None,
            prefix: Prefix::default(),
            nal: None,
            fragment: None,
            current: None,
            contiguous: true,
            discards: true,
            markers: Markers::Unknown,
            delivered_early: None,
            distrusts_silence: false,
            terminal: None,
            damaged_units: 0,
        };
        let mut nothing = Vec::new();
        for set in described {
            builder.nal(set, &mut Outlet { clock: None, out: &mut nothing });
        }
        for (_, set) in builder.prefix.changed.drain(..) {
            builder.sets.insert(set);
        }
        builder.clear();
        builder.damaged_units = 0;
        builder.discards = true;
        builder
    }

    /// Access units that were damaged so far.
    pub(in crate::rtsp) fn damaged_units(&self) -> u64 {
        self.damaged_units
    }

    /// Takes a packet.
    pub(in crate::rtsp) fn take(&mut self, packet: &Packet<'_>, to: &mut Outlet<'_>) {
        let Packet { time, arrived, replay, .. } = *packet;
        match packet.continuity {
            Continuity::Next | Continuity::NewSource => {}
            Continuity::Lost(_) | Continuity::Jump => self.lost(time),
            Continuity::Restart => {
                // Nothing is missing, so a NAL unit goes on unless its picture does not.
                if self.nal.is_some_and(|nal| nal.time != time) {
                    self.abort_nal();
                }
                self.contiguous = false;
            }
        }
        self.current = Some(Current { time, arrived, contributes: false });
        if replay.is_some_and(|replay| replay.terminal) {
            self.terminal = Some(time);
        }
        match self.codec {
            Codec::H264 => h264::unpack(packet.payload, self, to),
            Codec::H265 => h265::unpack(packet.payload, self, to),
        }
        if let Some(camera_time) = replay.and_then(|replay| replay.time) {
            match &mut self.picture {
                Some(picture) if picture.last_time == time => {
                    picture.replay_time.get_or_insert(camera_time);
                }
                _ if self.prefix.replay_time.is_none_or(|(of, _)| of != time) => {
                    self.prefix.replay_time = Some((time, camera_time));
                }
                _ => {}
            }
        }
        if packet.marker {
            self.marker(time, to);
        } else if let Some(fragment) = &mut self.fragment {
            fragment.marked = false;
        }
    }

    /// When [`Self::flush`] is wanted, if no packet came since `heard`.
    pub(in crate::rtsp) fn deadline(&self, heard: Instant) -> Option<Instant> {
        if self.nal.is_some() && !self.fragment.is_some_and(|fragment| fragment.marked) {
            return None;
        }
        let Some(picture) = &self.picture else {
            return self.terminal.map(|_| heard + LONG_SILENCE);
        };
        let ended = match self.markers {
            Markers::Missing => true,
            Markers::Distrusted => false,
            _ => picture.marked || self.fragment.is_some(),
        };
        let is_enough = ended && !self.distrusts_silence;
        Some(heard + if is_enough { SILENCE } else { LONG_SILENCE })
    }

    /// Delivers a picture that nothing followed for long enough.
    pub(in crate::rtsp) fn flush(&mut self, to: &mut Outlet<'_>) {
        self.end_fragment(to);
        if let Some(picture) = &self.picture {
            self.delivered_early = Some((picture.last_time, true));
        }
        self.complete(to);
        if self.terminal.take().is_some() {
            to.out.push(TrackOutput::End);
        }
    }

    /// Delivers the last picture, unless a NAL unit of it is cut. It is damaged if its marker did not come.
    pub(in crate::rtsp) fn finish(&mut self, to: &mut Outlet<'_>) {
        if self.fragment.is_some_and(|fragment| fragment.marked) {
            self.end_fragment(to);
        }
        if self.nal.is_none() {
            let has_markers = matches!(self.markers, Markers::Learning(_) | Markers::Trusted);
            if let Some(picture) = &mut self.picture {
                picture.damaged |= has_markers && !picture.marked;
            }
            self.complete(to);
        }
        self.clear();
    }

    /// Another source follows: delivers the picture under construction, and drops what belongs to one that does not come.
    pub(in crate::rtsp) fn end_source(&mut self, to: &mut Outlet<'_>) {
        self.abort_nal();
        self.complete(to);
        let references_missing = self.prefix.references_missing;
        self.clear();
        self.prefix.references_missing = references_missing;
        self.delivered_early = None;
        self.contiguous = false;
    }

    fn clear(&mut self) {
        self.buffer = BytesMut::new();
        self.picture_end = 0;
        self.picture = None;
        self.nal = None;
        self.fragment = None;
        self.prefix = Prefix { changed: std::mem::take(&mut self.prefix.changed), ..Prefix::default() };
        self.prefix.changed.iter_mut().for_each(|(at, _)| *at = 0);
    }

    /// Packets are missing before the one of RTP time `time`.
    fn lost(&mut self, time: u32) {
        self.abort_nal();
        self.contiguous = false;
        match &mut self.picture {
            Some(picture) if picture.last_time == time => picture.damaged = true,
            Some(picture) => {
                picture.damaged |= !(picture.marked && self.markers != Markers::Distrusted);
                self.prefix.references_missing = true;
            }
            None => self.prefix.references_missing = true,
        }
    }

    /// Part of the packet cannot be read.
    pub(in crate::rtsp::payload) fn broken(&mut self) {
        if self.discards {
            return;
        }
        match (&mut self.picture, &self.current) {
            (Some(picture), Some(current)) if picture.last_time == current.time => picture.damaged = true,
            _ => self.prefix.references_missing = true,
        }
    }

    fn slice(&mut self, slice: Slice, to: &mut Outlet<'_>) {
        let time = self.nal.map_or(0, |nal| nal.time);
        if self.continues(slice, time) {
            let prefix = &mut self.prefix;
            let Some(picture) = &mut self.picture else { return };
            picture.last_time = time;
            picture.last_address = slice.address;
            picture.random_access |= slice.random_access;
            picture.intra &= slice.intra;
            picture.has_second_field |= slice.first;
            picture.recovery_point |= std::mem::take(&mut prefix.recovery_point);
            picture.damaged |= std::mem::take(&mut prefix.references_missing);
            picture.marked = false;
        } else {
            self.complete(to);
            self.begin_picture(slice, time);
        }
        self.contiguous = true;
    }

    /// Whether a slice is of the picture under construction.
    fn continues(&self, slice: Slice, time: u32) -> bool {
        let Some(picture) = &self.picture else { return false };
        if slice.first {
            let fields =
                picture.field.zip(slice.field).is_some_and(|(first, second)| second.completes(first));
            return fields && !picture.has_second_field && self.contiguous && self.prefix.changed.is_empty();
        }
        // Slices may have times of their own; if it is not behind the others, this one is of a later picture whose first
        // slice is missing.
        time == picture.last_time || (self.contiguous && slice.address > picture.last_address)
    }

    fn begin_picture(&mut self, mut slice: Slice, time: u32) {
        let prefix = std::mem::take(&mut self.prefix);
        let changed: Vec<(usize, Bytes)> =
            prefix.changed.iter().map(|(at, set)| (*at, set.bytes.clone())).collect();
        if !changed.is_empty() {
            prefix.changed.into_iter().for_each(|(_, set)| self.sets.insert(set));
            if let Some(NalKind::Slice(again)) = self.kind() {
                slice = again;
            }
        }
        if let Some((delivered, in_silence)) = self.delivered_early.take()
            && !slice.first
            && self.contiguous
            && delivered == time
        {
            self.markers = Markers::Distrusted;
            self.distrusts_silence |= in_silence;
        }
        self.discards = false;
        let Some(current) = self.current else { return };
        let replay_time = prefix.replay_time.filter(|(of, _)| *of == time).map(|(_, time)| time);
        self.picture = Some(Picture {
            time,
            last_time: time,
            last_address: slice.address,
            arrived: current.arrived,
            replay_time,
            format: self.sets.format(slice.pps),
            changed,
            random_access: slice.random_access,
            intra: slice.intra,
            recovery_point: prefix.recovery_point,
            has_sps: prefix.has_sps,
            has_pps: prefix.has_pps,
            field: slice.field,
            has_second_field: false,
            damaged: !slice.first,
            references_missing: prefix.references_missing,
            markers: 0,
            marked: false,
        });
    }

    /// The packet has the marker bit.
    fn marker(&mut self, time: u32, to: &mut Outlet<'_>) {
        if let Some(fragment) = &mut self.fragment {
            fragment.marked = true;
        }
        let contributes = self.current.is_some_and(|current| current.contributes);
        let Some(picture) = self.picture.as_mut().filter(|_| self.nal.is_none()) else { return };
        if self.buffer.len() != self.picture_end || !(contributes || picture.last_time == time) {
            return;
        }
        picture.markers += 1;
        picture.marked = true;
        // A second field may have a marker of its own.
        if self.markers == Markers::Trusted && picture.field.is_none() {
            let delivered = picture.last_time;
            self.complete(to);
            self.delivered_early = Some((delivered, false));
        }
    }

    /// Delivers the picture under construction.
    fn complete(&mut self, to: &mut Outlet<'_>) {
        let Some(picture) = self.picture.take() else { return };
        let data = self.split_buffer();
        self.markers.learn(picture.markers, picture.marked);
        if let Some(format) = &picture.format {
            self.deliver(data, &picture, format, to);
        }
        if self.terminal.take_if(|time| *time == picture.last_time).is_some() {
            to.out.push(TrackOutput::End);
        }
    }

    /// Takes the picture out of the buffer.
    fn split_buffer(&mut self) -> Bytes {
        let end = std::mem::take(&mut self.picture_end).min(self.buffer.len());
        let data = if end <= BUFFER_BYTES {
            self.buffer.split_to(end).freeze()
        } else {
            // A buffer that had to grow for one picture is up to twice as large.
            let data = Bytes::copy_from_slice(self.buffer.get(..end).unwrap_or_default());
            self.buffer = BytesMut::from(self.buffer.get(end..).unwrap_or_default());
            data
        };
        if let Some(nal) = &mut self.nal {
            nal.start -= end.min(nal.start);
        }
        self.prefix.changed.iter_mut().for_each(|(at, _)| *at -= end.min(*at));
        data
    }

    fn deliver(
        &mut self,
        mut data: Bytes,
        picture: &Picture,
        format: &Arc<VideoFormat>,
        to: &mut Outlet<'_>,
    ) {
        let has_sets = picture.has_sps && picture.has_pps;
        let intra = self.codec == Codec::H264 && picture.intra;
        let marked = picture.random_access || picture.recovery_point || (intra && has_sets);
        self.marked_keys |= marked;
        self.plain_intra += u32::from(intra && !marked);
        // A stream without any other keyframe is recorded from its intra pictures on.
        let only_intra = intra && !self.marked_keys && self.plain_intra >= PLAIN_INTRA_TO_TRUST;
        let key = marked || only_intra;
        let damaged = picture.damaged || (picture.references_missing && !key);
        self.damaged_units += u64::from(damaged || data.is_empty());
        if data.is_empty() {
            self.prefix.references_missing = true;
            return;
        }
        if !key && !picture.changed.is_empty() {
            data = with_sets(&data, &picture.changed).into();
        }
        let camera_time = match to.clock {
            Some(clock) => clock.time(picture.time),
            None => picture.replay_time,
        };
        to.out.push(TrackOutput::Video(AccessUnit {
            data,
            key,
            rtp_time: Some(picture.time),
            camera_time,
            arrived: picture.arrived,
            format: format.clone(),
            damaged,
        }));
    }
}

/// A picture with its parameter sets put back where they were.
fn with_sets(data: &[u8], sets: &[(usize, Bytes)]) -> Vec<u8> {
    let mut whole =
        Vec::with_capacity(data.len() + sets.iter().map(|(_, set)| LENGTH + set.len()).sum::<usize>());
    let mut done = 0;
    for (at, set) in sets {
        let at = (*at).clamp(done, data.len());
        whole.extend_from_slice(&data[done..at]);
        whole.extend(u32::try_from(set.len()).unwrap_or(u32::MAX).to_be_bytes());
        whole.extend_from_slice(set);
        done = at;
    }
    whole.extend_from_slice(&data[done..]);
    whole
}
