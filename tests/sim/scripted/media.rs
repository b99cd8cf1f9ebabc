//! What a playing session of a scripted camera sends, and when.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use super::super::feed::{Journal, VIDEO_TICKS_PER_S};
use super::super::nal::Kind;
use super::super::stamp::Stamp;
use super::attack;
use super::payload::{Packet, Payloader};
use super::quirk::{Asks, Quirk, StrayBytes};
use super::stream::{RtpStream, interleaved};
use super::transport::Transport;
use super::{SentPicture, Shared, VIDEO_TYPE};

const REPORT_EVERY: Duration = Duration::from_secs(5);
/// A picture whose packets are spread has left after this part of its time.
const SPREAD: f64 = 0.9;
/// Stray bytes come with every picture whose number divided by the first leaves the second.
const STRAY_EVERY: (u64, u64) = (40, 20);
const STRAY_COUNT: usize = 23;
const TAIL_BYTES: usize = 40;
const TOO_LONG_BY: usize = 60;
/// Requests of the camera come with every picture whose number divided by the first leaves the second.
const ASKS_EVERY: (u64, u64) = (75, 10);
/// Of datagrams that are sent late or twice.
const ONE_IN: u32 = 50;

/// Bytes with the time when they go out.
struct Chunk {
    due: Instant,
    track: usize,
    is_rtcp: bool,
    bytes: Vec<u8>,
    /// Sent as a whole with this.
    completes: Option<(SentPicture, u64)>,
}

/// A track with its place in time.
struct Flow {
    track: usize,
    stream: RtpStream,
    /// Packets of sound, or pictures, so far.
    count: u64,
    report_at: Instant,
}

/// A session that plays.
pub(super) struct Media {
    shared: Arc<Shared>,
    connection: usize,
    /// Counts sessions from 1.
    session: usize,
    start: Instant,
    /// The same in microseconds since 1970 UTC.
    start_us: u64,
    /// Of the first picture, in the order of sending.
    first: u64,
    flows: Vec<Flow>,
    chunks: VecDeque<Chunk>,
    /// The next picture is damaged by the one before.
    damages_next: bool,
    /// A datagram that is sent after the next one.
    late: Option<Vec<u8>>,
    silent: bool,
}

impl Media {
    /// Plays these tracks from now on.
    pub(super) fn new(shared: Arc<Shared>, connection: usize, tracks: &[usize]) -> Media {
        let now = Instant::now();
        let first = shared.first_picture();
        let flow = |track: &usize| {
            let sound = track.checked_sub(1).map(|index| &shared.spec.sound[index]);
            let payload_type = sound.map_or(VIDEO_TYPE, |sound| sound.payload_type);
            (!sound.is_some_and(|sound| sound.talk)).then(|| Flow {
                track: *track,
                stream: RtpStream::new(payload_type),
                count: 0,
                report_at: now,
            })
        };
        let flows = tracks.iter().filter_map(flow).collect();
        let session = shared.seen().plays.len();
        Media {
            connection,
            session,
            start: now,
            start_us: now_us(),
            first,
            flows,
            chunks: VecDeque::new(),
            damages_next: false,
            late: None,
            silent: false,
            shared,
        }
    }

    /// When [`Self::send`] has something to do.
    pub(super) fn due(&self) -> Instant {
        let flows = self.flows.iter().map(|flow| self.due_of(flow));
        let chunk = self.chunks.front().map(|chunk| chunk.due);
        flows.chain(chunk).min().unwrap_or(self.start + Duration::from_secs(3600))
    }

    fn due_of(&self, flow: &Flow) -> Instant {
        let seconds = match flow.track.checked_sub(1) {
            None => flow.count as f64 / f64::from(self.shared.pictures.fps),
            Some(index) => {
                let (per_second, per_packet) = self.shared.spec.sound[index].ticks();
                (flow.count + 1) as f64 * f64::from(per_packet) / f64::from(per_second)
            }
        };
        self.start + Duration::from_secs_f64(seconds)
    }

