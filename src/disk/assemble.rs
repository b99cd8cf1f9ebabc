//! From a stream of bytes with arbitrary borders to whole fragments.

use std::collections::VecDeque;

use bytes::Bytes;

use super::boxes::{self, BadBoxes, Counter, HEADER_MAX, Header, Track};
use crate::model::segment::Extent;

/// Bytes of a file that belong together: all boxes since the fragment before, up to and including an `mdat`.
#[derive(Debug)]
pub(super) struct Fragment {
    /// The bytes, as they came.
    pub(super) chunks: Vec<Bytes>,
    /// How many they are.
    pub(super) bytes: u64,
    /// What the file holds once they are written.
    pub(super) extent: Extent,
}

impl Fragment {
    /// Several that follow each other, as one; `None` of none.
    pub(super) fn joined(fragments: Vec<Self>) -> Option<Self> {
        fragments.into_iter().reduce(|mut all, next| {
            all.chunks.extend(next.chunks);
            Self { chunks: all.chunks, bytes: all.bytes + next.bytes, extent: next.extent }
        })
    }
}

/// Collects the bytes of one file until a fragment is whole. Copies only headers and indices, never pictures.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// What came since the last whole fragment.
    chunks: VecDeque<Bytes>,
    held: u64,
    /// Where in `chunks` the next unread box begins.
    at: u64,
    /// Its header, once that is here.
    next: Option<Header>,
    /// Length of what was handed out before.
    done: u64,
    counter: Option<Counter>,
    /// A `moof` came whose `mdat` did not.
    moof: bool,
}

impl Assembler {
    /// Takes the next bytes and appends what is whole now to `out`. After an error, what is in `out` is still good,
    /// and nothing more may be pushed.
    pub(super) fn push(&mut self, bytes: Bytes, out: &mut Vec<Fragment>) -> Result<(), BadBoxes> {
        self.held += bytes.len() as u64;
        self.chunks.push_back(bytes);
        while let Some(found) = self.next_whole()? {
            self.next = None;
            let start = self.at;
            self.at += found.bytes;
            if boxes::is_index(found.kind) {
                let body = self.copy(start + found.header, found.bytes - found.header);
                if &found.kind == b"moov" {
                    self.counter = Some(Counter::new(Track::video(&body)?));
                } else {
                    self.counter.as_mut().ok_or(BadBoxes::Missing("moov"))?.add(&body)?;
                    self.moof = true;
                }
            } else if &found.kind == b"mdat" {
                if !std::mem::take(&mut self.moof) {
                    return Err(BadBoxes::Missing("moof"));
                }
                out.extend(self.split());
            }
        }
        Ok(())
    }

    /// The whole boxes after the last fragment (the `mfra` of a file that was ended in order), if there are any.
    /// What is not whole is dropped.
    pub(super) fn finish(mut self) -> Option<Fragment> {
        if self.moof || self.at == 0 || self.done == 0 { None } else { self.split() }
    }

    /// The header of the box at `at`, if the whole box is here.
    fn next_whole(&mut self) -> Result<Option<Header>, BadBoxes> {
        let there = self.held - self.at;
        if self.next.is_none() {
            self.next = boxes::header(&self.copy(self.at, there.min(HEADER_MAX as u64)))?;
        }
        Ok(self.next.filter(|found| found.bytes <= there))
    }

    /// Copies `len` bytes from offset `from` of what is held, which must be there.
    fn copy(&self, from: u64, len: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(len as usize);
        let mut skip = from as usize;
        for chunk in &self.chunks {
            let part = chunk.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(chunk.len());
            out.extend_from_slice(&part[..part.len().min(len as usize - out.len())]);
            if out.len() == len as usize {
                break;
            }
        }
        out
    }

    /// Takes everything before `at` out of what is held.
    fn split(&mut self) -> Option<Fragment> {
        let bytes = std::mem::take(&mut self.at);
        let mut left = bytes as usize;
        let mut chunks = Vec::new();
        while left > 0 {
            let mut chunk = self.chunks.pop_front()?;
            if chunk.len() > left {
                let rest = chunk.split_off(left);
                self.chunks.push_front(rest);
            }
            left -= chunk.len();
            chunks.push(chunk);
        }
        self.held -= bytes;
        self.done += bytes;
        let extent = self.counter.as_ref()?.extent(self.done);
        Some(Fragment { chunks, bytes, extent })
    }
}
