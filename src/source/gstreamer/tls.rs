//! TLS to cameras, the way rtspsrc does it: GIO, with the backend of glib-networking. Cameras sign their certificates
//! themselves, so none is judged by who signed it: the one that was seen first is pinned, by the SHA-256 of its DER form.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gio::prelude::*;
use gstreamer as gst;
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::status::{StreamError, StreamErrorKind},
    source::certificate_changed,
};

/// Why nothing can be done through TLS, and what to do about it.
pub const MISSING: &str = "GLib has no TLS; install the package glib-networking";
/// Each read or write has so long. Over all of them whoever asks has a deadline, and hangs up when it is over.
const STEP_WITHIN: Duration = Duration::from_secs(12);
const CHUNK: usize = 16 * 1024;

/// Whether there is TLS here at all.
pub fn available() -> bool {
    gio::TlsBackend::default().supports_tls()
}

/// A certificate's fingerprint: 64 hexadecimal digits.
fn fingerprint(certificate: &gio::TlsCertificate) -> Option<String> {
    let der = certificate.property::<Option<glib::ByteArray>>("certificate")?;
    let mut hash = glib::Checksum::new(glib::ChecksumType::Sha256)?;
    hash.update(&der);
    hash.string()
}

/// A connection through TLS, on a thread of its own, as GIO's steps block. Dropping it ends whatever step is under way.
#[derive(Debug)]
pub(super) struct TlsPipe {
    _hang_up: HangUp,
    steps: mpsc::UnboundedSender<Step>,
    /// Of the certificate that the camera shows.
    pub(super) fingerprint: String,
}

/// Shuts the connection down: a peer that dribbles for ever must not keep our thread.
#[derive(Debug)]
struct HangUp(TcpStream);

impl Drop for HangUp {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Bytes to be written, and then what is read next, if it is waited for.
type Step = (Vec<u8>, oneshot::Sender<std::io::Result<Vec<u8>>>);

impl TlsPipe {
    /// Shakes hands on a connection. The camera must show the certificate that is pinned, if one is.
    pub(super) async fn open(stream: TcpStream, pinned: Option<String>) -> Result<Self, StreamError> {
        let hang_up = stream.try_clone().map_err(|error| internal(error.to_string()))?;
        let _hang_up = HangUp(hang_up);
        let (steps, ordered) = mpsc::unbounded_channel();
        let (opened, is_opened) = oneshot::channel();
        std::thread::Builder::new()
            .name("tls".to_owned())
            .spawn(move || match handshake(stream, pinned.as_deref()) {
                Ok((connection, fingerprint)) => {
                    let _ = opened.send(Ok(fingerprint));
                    serve(&connection, ordered);
                }
                Err(lost) => {
                    let _ = opened.send(Err(lost));
                }
            })
            .map_err(|error| internal(format!("cannot start a thread: {error}")))?;
        let fingerprint = is_opened.await.map_err(|_| internal("the TLS thread died".to_owned()))??;
        Ok(Self { _hang_up, steps, fingerprint })
    }

    /// Writes, and gives what is read next; nothing at the end of the connection.
    pub(super) async fn exchange(&self, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let (answer, answered) = oneshot::channel();
        self.steps.send((bytes, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn internal(detail: String) -> StreamError {
    StreamError { kind: StreamErrorKind::Internal, detail }
}

fn handshake(
    stream: TcpStream,
    pinned: Option<&str>,
) -> Result<(gio::TlsClientConnection, String), StreamError> {
    let failed = |error: glib::Error| StreamError {
        kind: StreamErrorKind::Protocol,
        detail: format!("no TLS with the camera: {}", error.message()),
    };
    if !available() {
        return Err(internal(MISSING.to_owned()));
    }
    let socket = gio::Socket::from_fd(OwnedFd::from(stream)).map_err(failed)?;
    socket.set_timeout(u32::try_from(STEP_WITHIN.as_secs()).unwrap_or(u32::MAX));
    let connection = socket.connection_factory_create_connection();
    let tls = gio::TlsClientConnection::new(&connection, None::<&gio::SocketConnectable>).map_err(failed)?;
    // Without anchors no certificate passes by itself, so all are asked about.
    tls.set_database(None::<&gio::TlsDatabase>);
    let shown = Arc::new(Mutex::new(None));
    let (note, wanted) = (shown.clone(), pinned.map(str::to_owned));
    tls.connect_accept_certificate(move |_, certificate, _| {
        let found = fingerprint(certificate);
        let accepted = found.is_some() && wanted.as_ref().is_none_or(|wanted| found.as_ref() == Some(wanted));
        *note.lock().unwrap_or_else(PoisonError::into_inner) = found;
        accepted
    });
    let shaken = tls.handshake(None::<&gio::Cancellable>);
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (shaken, shown, pinned) {
        (Err(_), Some(shown), Some(pinned)) if shown != pinned => Err(certificate_changed(pinned, &shown)),
        (Err(error), ..) => Err(failed(error)),
        (Ok(()), Some(shown), _) => Ok((tls, shown)),
        (Ok(()), None, _) => Err(internal("a certificate was taken unseen".to_owned())),
    }
}

/// A list of anchors that nobody's certificate hangs on. rtspsrc takes a missing list for the system's, and GIO refuses an
/// empty one, so it holds one certificate: of nobody, expired, its key never kept.
fn nobody() -> Option<gio::TlsDatabase> {
    let memory = rustix::fs::memfd_create("anchors", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
    let mut file = File::from(memory);
    file.write_all(include_bytes!("nobody.pem")).ok()?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    gio::TlsFileDatabase::new(Path::new(&path)).ok().map(|database| database.upcast())
}

fn serve(connection: &gio::TlsClientConnection, mut steps: mpsc::UnboundedReceiver<Step>) {
    let mut input = connection.input_stream().into_read();
    let mut output = connection.output_stream().into_write();
    while let Some((bytes, answer)) = steps.blocking_recv() {
        let mut step = || {
            output.write_all(&bytes)?;
            let mut chunk = vec![0; CHUNK];
            let read = input.read(&mut chunk)?;
            chunk.truncate(read);
            Ok(chunk)
        };
        let done = step();
        let failed = done.is_err();
        if answer.send(done).is_err() || failed {
            break;
        }
    }
    let _ = connection.close(None::<&gio::Cancellable>);
}

/// Makes an rtspsrc talk to nobody who shows another certificate than this one. `lost` is called from its thread.
pub(super) fn guard(
    src: &gst::Element,
    pinned: &str,
    lost: impl Fn(StreamError) + Send + Sync + 'static,
) -> Result<(), super::Error> {
    let database = nobody().ok_or(super::Error::Refused("use TLS; install the package glib-networking"))?;
    src.set_property("tls-database", &database);
    let pinned = pinned.to_owned();
    src.connect("accept-certificate", false, move |values| {
        let certificate = values.get(2)?.get::<gio::TlsCertificate>().ok()?;
        let shown = fingerprint(&certificate).unwrap_or_default();
        if shown != pinned {
            lost(certificate_changed(&pinned, &shown));
        }
        Some((shown == pinned).to_value())
    });
    Ok(())
}
