//! Looking at what cameras send: pictures of the last keyframe, probes, and the pipelines as text.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{interval, timeout},
};

use super::{Error, Picture, Probe, ProbeFound, Watchkeeper};
use crate::{
    base::{CameraId, Secret, error::Chain, mask, threads::on_thread},
    media::{
        look, snapshot,
        tap::{Keyframe, Seen},
    },
    model::{
        Camera,
        pipeline::{Purpose, SourceSettings, by_hand},
        segment::Codec,
        source::{Description, SourceEvent},
        status::{Shown, StreamError, StreamErrorKind},
    },
    source::session::{Session, Use},
};

/// Pictures are no wider than this, in pixels.
const PICTURE_WIDTH: u32 = 1280;
/// Pictures of probes.
const THUMBNAIL_WIDTH: u32 = 640;
/// A decoder that takes longer is left to its thread.
const DECODE_WITHIN: Duration = Duration::from_secs(6);
/// After the time for the first frame, a probe waits so long for rates.
const RATES_WITHIN: Duration = Duration::from_secs(6);
/// A probe looks so often whether it has seen enough.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was found, or why nothing was.
type Outcome = Result<ProbeFound, (StreamErrorKind, String)>;

/// The session of a look. It is closed when this is dropped, also when whoever asked has gone; on a thread, because
/// stopping blocks.
struct Looking {
    session: Option<Session>,
    /// Of a camera that we have: its stream, until the session is closed.
    held: Option<OwnedSemaphorePermit>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        let (session, held) = (self.session.take(), self.held.take());
        let _ = on_thread("probe end", move || {
            session.iter().for_each(Session::close);
            drop((session, held));
        });
    }
}