    /// Sends what is due. False if the session is over.
    pub(super) async fn send(
        &mut self,
        writer: &mut OwnedWriteHalf,
        tracks: &[(usize, Transport)],
    ) -> std::io::Result<bool> {
        let now = Instant::now();
        for index in 0..self.flows.len() {
            if self.due_of(&self.flows[index]) > now {
                continue;
            }
            let track = self.flows[index].track;
            let Some((_, transport)) = tracks.iter().find(|(of, _)| *of == track) else { continue };
            if track == 0 {
                if self.is_over() {
                    return Ok(false);
                }
                self.picture(index, transport);
            } else {
                self.sound(index, transport);
            }
        }
        while self.chunks.front().is_some_and(|chunk| chunk.due <= now) {
            let Some(chunk) = self.chunks.pop_front() else { break };
            match tracks.iter().find(|(of, _)| *of == chunk.track) {
                Some((_, Transport::Interleaved { .. })) => writer.write_all(&chunk.bytes).await?,
                Some((_, Transport::Datagrams(sockets))) if !chunk.bytes.is_empty() => {
                    sockets.send(&chunk.bytes, chunk.is_rtcp).await;
                }
                _ => (),
            }
            if let Some((sent, captured_us)) = chunk.completes {
                self.note(sent, captured_us);
            }
        }
        Ok(true)
    }

    /// Whether the session has sent all that it is to send.
    fn is_over(&self) -> bool {
        let pictures = self.flows.iter().find(|flow| flow.track == 0).map_or(0, |flow| flow.count);
        self.shared.spec.quirks.iter().any(|quirk| match quirk {
            Quirk::SessionsEnd { odd, even } => {
                pictures >= if self.session.is_multiple_of(2) { *even } else { *odd }
            }
            _ => false,
        })
    }

    fn note(&self, sent: SentPicture, captured_us: u64) {
        match &self.shared.spec.journal {
            Journal::Memory => self.shared.seen().sent.push(sent),
            Journal::File(file) => {
                let line = format!("{} {} {captured_us}\n", self.shared.spec.name, sent.number);
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(line.as_bytes()).expect("a proof is worth nothing with holes in the journal");
            }
            Journal::Off => (),
        }
    }

    /// The next picture into chunks.
    fn picture(&mut self, flow: usize, transport: &Transport) {
        let (shared, due) = (self.shared.clone(), self.due_of(&self.flows[flow]));
        let (pictures, spec) = (&shared.pictures, &shared.spec);
        let index = self.flows[flow].count;
        self.flows[flow].count += 1;
        let place = self.first + index;
        let (picture, number) = pictures.at(place);
        if self.silent {
            return;
        }
        shared.seen().next = place + 1;
        let ticks = self.ticks(number);
        let captured_us = self.captured_us(ticks, VIDEO_TICKS_PER_S);
        let stamp = Stamp { number, capture_us: captured_us }.to_nal(pictures.codec);
        let huge_set =
            shared.has(&Quirk::HugeParameterSets).then(|| attack::huge_parameter_set(pictures.codec));
        let mut units: Vec<&[u8]> = picture.units.iter().map(Vec::as_slice).collect();
        units.insert(picture.first_slice, &stamp);
        if let Some(set) = huge_set.as_deref().filter(|_| picture.entry) {
            units.insert(picture.first_slice, set);
        }
        let payloader =
            Payloader { codec: pictures.codec, quirks: &spec.quirks, limit_bytes: spec.payload_bytes };
        let packets = payloader.picture(&units, picture.entry, index);
        let report = self.report(flow, captured_us, ticks);
        let ticks = ticks + self.begin_picture(flow, index, number);
        let sent = SentPicture {
            connection: self.connection,
            number,
            entry: picture.entry,
            damaged: std::mem::take(&mut self.damages_next),
            hash: self.hash(&units),
        };
        let packets: Vec<Vec<u8>> = {
            let stream = &mut self.flows[flow].stream;
            packets.iter().map(|packet| stream.packet(packet, ticks, &spec.quirks)).collect()
        };
        match transport {
            Transport::Interleaved { channel } => {
                self.interleave(*channel, packets, sent, captured_us, due);
                self.push_frames(*channel, &[report], due);
            }
            Transport::Datagrams(_) => self.datagrams(packets, report, sent, captured_us, due),
        }
        if self.shared.has(&Quirk::ByeThenSilence(index)) && self.session == 1 {
            self.silent = true;
        }
    }

