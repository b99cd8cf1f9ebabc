//! From the answer to PLAY to the end, and what is done by the clock.

use std::time::{Duration, Instant};

use super::{BODY_QUIET, Output, Phase, Purpose, Session, SessionError};
use crate::{
    model::status::StreamError,
    rtsp::{
        framing::is_rtcp,
        track::{Delivery, Track, TrackCodec, TrackOutput},
    },
};

/// Between two receiver reports of a track. RFC 3550, 6.2 asks for 5 s at least.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(10);

impl Session {
    /// When [`Self::timeout`] has work.
    pub fn next_timeout(&self) -> Option<Instant> {
        if matches!(self.phase, Phase::Connecting | Phase::Over) {
            return None;
        }
        let body = self.framer.awaits_body().then(|| self.last_input + BODY_QUIET);
        let pending = self.pending.map(|pending| pending.deadline);
        let tracks = self.tracks.iter().filter_map(|track| track.track.next_flush());
        let keep_alive = self.keep_alive.due().filter(|_| self.pending.is_none());
        [body, pending, keep_alive, self.report_at, self.fall_back_at]
            .into_iter()
            .flatten()
            .chain(tracks)
            .min()
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if matches!(self.phase, Phase::Connecting | Phase::Over) {
            return;
        }
        if self.framer.awaits_body() && self.last_input + BODY_QUIET <= now {
            self.finish_body(now);
        }
        if let Some(pending) = self.pending.filter(|pending| pending.deadline <= now) {
            self.unanswered(pending, now);
        }
        if is_due(self.fall_back_at) {
            return self.fall_back();
        }
        self.flush(now);
        if self.phase != Phase::Playing {
            return;
        }
        if self.pending.is_none() && is_due(self.keep_alive.due()) {
            let method = self.keep_alive.next(now);
            self.send(Purpose::KeepAlive(method), now);
        }
        if is_due(self.report_at) {
            self.report_at = Some(now + REPORT_EVERY);
            self.send_reports(now);
        }
    }

    fn send_reports(&mut self, now: Instant) {
        for (number, track) in self.tracks.iter_mut().enumerate() {
            let Some(report) = track.track.receiver_report(now) else { continue };
            match track.setup.delivery {
                Delivery::Stream => {
                    let Some(channel) = self.framer.rtcp_channel(number) else { continue };
                    let Ok(length) = u16::try_from(report.len()) else { continue };
                    let mut frame = vec![b'$', channel];
                    frame.extend_from_slice(&length.to_be_bytes());
                    frame.extend_from_slice(&report);
                    self.outputs.push_back(Output::Send(frame));
                }
                Delivery::Datagrams => {
                    let Some((_, port)) = track.server_ports else { continue };
                    let output = Output::SendDatagram { track: number, is_rtcp: true, port, bytes: report };
                    self.outputs.push_back(output);
                }
            }
        }
    }

    /// Hands a packet to its track.
    pub(super) fn packet(&mut self, number: usize, packet: &[u8], rtcp: bool, now: Instant) {
        let Some(track) = self.tracks.get_mut(number) else { return };
        if rtcp || is_rtcp(packet) {
            track.track.rtcp(packet, now);
        } else {
            self.packets += 1;
            self.received = true;
            self.fall_back_at = None;
            track.track.rtp(packet, now, &mut self.units);
        }
        if !self.units.is_empty() {
            self.deliver(number, now);
        }
    }

    /// Does something with each track, and hands on what comes out.
    pub(super) fn for_each_track(&mut self, now: Instant, act: impl Fn(&mut Track, &mut Vec<TrackOutput>)) {
        for number in 0..self.tracks.len() {
            if let Some(track) = self.tracks.get_mut(number) {
                act(&mut track.track, &mut self.units);
            }
            if !self.units.is_empty() {
                self.deliver(number, now);
            }
        }
    }

    fn deliver(&mut self, number: usize, now: Instant) {
        let mut ends = false;
        for unit in self.units.drain(..) {
            match unit {
                TrackOutput::Video(unit) => self.outputs.push_back(Output::Video(unit)),
                TrackOutput::Audio(unit) => self.outputs.push_back(Output::Audio(unit)),
                TrackOutput::End => ends = true,
            }
        }
        let pictures =
            self.tracks.get(number).is_some_and(|track| matches!(track.setup.codec, TrackCodec::Video(_)));
        if ends && pictures && self.phase == Phase::Playing {
            self.end(now);
        }
    }

    /// Delivers what is complete, as nothing more follows.
    pub(super) fn finish(&mut self, now: Instant) {
        self.for_each_track(now, |track, units| track.finish(units));
    }

    /// The camera ended the stream.
    pub(super) fn end(&mut self, now: Instant) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.finish(now);
            self.outputs.push_back(Output::Ended);
        }
    }

    pub(super) fn fail_when_finished(&mut self, error: StreamError, now: Instant) {
        self.finish(now);
        self.fail(SessionError::Stream(error));
    }
}
