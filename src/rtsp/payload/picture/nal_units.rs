//! The NAL units of a [`PictureBuilder`]: from the parts of packets into its buffer.

use super::{
    BUFFER_BYTES, BUFFER_LEFT_BYTES, Fragment, LENGTH, MAX_PICTURE_BYTES, MAX_PREFIX_BYTES, OpenNal,
    PictureBuilder,
};
use crate::{
    model::segment::Codec,
    rtsp::{
        parameters::SetKind,
        payload::{
            Outlet,
            nal::{self, NalKind},
            start_code,
        },
    },
};

impl PictureBuilder {
    /// Takes the units of an aggregation packet, each after its length. Those that fit are taken.
    pub(in crate::rtsp::payload) fn aggregate(&mut self, mut units: &[u8], to: &mut Outlet<'_>) {
        while let Some((&length, rest)) = units.split_first_chunk::<2>() {
            let Some((unit, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(length))) else {
                break;
            };
            if !unit.is_empty() {
                self.nal(unit, to);
            }
            units = rest;
        }
        // Zeros at the end are padding.
        if units.iter().any(|byte| *byte != 0) {
            self.broken();
        }
    }

    /// Takes a whole NAL unit.
    pub(in crate::rtsp::payload) fn nal(&mut self, bytes: &[u8], to: &mut Outlet<'_>) {
        self.end_fragment(to);
        self.begin_nal();
        self.feed(bytes, to);
        self.end_nal(to);
    }

    /// Takes a fragment of a NAL unit with the given header and type.
    pub(in crate::rtsp::payload) fn fragment(
        &mut self,
        header: &[u8],
        kind: u8,
        start: bool,
        end: bool,
        body: &[u8],
        to: &mut Outlet<'_>,
    ) {
        if start {
            self.end_fragment(to);
            self.begin_nal();
            self.fragment = Some(Fragment { kind, marked: false });
            self.feed(header, to);
        } else if self.fragment.is_none_or(|fragment| fragment.kind != kind) {
            self.abort_nal();
            return self.broken();
        }
        self.feed(body, to);
        if end {
            self.end_nal(to);
            self.fragment = None;
        }
    }

    /// Something else than the next fragment came: the NAL unit ends. Its end bit is missing, and with it perhaps more, unless
    /// the marker bit says that nothing is.
    pub(super) fn end_fragment(&mut self, to: &mut Outlet<'_>) {
        let Some(fragment) = self.fragment.take() else { return };
        self.end_nal(to);
        if fragment.marked {
            return;
        }
        match &mut self.picture {
            Some(picture) if self.picture_end == self.buffer.len() => picture.damaged = true,
            _ => self.prefix.references_missing = true,
        }
    }

    fn begin_nal(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < BUFFER_LEFT_BYTES {
            self.buffer.reserve(BUFFER_BYTES);
        }
        let time = self.current.map_or(0, |current| current.time);
        self.nal = Some(OpenNal { start: self.buffer.len(), time, kind: None });
        self.buffer.extend_from_slice(&[0; LENGTH]);
    }

    /// Takes the next bytes of the open NAL unit, which ends at a start code.
    fn feed(&mut self, mut bytes: &[u8], to: &mut Outlet<'_>) {
        while let Some((end, begin)) = self.start_code(bytes) {
            self.append(&bytes[..end], to);
            self.end_nal(to);
            self.begin_nal();
            bytes = &bytes[begin..];
        }
        self.append(bytes, to);
    }

    /// The next start code: where the bytes before it end, and those behind it begin.
    fn start_code(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let begins = |at: usize| bytes.get(at).is_none_or(|byte| nal::may_begin(self.codec, *byte));
        let so_far = self.buffer.get(self.nal?.start + LENGTH..)?;
        let straddling = match (so_far, bytes) {
            ([.., 0, 0], [1, ..]) => Some(1),
            ([.., 0], [0, 1, ..]) => Some(2),
            _ => None,
        };
        if let Some(begin) = straddling.filter(|begin| begins(*begin)) {
            return Some((0, begin));
        }
        let mut from = 0;
        while let Some(at) = start_code::find(&bytes[from..]) {
            let (end, begin) = (from + at, from + at + 3);
            if begins(begin) {
                return Some((end, begin));
            }
            from = begin;
        }
        None
    }

    fn append(&mut self, bytes: &[u8], to: &mut Outlet<'_>) {
        let Some(nal) = self.nal else { return };
        if self.buffer.len() + bytes.len() > MAX_PICTURE_BYTES {
            self.damaged_units += 1;
            self.clear();
            self.discards = true;
            self.prefix.references_missing = true;
            return;
        }
        self.buffer.extend_from_slice(bytes);
        if nal.kind.is_none() && self.buffer.len() - nal.start - LENGTH >= nal::HEAD_BYTES {
            self.classify(to);
        }
    }