    fn hash(&self, units: &[&[u8]]) -> String {
        if !matches!(self.shared.spec.journal, Journal::Memory) {
            return String::new();
        }
        let codec = self.shared.pictures.codec;
        let counts = |unit: &&&[u8]| !matches!(codec.kind(unit), Kind::Vps | Kind::Sps | Kind::Pps);
        let mut hasher = blake3::Hasher::new();
        for unit in units.iter().filter(counts) {
            hasher.update(unit);
        }
        hasher.finalize().to_string()
    }

    /// RTP time of a picture since the first.
    fn ticks(&self, number: u64) -> i64 {
        let since_first = number.cast_signed() - self.first.cast_signed();
        since_first * i64::from(VIDEO_TICKS_PER_S) / i64::from(self.shared.pictures.fps)
    }

    /// When that was captured, by the session's one clock: microseconds since 1970 UTC.
    fn captured_us(&self, ticks: i64, ticks_per_s: u32) -> u64 {
        self.start_us.saturating_add_signed(ticks * 1_000_000 / i64::from(ticks_per_s))
    }

    /// Deviations of the stream as a whole that begin with this picture; by how much its RTP time is off.
    fn begin_picture(&mut self, flow: usize, index: u64, number: u64) -> i64 {
        let mut ticks = 0;
        let stream = &mut self.flows[flow].stream;
        for quirk in &self.shared.spec.quirks {
            match *quirk {
                Quirk::StrayTime { by, every, at } if number % every == at && index > 0 => {
                    ticks += by * i64::from(VIDEO_TICKS_PER_S);
                }
                Quirk::SequenceJumps { every, to } if index > 0 && index.is_multiple_of(every) => {
                    stream.sequence = to
                }
                Quirk::NewSsrcEvery(every) if index > 0 && index.is_multiple_of(every) => {
                    *stream = RtpStream::new(VIDEO_TYPE);
                }
                _ => (),
            }
        }
        ticks
    }

    /// The RTCP packet that is due with this picture or packet, if any.
    fn report(&mut self, flow: usize, captured_us: u64, ticks: i64) -> Vec<u8> {
        let (now, index) = (Instant::now(), self.flows[flow].count - 1);
        let flow = &mut self.flows[flow];
        let ends = flow.track == 0
            && self.shared.spec.quirks.iter().any(|quirk| match quirk {
                Quirk::ByeThenSilence(at) => *at == index && self.session == 1,
                Quirk::ByeAndGoesOn(at) => *at == index,
                _ => false,
            });
        if ends {
            return [flow.stream.report(captured_us, ticks), flow.stream.bye()].concat();
        }
        if now < flow.report_at || self.shared.has(&Quirk::NoReports) {
            return Vec::new();
        }
        flow.report_at = now + REPORT_EVERY;
        flow.stream.report(captured_us, ticks)
    }

    /// RTCP packets, each behind what goes out at this time.
    fn push_frames(&mut self, channel: u8, reports: &[Vec<u8>], due: Instant) {
        for report in reports.iter().filter(|report| !report.is_empty()) {
            let bytes = interleaved(channel + 1, report, report.len());
            let due = self.chunks.back().map_or(due, |last| last.due.max(due));
            self.chunks.push_back(Chunk { due, track: 0, is_rtcp: true, bytes, completes: None });
        }
    }

