//! Work that blocks runs on a thread of its own with a name: state changes of GStreamer may block for ever, and must
//! then hold up neither the async workers nor the shutdown.

use std::{io, thread};

use tokio::sync::oneshot;

/// Runs `work` on a new thread; the answer comes through the channel. A thread that hangs is left to itself.
pub fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (done, answer) = oneshot::channel();
    // Linux keeps 15 bytes of a thread's name.
    let name = name.chars().take(15).collect();
    thread::Builder::new().name(name).spawn(move || {
        // Nobody waiting any more is fine: the work was wanted for what it does.
        let _ = done.send(work());
    })?;
    Ok(answer)
}
