//! One native session: carries bytes between the camera's sockets and the protocol logic, and what comes of them to the sink.

use std::{
    cell::RefCell,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::select_all;
use tokio::time::{sleep, sleep_until, timeout};

use super::{
    Quirks, ReadClock, Shared, Status, TakeOver, Thread, ticks::Reading, tls::Failure, udp::Pair, wire::Wire,
};
use crate::{
    media::bus,
    model::{
        pipeline::{Play, SourceSettings},
        source::{Description, SourceEvent, SourceKind, UnitSink},
        status::{StreamError, StreamErrorKind},
    },
    rtsp::session::{Output, Session, SessionError, SessionSettings},
};

/// The first pictures tell where the timeline begins, so they are read sooner.
const READ_FIRST_EVERY: Duration = Duration::from_millis(5);
/// The length of that time, from the first frame on.
const FIRST: Duration = Duration::from_secs(1);
/// A stream of which a reading brings at most this part of the room in the kernel is read seldom: the camera must never have to wait for
/// us with a picture. The kernel makes more room as more comes.
const READ_SELDOM_PART: usize = 8;
/// More than this part of the room in one reading: the camera may have more to send than it can.
const BURST_PART: usize = 4;
const READ_BURST_EVERY: Duration = Duration::from_millis(2);
/// How fast the largest reading is forgotten: by this part with each.
const PEAK_DECAY: usize = 32;
/// So much cannot wait for us without the TCP option of window scaling (RFC 7323).
const UNSCALED_BYTES: usize = 65_535;
/// Where no more was ever found at once, a stream is read seldom only if a reading brings at most this.
const READ_SELDOM_UNSCALED_BYTES: usize = 16 << 10;
/// A reading of so much that did not fill its room took all there was.
const READ_ALL_BYTES: usize = 4096;
/// Datagrams that follow each other closely are read together.
const DATAGRAMS_WITHIN: Duration = Duration::from_millis(2);
/// One reading takes at most so many bytes; other cameras wait meanwhile.
const READING_BYTES: usize = 4 << 20;
/// And so many datagrams.
const READING_DATAGRAMS: usize = 4096;
/// Before the first picture, when what a camera says may be absurd.
const READING_BYTES_BEFORE: usize = 256 * 1024;
/// The longest message, and a reading behind it.
const SCRATCH_BYTES: usize = 1 << 20;
/// After a request to end, the camera's answer is waited for so long.
const LEAVE_WITHIN: Duration = Duration::from_millis(100);

thread_local! {
    /// What is being read; shared by all connections of the thread, each of which keeps only what it could not use yet.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

const USER_AGENT: &str = concat!("Watchkeeper/", env!("CARGO_PKG_VERSION"));

/// One session on its way.
pub(super) struct Connection {
    settings: SourceSettings,
    sink: Arc<dyn UnitSink>,
    take_over: Option<TakeOver>,
    shared: Arc<Shared>,
    quirks: Quirks,
    ticks: Arc<ReadClock>,
    session: Session,
    wire: Option<Wire>,
    /// By track.
    pairs: Vec<Option<Pair>>,
    /// Bytes of the control connection that are no whole message yet.
    rest: Vec<u8>,
    /// Until then the camera has to agree to play; `None` once it did.
    play_by: Option<Instant>,
    /// When the first frame came.
    first: Option<Instant>,
    /// Whether the last reading brought a burst.
    burst: bool,
    /// Whether the camera was seen to send more than it may without window scaling.
    is_scaled: bool,
    reading: Reading,
    /// The most bytes that a reading brought lately.
    peak: usize,
    /// The sink asked not to be given more for so long.
    pause: Duration,
    over: bool,
}

impl Connection {
    pub(super) fn new(
        settings: SourceSettings,
        sink: Arc<dyn UnitSink>,
        take_over: Option<TakeOver>,
        shared: Arc<Shared>,
        thread: &Thread,
    ) -> Self {
        let replay = if let Play::OnvifReplay(range) = settings.play { Some(range) } else { None };
        let (quirks, ticks) = (thread.quirks.clone(), thread.ticks.clone());
        let quirk = quirks.of(&settings.url);
        let play_by = Instant::now() + settings.answer_within();
        let session = Session::new(
            SessionSettings {
                url: settings.url.clone(),
                username: settings.username.clone(),
                password: settings.password.clone(),
                allow_basic: settings.allow_basic,
                avoid_sha256: quirk.avoid_sha256,
                avoid_keep_alives: quirk.avoid_keep_alives,
                transport: settings.transport,
                audio: settings.audio,
                replay,
                user_agent: USER_AGENT.to_owned(),
                answer_within: settings.answer_within(),
            },
            Instant::now(),
        );
        Self {
            settings,
            sink,
            take_over,
            shared,
            quirks,
            ticks,
            session,
            wire: None,
            pairs: Vec::new(),
            rest: Vec::new(),
            play_by: Some(play_by),
            first: None,
            burst: false,
            is_scaled: false,
            reading: Reading::Often,
            peak: 0,
            pause: Duration::ZERO,
            over: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.carry_out().await;
            if self.over {
                return;
            }
            if self.shared.closing.load(Relaxed) {
                return self.leave().await;
            }
            self.wait().await;
            self.read();
            let now = Instant::now();
            if self.session.next_timeout().is_some_and(|due| due <= now) {
                self.session.timeout(now);
            }
            if self.play_by.is_some_and(|due| due <= now) {
                let detail = "the camera accepts the connection but does not answer";
                return self.fail(StreamError::new(StreamErrorKind::Silent, detail));
            }
        }
    }

    /// Carries out what the session asks for, and hands on what it received.
    async fn carry_out(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect { host, port, tls } => self.connect(&host, port, tls).await,
                Output::OpenPorts { track } => self.open_ports(track).await,
                Output::Send(bytes) => self.send(&bytes),
                Output::SendDatagram { track, is_rtcp, port, bytes } => {
                    if let Some(Some(pair)) = self.pairs.get(track) {
                        pair.send(is_rtcp, port, &bytes);
                    }
                }
                Output::Described(described) => {
                    let description = Description {
                        url: described.url,
                        codec: described.codec,
                        audio: described.audio,
                        audio_offered: described.audio_offered,
                        fingerprint: self.wire.as_ref().and_then(Wire::fingerprint),
                        source: SourceKind::Native,
                        fallback: None,
                    };
                    self.sink.event(SourceEvent::Described(Box::new(description)));
                }
                Output::Video(unit) => {
                    self.play_by = None;
                    if self.first.is_none() {
                        self.first = Some(unit.arrived);
                        self.poll_from_now_on();
                    }
                    self.pause = self.pause.max(self.sink.video(unit));
                }
                Output::Audio(unit) => self.sink.audio(unit),
                Output::Playing => self.play_by = None,
                Output::Ended => self.fail(bus::ended()),
                Output::Failed(SessionError::Stream(error)) => self.fail(error),
                Output::Failed(SessionError::Refused { error, try_md5 }) => {
                    self.quirks.change(&self.settings.url, |quirk| quirk.avoid_sha256 = try_md5);
                    self.fail(error);
                }
                Output::Failed(SessionError::Unsupported(why)) => self.give_up(why),
            }
            if self.over {
                return;
            }
        }
        let status = Status { damage: self.session.damage() };
        *self.shared.status() = status;
    }

    async fn connect(&mut self, host: &str, port: u16, tls: bool) {
        // There is never a second connection beside the first.
        self.wire = None;
        if self.shared.closing.load(Relaxed) {
            return;
        }
        self.rest.clear();
        self.pairs.clear();
        let pinned = self.settings.tls_fingerprint.clone();
        let connected = tokio::select! {
            connected = Wire::connect(host, port, tls, pinned) => connected,
            () = self.shared.wake.notified() => return,
        };
        match connected {
            Ok(wire) => {
                self.wire = Some(wire);
                self.session.connected(Instant::now());
            }
            Err(Failure::Stream(error)) => self.session.connect_failed(error),
            Err(Failure::Unsupported(why)) => self.give_up(why),
        }
    }

    async fn open_ports(&mut self, track: usize) {
        let Some(peer) = self.wire.as_ref().map(Wire::peer) else { return };
        let bound = match Pair::bind(peer).await {
            Ok(pair) => pair.port().map(|port| (pair, port)),
            Err(error) => Err(error),
        };
        match bound {
            Ok((pair, port)) => {
                self.pairs.resize_with(self.pairs.len().max(track + 1), || None);
                if let Some(slot) = self.pairs.get_mut(track) {
                    *slot = Some(pair);
                }
                self.session.udp_ports(track, port, Instant::now());
            }
            Err(error) => self.session.connect_failed(StreamError::new(
                StreamErrorKind::Internal,
                format!("no ports for datagrams are free: {error}"),
            )),
        }
    }

    /// Frames come through the control connection: from now on it is read by the clock.
    fn poll_from_now_on(&mut self) {
        if self.pairs.iter().any(Option::is_some) {
            return;
        }
        match self.wire.take().map(Wire::poll_from_now_on) {
            Some(Ok(wire)) => self.wire = Some(wire),
            Some(Err(error)) => self.fail(broken(&error)),
            None => {}
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(wire) = &mut self.wire
            && let Err(error) = wire.send(bytes)
        {
            self.session.disconnected(Instant::now(), Some(&error.to_string()));
        }
    }

    /// Waits until something is to be read or to be done.
    async fn wait(&mut self) {
        let polled = self.wire.is_some() && self.pairs.is_empty();
        let Some(first) = self.first.filter(|_| polled) else { return self.wait_for_bytes().await };
        let sooner = match () {
            () if self.burst => READ_BURST_EVERY,
            () if first.elapsed() < FIRST => READ_FIRST_EVERY,
            () => Duration::ZERO,
        };
        let pause = self.pause.max(sooner);
        let read = async {
            if !pause.is_zero() {
                return sleep(pause).await;
            }
            // What else is due is seen at the same moments.
            self.ticks.next(self.reading).await;
        };
        tokio::select! {
            () = self.shared.wake.notified() => {}
            () = read => {}
        }
    }

    async fn wait_for_bytes(&mut self) {
        let due = self.session.next_timeout().into_iter().chain(self.play_by).min();
        let due = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let Self { wire, pairs, .. } = &*self;
        let read = async {
            let Some(wire) = wire else { return std::future::pending().await };
            let datagrams: Vec<_> = pairs.iter().flatten().map(|pair| Box::pin(pair.readable())).collect();
            if datagrams.is_empty() {
                // An error comes back from the reading.
                let _ = wire.readable().await;
            } else {
                tokio::select! {
                    _ = wire.readable() => {}
                    _ = select_all(datagrams) => sleep(DATAGRAMS_WITHIN).await,
                }
            }
        };
        tokio::select! {
            () = self.shared.wake.notified() => {}
            () = due => {}
            () = read => {}
        }
    }

    /// Reads what is there, from all sockets.
    fn read(&mut self) {
        self.pause = Duration::ZERO;
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let read = self.read_wire(scratch);
            self.read_datagrams(scratch);
            read
        });
        self.session.flush(Instant::now());
        match read {
            Ok(bytes) => {
                let room = self.wire.as_ref().map_or(0, Wire::room);
                self.burst = bytes > room / BURST_PART;
                self.peak = bytes.max(self.peak - self.peak / PEAK_DECAY);
                let most = if self.is_scaled { room / READ_SELDOM_PART } else { READ_SELDOM_UNSCALED_BYTES };
                let is_often = self.peak > most || self.sink.is_watched();
                self.reading = if is_often { Reading::Often } else { Reading::Seldom };
            }
            Err(error) => {
                self.wire = None;
                let orderly = error.kind() == io::ErrorKind::UnexpectedEof;
                let text = error.to_string();
                self.session.disconnected(Instant::now(), (!orderly).then_some(text.as_str()));
            }
        }
        if let Some(wire) = &mut self.wire
            && let Err(error) = wire.flush()
        {
            self.session.disconnected(Instant::now(), Some(&error.to_string()));
        }
    }

    /// Reads the control connection; gives the number of bytes.
    fn read_wire(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(wire) = &mut self.wire else { return Ok(0) };
        let (mut filled, mut total) = (self.rest.len(), 0);
        let Some(kept) = scratch.get_mut(..filled) else {
            return Err(io::Error::other("it sends a message without end"));
        };
        kept.copy_from_slice(&self.rest);
        self.rest.clear();
        let ended = loop {
            let Some(free) = scratch.get_mut(filled..).filter(|free| !free.is_empty()) else {
                break Err(io::Error::other("it sends a message without end"));
            };
            match wire.read(free) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    // A little may be what the kernel had before the rest came; TLS gives out one record at a time.
                    let is_all = !wire.is_tls() && (READ_ALL_BYTES..free.len()).contains(&read);
                    (filled, total) = (filled + read, total + read);
                    self.is_scaled |= read > UNSCALED_BYTES;
                    let came = scratch.get(..filled).unwrap_or_default();
                    let used = self.session.input(came, Instant::now()).min(filled);
                    scratch.copy_within(used..filled, 0);
                    filled -= used;
                    let most = if self.first.is_some() { READING_BYTES } else { READING_BYTES_BEFORE };
                    if total >= most || is_all {
                        break Ok(total);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(total),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.rest.extend_from_slice(scratch.get(..filled).unwrap_or_default());
        ended
    }

    fn read_datagrams(&mut self, scratch: &mut [u8]) {
        for (track, pair) in self.pairs.iter().enumerate() {
            let Some(pair) = pair else { continue };
            for is_rtcp in [false, true] {
                for _ in 0..READING_DATAGRAMS {
                    let Some(length) = pair.read(is_rtcp, scratch) else { break };
                    let Some(datagram) = scratch.get(..length).filter(|of| !of.is_empty()) else { continue };
                    self.session.datagram(track, is_rtcp, datagram, Instant::now());
                }
            }
        }
    }

    /// Takes leave of the camera, so that it is free for the next session at once.
    async fn leave(&mut self) {
        self.session.stop(Instant::now());
        while let Some(output) = self.session.poll() {
            if let Output::Send(bytes) = output {
                self.send(&bytes);
            }
        }
        let Some(mut wire) = self.wire.take() else { return };
        wire.shut_down();
        // What it still sends is read, or the kernel would answer it with a reset that may overtake the request.
        let until_end = async {
            let mut nothing = [0; 16 * 1024];
            loop {
                match wire.read(&mut nothing) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        sleep(READ_FIRST_EVERY).await;
                    }
                    // Others are served meanwhile, and the time is watched.
                    Ok(read) if read > 0 => tokio::task::yield_now().await,
                    _ => return,
                }
            }
        };
        let _ = timeout(LEAVE_WITHIN, until_end).await;
    }

    fn fail(&mut self, error: StreamError) {
        let fatal = self.session.facts().fatal_keep_alive;
        self.quirks.change(&self.settings.url, |quirk| quirk.ended(fatal));
        self.over = true;
        // The camera is to be free for the next session.
        self.session.stop(Instant::now());
        while let Some(output) = self.session.poll() {
            if let Output::Send(bytes) = output {
                self.send(&bytes);
            }
        }
        self.wire = None;
        self.sink.event(SourceEvent::Lost(error));
    }

    /// The camera cannot be received here.
    fn give_up(&mut self, why: String) {
        // rtspsrc answers whatever challenge comes with what it has: a camera must not bring that about by what it declares.
        let is_safe = |of: &SourceSettings| of.username.is_none() || of.allow_basic || of.url.tls();
        match self.take_over.take().filter(|_| is_safe(&self.settings)) {
            Some(take_over) => {
                self.over = true;
                self.wire = None;
                take_over(why);
            }
            None => self.fail(StreamError::new(
                StreamErrorKind::Protocol,
                format!("the native source cannot receive this camera: {why}; source = rtspsrc may"),
            )),
        }
    }
}

fn broken(error: &io::Error) -> StreamError {
    StreamError::new(StreamErrorKind::Ended, format!("the connection to the camera broke: {error}"))
}