    fn interleave(
        &mut self,
        channel: u8,
        packets: Vec<Vec<u8>>,
        mut sent: SentPicture,
        captured_us: u64,
        due: Instant,
    ) {
        let mut frames: Vec<Vec<u8>> =
            packets.iter().map(|packet| interleaved(channel, packet, packet.len())).collect();
        if let (Some(frame), Some(packet)) = (frames.last_mut(), packets.last()) {
            let bytes = self.stray(channel, frame, packet, &mut sent);
            frame.extend(bytes);
            frame.extend(self.asks(sent.number));
        }
        if self.shared.spec.paced {
            let step = Duration::from_secs_f64(SPREAD / f64::from(self.shared.pictures.fps));
            let (count, last) = (frames.len() as u32, frames.len() as u32 - 1);
            for (n, bytes) in (0..).zip(frames) {
                let completes = (n == last).then(|| (sent.clone(), captured_us));
                let due = due + step * n / count;
                self.chunks.push_back(Chunk { due, track: 0, is_rtcp: false, bytes, completes });
            }
        } else {
            let (bytes, completes) = (frames.concat(), Some((sent, captured_us)));
            self.chunks.push_back(Chunk { due, track: 0, is_rtcp: false, bytes, completes });
        }
    }

    /// Alters the last frame of a picture, or gives what comes behind it.
    fn stray(&mut self, channel: u8, frame: &mut Vec<u8>, packet: &[u8], sent: &mut SentPicture) -> Vec<u8> {
        let kind = self.shared.spec.quirks.iter().find_map(|quirk| match quirk {
            Quirk::StrayBytes(kind) => Some(*kind),
            _ => None,
        });
        let (every, at) = STRAY_EVERY;
        let Some(kind) = kind.filter(|_| sent.number % every == at) else { return Vec::new() };
        let random = || {
            let byte = std::iter::repeat_with(rand::random::<u8>).filter(|byte| *byte != b'$');
            byte.take(STRAY_COUNT).collect::<Vec<_>>()
        };
        match kind {
            StrayBytes::Random => random(),
            StrayBytes::Zeroes => vec![0; STRAY_COUNT],
            StrayBytes::Crlf => b"\r\n".to_vec(),
            StrayBytes::Dollars => [&random()[..], b"$\x77\x77\x77$", &random()].concat(),
            StrayBytes::Answer => b"RTSP/1.0 200 OK\r\nCSeq: 987654\r\n\r\n".to_vec(),
            StrayBytes::Tail if packet.len() > 2 * TAIL_BYTES && !sent.entry => {
                let kept = packet.len() - TAIL_BYTES;
                *frame = interleaved(channel, packet, kept);
                let tail = frame.len() - TAIL_BYTES;
                frame[tail..].iter_mut().filter(|byte| **byte == b'$').for_each(|byte| *byte = b'%');
                sent.damaged = true;
                Vec::new()
            }
            StrayBytes::LengthTooLarge if !sent.entry => {
                *frame = interleaved(channel, packet, packet.len() + TOO_LONG_BY);
                (sent.damaged, self.damages_next) = (true, true);
                Vec::new()
            }
            StrayBytes::Tail | StrayBytes::LengthTooLarge => Vec::new(),
        }
    }

    /// A request of the camera's own, or nothing.
    fn asks(&self, number: u64) -> Vec<u8> {
        let (every, at) = ASKS_EVERY;
        let kind = self.shared.spec.quirks.iter().find_map(|quirk| match quirk {
            Quirk::Asks(kind) if number % every == at => Some(*kind),
            _ => None,
        });
        let url = format!("rtsp://{}{}", self.shared.at, self.shared.spec.path);
        let (line, body) = match kind {
            None => return Vec::new(),
            Some(Asks::Announce) => (format!("ANNOUNCE {url}"), "v=0\r\ns=cam\r\nt=0 0\r\n"),
            Some(Asks::OptionsStar) => ("OPTIONS *".to_owned(), ""),
            Some(Asks::Options) => (format!("OPTIONS {url}"), ""),
            Some(Asks::SetParameter) => (format!("SET_PARAMETER {url}"), "x-param: 1\r\n"),
            Some(Asks::GetParameter) => (format!("GET_PARAMETER {url}"), ""),
        };
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        format!("{line} RTSP/1.0\r\nCSeq: {number}\r\n{length}\r\n{body}").into_bytes()
    }

