//! The native source: one small driver over tokio for the protocol logic of `rtsp`. All cameras share one thread; a camera's socket is
//! read at moments that all share, not once for each packet, and a picture is handed on once.

mod connection;
mod ticks;
mod tls;
mod udp;
mod wire;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::sync::Notify;

use super::Source;
use crate::{
    model::{address::StreamUrl, pipeline::SourceSettings, source::UnitSink, unit::Damage},
    rtsp::session::KeepAliveMethod,
};
use connection::Connection;
use ticks::ReadClock;

/// A stop waits at most so long for the camera to take leave.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Opens another source in place of a native one that cannot receive a camera; takes the reason.
pub(super) type TakeOver = Box<dyn FnOnce(String) + Send>;

/// The thread that receives all native sources. Cheap to clone; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Receiver(Arc<Thread>);

struct Thread {
    runtime: tokio::runtime::Handle,
    end: Arc<Notify>,
    ticks: Arc<ReadClock>,
    quirks: Quirks,
}

/// What earlier sessions learned about devices, by host and port.
#[derive(Clone, Debug, Default)]
struct Quirks(Arc<Mutex<HashMap<(String, u16), Quirk>>>);

/// What is done differently with one device.
#[derive(Clone, Debug, Default)]
struct Quirk {
    /// It offers log-in by SHA-256 and MD5 and refused a password by SHA-256: the next attempt is made by MD5, so that none costs two
    /// log-ins.
    avoid_sha256: bool,
    /// It closed sessions because of these.
    avoid_keep_alives: Vec<KeepAliveMethod>,
    /// The last session ended at this one. Once may be chance.
    suspected: Option<KeepAliveMethod>,
}

impl Quirk {
    /// A session ended, perhaps because of a keep-alive.
    fn ended(&mut self, fatal: Option<KeepAliveMethod>) {
        let before = std::mem::replace(&mut self.suspected, fatal);
        if let Some(method) = fatal.filter(|_| before == fatal)
            && !self.avoid_keep_alives.contains(&method)
        {
            self.avoid_keep_alives.push(method);
        }
    }
}

impl Quirks {
    fn of(&self, url: &StreamUrl) -> Quirk {
        let quirks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        quirks.get(&(url.host().to_owned(), url.port())).cloned().unwrap_or_default()
    }

    fn change(&self, url: &StreamUrl, change: impl FnOnce(&mut Quirk)) {
        let mut quirks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(quirks.entry((url.host().to_owned(), url.port())).or_default());
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").finish_non_exhaustive()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end.notify_one();
    }
}

impl Receiver {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (handle, end) = (runtime.handle().clone(), Arc::new(Notify::new()));
        let (ended, ticks) = (end.clone(), Arc::new(ReadClock::default()));
        runtime.spawn(ticks.clone().run());
        thread::Builder::new().name("receive".into()).spawn(move || runtime.block_on(ended.notified()))?;
        Ok(Self(Arc::new(Thread { runtime: handle, end, ticks, quirks: Quirks::default() })))
    }
}

/// One session by the native source.
#[derive(Debug)]
pub(super) struct NativeSource {
    shared: Arc<Shared>,
    /// Keeps the thread alive.
    _receiver: Receiver,
}

/// What a source's task shares with those who ask for it.
#[derive(Debug, Default)]
struct Shared {
    status: Mutex<Status>,
    closing: AtomicBool,
    /// Wakes the task to see that it is to close.
    wake: Notify,
    ended: Mutex<bool>,
    on_end: Condvar,
}

/// What is told of a session without asking it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Status {
    damage: Damage,
}

impl NativeSource {
    /// Begins to open a stream; what comes of it goes to `sink`. If the camera cannot be received, `take_over` is called in place of
    /// an error.
    pub(super) fn open(
        receiver: &Receiver,
        settings: SourceSettings,
        sink: Arc<dyn UnitSink>,
        take_over: Option<TakeOver>,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let connection = Connection::new(settings, sink, take_over, shared.clone(), &receiver.0);
        let ending = Ending(shared.clone());
        receiver.0.runtime.spawn(async move {
            let _ending = ending;
            connection.run().await;
        });
        Self { shared, _receiver: receiver.clone() }
    }
}

/// Tells that the task is over, however it ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.on_end.notify_all();
    }
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for NativeSource {
    fn damage(&self) -> Damage {
        self.shared.status().damage
    }

    fn dot(&self) -> Option<String> {
        None
    }

    fn close(&self) {
        self.shared.closing.store(true, Relaxed);
        self.shared.wake.notify_one();
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.on_end.wait_timeout_while(ended, CLOSE_WITHIN, |ended| !*ended);
        if waited.is_ok_and(|(ended, _)| !*ended) {
            tracing::warn!("a native session did not end in time");
        }
    }
}

impl Drop for NativeSource {
    fn drop(&mut self) {
        self.shared.closing.store(true, Relaxed);
        self.shared.wake.notify_one();
    }
}