impl Watchkeeper {
    pub(super) fn pictures(&self) -> MutexGuard<'_, BTreeMap<CameraId, Picture>> {
        self.0.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, id: &CameraId) -> Result<Option<Arc<Session>>, Error> {
        self.with(id, |entry| entry.driver.session.borrow().clone())
    }

    /// The last keyframe that came, with its number since the service started.
    fn newest_keyframe(&self, id: &CameraId) -> Result<Option<(u64, Keyframe)>, Error> {
        let keyframe = self.session(id)?.and_then(|session| session.seen().keyframe);
        let before = self.with(id, |entry| entry.driver.keyframes_before.load(Relaxed))?;
        Ok(keyframe.map(|keyframe| (before + keyframe.number, keyframe)))
    }

    /// The number of the picture that `snapshot` gives now, without decoding it.
    pub fn snapshot_number(&self, id: &CameraId) -> Result<Option<u64>, Error> {
        let newest = self.newest_keyframe(id)?.map(|(number, _)| number);
        Ok(newest.or_else(|| self.pictures().get(id).map(|kept| kept.number)))
    }

    /// The last keyframe as a picture, decoded now unless it was before. Of a camera that is away, the last picture
    /// that somebody looked at.
    pub async fn snapshot(&self, id: &CameraId) -> Result<Picture, Error> {
        let newest = self.newest_keyframe(id)?;
        let kept = self.pictures().get(id).cloned();
        let Some((number, keyframe)) = newest else {
            return kept.ok_or_else(|| Error::NoPicture(id.clone()));
        };
        match kept {
            Some(kept) if kept.number == number => Ok(kept),
            _ => {
                let picture = Picture { number, jpeg: self.decode(keyframe, PICTURE_WIDTH).await? };
                // The camera may be deleted by now; its pictures went with it.
                self.with(id, |_| self.pictures().insert(id.clone(), picture.clone()))?;
                Ok(picture)
            }
        }
    }

    async fn decode(&self, keyframe: Keyframe, width: u32) -> Result<Bytes, Error> {
        let _turn = self.0.decoders.acquire().await.map_err(|_| Error::Internal("no decoders"))?;
        let texts = self.0.deps.texts.clone();
        let decoded = on_thread("picture", move || snapshot::jpeg(&texts, &keyframe, width))
            .map_err(|_| Error::Internal("cannot start a thread"))?;
        match timeout(DECODE_WITHIN, decoded).await {
            Ok(Ok(jpeg)) => Ok(jpeg?.into()),
            Ok(Err(_)) | Err(_) => Err(Error::Internal("the decoder does not answer")),
        }
    }

    /// A line for `gst-launch-1.0` that reproduces, with rtspsrc, what runs for a camera; secrets as `***`.
    pub fn pipeline_line(&self, id: &CameraId) -> Result<String, Error> {
        let camera = self.with(id, |entry| entry.camera.clone())?;
        let video = self.session(id)?.and_then(|session| session.seen().video);
        let codec = video.map_or(Codec::H264, |(codec, ..)| codec);
        let bindings = by_hand(&camera).map_err(|_| Error::Internal("a checked camera has no URL"))?;
        Ok(self.0.deps.texts.render(Purpose::Record(codec), &bindings, false)?)
    }

    /// The live graph of a camera as Graphviz text.
    pub fn pipeline_dot(&self, id: &CameraId) -> Result<String, Error> {
        let session = self.session(id)?.ok_or_else(|| Error::NotRunning(id.clone()))?;
        Ok(mask::urls(&session.dot()))
    }

    /// What a known camera sends. A camera that is being recorded is not connected to a second time: its own session
    /// is looked at, or the reason told why it has none.
    pub async fn probe_camera(&self, id: &CameraId) -> Result<Probe, Error> {
        let camera = self.with(id, |entry| entry.camera.clone())?;
        let (probed, found) = tokio::join!(self.probe_stream_of(id, &camera), self.find_way(&camera));
        Ok(Probe { refill: Some(found), ..probed? })
    }

    async fn probe_stream_of(&self, id: &CameraId, camera: &Camera) -> Result<Probe, Error> {
        let turn = self.0.probes.try_acquire().map_err(|_| Error::Busy)?;
        let url = self.source(camera)?.url.as_str().to_owned();
        if let Some(outcome) = self.look_at(id).await? {
            return self.looked_at(id, url, outcome);
        }
        drop(turn);
        self.probe_stream(camera).await
    }

    /// What a camera that is not saved sends, or one with other credentials. A password that is not given is that of the
    /// known camera `of`, if that is where it would go.
    pub async fn probe(&self, mut camera: Camera, of: Option<&CameraId>) -> Result<Probe, Error> {
        if camera.password.is_none()
            && camera.username.is_some()
            && let Some(Ok(known)) = of.map(|id| self.with(id, |entry| entry.camera.clone()))
        {
            camera.password = known.password_for(&camera);
            // It goes to nobody with another certificate either.
            camera.tls_fingerprint = camera.tls_fingerprint.or(known.tls_fingerprint);
        }
        let (probed, found) = tokio::join!(self.probe_stream(&camera), self.find_way(&camera));
        Ok(Probe { refill: Some(found), ..probed? })
    }

    async fn probe_stream(&self, camera: &Camera) -> Result<Probe, Error> {
        let _turn = self.0.probes.try_acquire().map_err(|_| Error::Busy)?;
        let settings = self.source(camera)?;
        let url = settings.url.as_str().to_owned();
        let began = Instant::now();
        // The stream may be one of a camera that we have; there is never a second session of it.
        let ours = self.entries().iter().find_map(|(id, entry)| {
            self.source(&entry.camera).is_ok_and(|of| of.url == settings.url).then(|| id.clone())
        });
        loop {
            let held = match &ours {
                Some(id) => self.stream(id, began + settings.connect_within + RATES_WITHIN).await?,
                None => None,
            };
            if ours.is_none() || held.is_some() {
                let ours = ours.as_ref().zip(held);
                if let Some(probe) = self.look_afresh(settings.clone(), began, ours).await? {
                    return Ok(probe);
                }
            }
            if let Some(id) = &ours
                && let Some(outcome) = self.look_at(id).await?
            {
                return self.looked_at(id, url, outcome);
            }
        }
    }

    /// The probe of a camera whose own session was looked at.
    fn looked_at(&self, id: &CameraId, url: String, outcome: Outcome) -> Result<Probe, Error> {
        self.with(id, |entry| {
            let status = entry.driver.status.borrow();
            let (source, source_fallback) = (status.source, status.source_fallback.clone());
            let certificate = entry.camera.tls_fingerprint.clone();
            Probe { url, certificate, outcome, refill: None, source, source_fallback }
        })
    }

    /// The stream of a camera of ours, for a session beside its driver; `None` if the driver is to have it.
    async fn stream(&self, id: &CameraId, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let free = self.with(id, |entry| entry.driver.stream.clone())?;
        let mut held = pin!(free.acquire_owned());
        let mut ticks = interval(LOOK_EVERY);
        loop {
            tokio::select! {
                held = &mut held => return Ok(held.ok()),
                _ = ticks.tick() => {
                    if self.wanted(id)? {
                        return Ok(None);
                    }
                    if Instant::now() >= deadline {
                        return Err(Error::Busy);
                    }
                }
            }
        }
    }

    /// Whether there is, or is to be, a session of this camera of ours.
    fn wanted(&self, id: &CameraId) -> Result<bool, Error> {
        self.with(id, |entry| entry.driver.in_use.load(Relaxed))
    }

    /// Looks at a session that is open, or about to be; `None` if there is to be none any more.
    async fn look_at(&self, id: &CameraId) -> Result<Option<Outcome>, Error> {
        let mut ticks = interval(LOOK_EVERY);
        let connect = self.with(id, |entry| entry.camera.connect_seconds)?;
        let deadline = Instant::now() + Duration::from_secs(connect.into()) + RATES_WITHIN;
        loop {
            ticks.tick().await;
            if !self.wanted(id)? {
                return Ok(None);
            }
            let (session, status) = self.with(id, |entry| {
                (entry.driver.session.borrow().clone(), entry.driver.status.borrow().clone())
            })?;
            let seen = session.map(|session| session.seen()).unwrap_or_default();
            let now = Instant::now();
            if look::enough(&seen, now) {
                return Ok(Some(Ok(self.found(&seen, None, None).await)));
            }
            let away = matches!(status.shown, Shown::Offline | Shown::Stalled | Shown::Error);
            if away || now >= deadline {
                let loss =
                    status.reason.and_then(StreamErrorKind::from_word).unwrap_or(StreamErrorKind::Silent);
                let detail = status.detail.unwrap_or_else(|| "no frame came in time".to_owned());
                return Ok(Some(Err((loss, detail))));
            }
        }
    }

    /// Looks with a session of its own; `None` if it gave way, because the camera is to be recorded now.
    async fn look_afresh(
        &self,
        settings: SourceSettings,
        began: Instant,
        ours: Option<(&CameraId, OwnedSemaphorePermit)>,
    ) -> Result<Option<Probe>, Error> {
        let (ours, held) = ours.unzip();
        let (tell, mut told) = mpsc::unbounded_channel();
        let (password, url) = (settings.password.clone(), settings.url.as_str().to_owned());
        let within = settings.connect_within + RATES_WITHIN;
        let nothing = Probe {
            url,
            certificate: None,
            outcome: Err((StreamErrorKind::Internal, String::new())),
            refill: None,
            source: None,
            source_fallback: None,
        };
        let events = move |event| {
            let _ = tell.send(event);
        };
        let mut login = match self.0.deps.logins.admit(&settings).await {
            Ok(login) => login,
            Err((error, _)) => {
                return Ok(Some(Probe { outcome: Err((error.kind, error.detail)), ..nothing }));
            }
        };
        let session =
            match Session::open(&self.0.deps.sources, settings, Use::Look("probe".to_owned()), events) {
                Ok(session) => session,
                Err(error) => {
                    let outcome = Err((StreamErrorKind::Internal, Chain(&error).to_string()));
                    return Ok(Some(Probe { outcome, ..nothing }));
                }
            };
        let looking = Looking { session: Some(session), held };
        let mut described: Option<Box<Description>> = None;
        let mut ticks = interval(LOOK_EVERY);
        let outcome = loop {
            tokio::select! {
                Some(event) = told.recv() => match event {
                    SourceEvent::Described(description) => {
                        login.accepted();
                        described = Some(description);
                    }
                    SourceEvent::Lost(StreamError { kind, detail }) => {
                        login.lost(kind);
                        let password = password.as_ref().map(Secret::reveal).unwrap_or_default();
                        break Err((kind, mask::secret(&detail, password)));
                    }
                },
                _ = ticks.tick() => {
                    let seen = looking.session.as_ref().map(Session::seen).unwrap_or_default();
                    if look::enough(&seen, Instant::now()) {
                        break Ok(seen);
                    }
                    if let Some(id) = ours
                        && self.wanted(id)?
                    {
                        return Ok(None);
                    }
                    if began.elapsed() > within {
                        break Err((StreamErrorKind::Silent, "no frame came in time".to_owned()));
                    }
                }
            }
        };
        drop(looking);
        let outcome = match outcome {
            Ok(seen) => {
                let first = seen.first.and_then(|first| u64::try_from((first - began).as_millis()).ok());
                let audio = described.as_ref().and_then(|of| of.audio_offered.first().cloned());
                Ok(self.found(&seen, audio, first).await)
            }
            Err(lost) => Err(lost),
        };
        let Some(described) = described else { return Ok(Some(Probe { outcome, ..nothing })) };
        Ok(Some(Probe {
            certificate: described.fingerprint,
            outcome,
            source: Some(described.source),
            source_fallback: described.fallback,
            ..nothing
        }))
    }

    /// What opens the stream that is recorded.
    fn source(&self, camera: &Camera) -> Result<SourceSettings, Error> {
        SourceSettings::of(camera, self.0.deps.default_source)
            .map_err(|_| Error::Internal("a checked camera has no URL"))
    }

    async fn found(&self, seen: &Seen, audio: Option<String>, first_frame_ms: Option<u64>) -> ProbeFound {
        let thumbnail = match seen.keyframe.clone() {
            Some(keyframe) => self.decode(keyframe, THUMBNAIL_WIDTH).await.ok(),
            None => None,
        };
        ProbeFound { found: look::found(seen), audio, first_frame_ms, thumbnail }
    }
}