    fn datagrams(
        &mut self,
        packets: Vec<Vec<u8>>,
        report: Vec<u8>,
        mut sent: SentPicture,
        captured_us: u64,
        due: Instant,
    ) {
        let mut out = Vec::new();
        for packet in packets {
            let one_in = |count: u32| rand::random_range(0..count) == 0;
            let lost = self.shared.spec.quirks.iter().any(|quirk| match quirk {
                Quirk::LosesDatagrams(of_1000) => rand::random_range(0..1000) < *of_1000,
                _ => false,
            });
            if lost {
                sent.damaged = true;
                continue;
            }
            if self.shared.has(&Quirk::ReordersDatagrams) && self.late.is_none() && one_in(ONE_IN) {
                self.late = Some(packet);
                continue;
            }
            if self.shared.has(&Quirk::DoublesDatagrams) && one_in(ONE_IN) {
                out.push(packet.clone());
            }
            out.push(packet);
            out.extend(self.late.take());
        }
        let step = match self.shared.spec.paced {
            true => Duration::from_secs_f64(SPREAD / f64::from(self.shared.pictures.fps)),
            false => Duration::ZERO,
        };
        let count = out.len().max(1) as u32;
        let chunk = |due, is_rtcp, bytes, completes| Chunk { due, track: 0, is_rtcp, bytes, completes };
        for (n, bytes) in (0..).zip(out) {
            self.chunks.push_back(chunk(due + step * n / count, false, bytes, None));
        }
        // A chunk without bytes notes that the picture went.
        self.chunks.push_back(chunk(due + step, false, Vec::new(), Some((sent, captured_us))));
        if !report.is_empty() {
            self.chunks.push_back(chunk(due + step, true, report, None));
        }
    }

    /// The next packet of sound into a chunk.
    fn sound(&mut self, flow: usize, transport: &Transport) {
        let shared = self.shared.clone();
        let due = self.due_of(&self.flows[flow]);
        let (track, count) = (self.flows[flow].track, self.flows[flow].count);
        self.flows[flow].count += 1;
        let (per_second, per_packet) = shared.spec.sound[track - 1].ticks();
        let payloads = &shared.payloads[track - 1];
        let payload = payloads[usize::try_from(count).unwrap_or_default() % payloads.len()].clone();
        // AAC marks the last packet of each unit, which is every packet here; the others mark a talkspurt's first.
        let packet = Packet { marker: true, ..Packet::new(payload) };
        let ticks = i64::try_from(count).unwrap_or_default() * i64::from(per_packet);
        let packet = self.flows[flow].stream.packet(&packet, ticks, &[]);
        let report = self.report(flow, self.captured_us(ticks, per_second), ticks);
        shared.seen().sound_seconds += f64::from(per_packet) / f64::from(per_second);
        for (is_rtcp, packet) in [(false, packet), (true, report)] {
            if packet.is_empty() {
                continue;
            }
            let bytes = match transport {
                Transport::Interleaved { channel } => {
                    interleaved(channel + u8::from(is_rtcp), &packet, packet.len())
                }
                Transport::Datagrams(_) => packet,
            };
            let at = self.chunks.partition_point(|chunk| chunk.due <= due);
            self.chunks.insert(at, Chunk { due, track, is_rtcp, bytes, completes: None });
        }
    }
}

/// Microseconds since 1970 UTC.
fn now_us() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the camera has a clock of its own")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}