    /// Finds out what the open NAL unit is. If it begins a picture, the one before is delivered.
    fn classify(&mut self, to: &mut Outlet<'_>) {
        let Some(kind) = self.kind() else { return };
        let kind = match kind {
            NalKind::Slice(slice) if self.discards && !slice.first => NalKind::Ignored,
            NalKind::Slice(slice) => {
                self.slice(slice, to);
                kind
            }
            _ => kind,
        };
        if let Some(nal) = &mut self.nal {
            nal.kind = Some(kind);
        }
    }

    pub(super) fn kind(&self) -> Option<NalKind> {
        let bytes = self.buffer.get(self.nal?.start + LENGTH..)?;
        Some(nal::classify(self.codec, bytes.get(..nal::HEAD_BYTES).unwrap_or(bytes), &self.sets))
    }

    /// The open NAL unit is whole.
    fn end_nal(&mut self, to: &mut Outlet<'_>) {
        let Some(nal) = self.nal else { return };
        let begin = nal.start + LENGTH;
        while self.buffer.len() > begin && self.buffer.last() == Some(&0) {
            self.buffer.truncate(self.buffer.len() - 1);
        }
        if self.buffer.len() <= begin {
            self.buffer.truncate(nal.start);
            self.nal = None;
            return;
        }
        if nal.kind.is_none() {
            self.classify(to);
        }
        let Some(OpenNal { start, kind: Some(kind), .. }) = self.nal.take() else { return };
        match kind {
            NalKind::Slice(_) => self.join_picture(start),
            NalKind::Suffix if self.picture.is_some() && start == self.picture_end => {
                self.join_picture(start)
            }
            NalKind::ParameterSet(kind) => {
                self.parameter_set(kind, start);
                self.buffer.truncate(start);
            }
            NalKind::Sei | NalKind::Prefix | NalKind::Suffix => {
                let nal = self.put_length(start);
                let recovery_point =
                    kind == NalKind::Sei && nal.is_some_and(|nal| nal::has_recovery_point(nal));
                self.prefix.recovery_point |= recovery_point && self.codec == Codec::H264;
                if self.buffer.len() - self.picture_end > MAX_PREFIX_BYTES {
                    self.buffer.truncate(self.picture_end);
                    self.prefix.changed.iter_mut().for_each(|(at, _)| *at = self.picture_end);
                }
            }
            NalKind::Ignored => self.buffer.truncate(start),
            NalKind::Broken => {
                self.buffer.truncate(start);
                self.broken();
            }
        }
    }

    /// Writes the length of the NAL unit that ends the buffer.
    fn put_length(&mut self, start: usize) -> Option<&mut [u8]> {
        let (length, bytes) = self.buffer.get_mut(start..)?.split_first_chunk_mut::<LENGTH>()?;
        *length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        Some(bytes)
    }

    /// The NAL unit that ends the buffer is part of the picture, and with it what is before it.
    fn join_picture(&mut self, start: usize) {
        self.put_length(start);
        self.picture_end = self.buffer.len();
        if let (Some(picture), Some(current)) = (&mut self.picture, &mut self.current) {
            picture.arrived = current.arrived;
            picture.marked = false;
            current.contributes = true;
        }
    }

    /// Takes the parameter set that ends the buffer, unless it is known.
    fn parameter_set(&mut self, kind: SetKind, start: usize) {
        let Some(bytes) = self.buffer.get(start + LENGTH..) else { return };
        self.prefix.has_sps |= kind == SetKind::Sequence;
        self.prefix.has_pps |= kind == SetKind::Picture;
        let changed = &mut self.prefix.changed;
        let id = self.sets.id(kind, bytes);
        let pending = changed.iter().position(|(_, set)| set.kind == kind && Some(set.id) == id);
        let known = match pending.and_then(|at| changed.get(at)) {
            Some((_, set)) => Some(&set.bytes),
            None => id.and_then(|id| self.sets.get(kind, id)),
        };
        if known.is_some_and(|known| known == bytes) {
            return;
        }
        match (self.sets.read(kind, bytes), pending.and_then(|at| changed.get_mut(at))) {
            (Some(set), Some(pending)) => pending.1 = set,
            (Some(set), None) => changed.push((start, set)),
            (None, _) => self.damaged_units += 1,
        }
    }

    /// The rest of the open NAL unit does not come.
    pub(super) fn abort_nal(&mut self) {
        self.fragment = None;
        let Some(nal) = self.nal.take() else { return };
        self.buffer.truncate(nal.start);
        match (&mut self.picture, nal.kind) {
            (Some(picture), Some(NalKind::Slice(_))) => picture.damaged = true,
            _ => self.prefix.references_missing = true,
        }
    }
}
