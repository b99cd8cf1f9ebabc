//! `watchkeeper serve`: the whole service in the foreground, until SIGTERM or SIGINT.

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio, id},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::sleep,
};

use super::config::Config;
use crate::{
    api::{self, ApiSettings},
    base::log,
    media,
    run::Watchkeeper,
};

/// Two threads serve any number of cameras: they only pass things on. GStreamer has threads of its own.
const ASYNC_WORKERS: usize = 2;

/// The C library gives threads up to 8 memory arenas a core, and GLib before 2.76 keeps slabs of its own; what either
/// once held, it rarely gives back. Streaming threads come and go with every session, so the process grew by 6 MB in 320
/// reconnections. What is large enough to be worth a lock is not asked for often. And once a frame of 20 MB was freed, it
/// would take all such frames from the heap, which kept 140 MB after four of them: so this size is fixed. All are read only
/// when a process begins.
const MEMORY: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("G_SLICE", "always-malloc"), ("MALLOC_MMAP_THRESHOLD_", "4194304")];

/// Cameras, volume and rows have deadlines of their own, 7.8 s together; nothing else may hold a stop up.
const STOP_WITHIN: Duration = Duration::from_secs(8);

pub(super) fn serve(config: &Config) -> anyhow::Result<()> {
    log::start(&config.log).map_err(anyhow::Error::msg)?;
    if MEMORY.iter().any(|(name, _)| env::var_os(name).is_none()) {
        let again = env::current_exe().map(|program| {
            // Comes back only if it fails; the process stays the same one for whoever watches it.
            let unset = MEMORY.into_iter().filter(|(name, _)| env::var_os(name).is_none());
            Command::new(program).args(env::args_os().skip(1)).envs(unset).exec()
        });
        tracing::warn!("cannot start with {MEMORY:?}, memory may grow: {again:?}");
    }
    wake_in_batches();
    media::init()?;
    let missing = media::missing();
    if !missing.is_empty() {
        let names: Vec<String> =
            missing.iter().map(|needed| format!("{} ({})", needed.element, needed.package)).collect();
        anyhow::bail!("GStreamer elements are missing, install their packages: {}", names.join(", "));
    }
    let runtime = runtime::Builder::new_multi_thread().worker_threads(ASYNC_WORKERS).enable_all().build()?;
    let outcome = runtime.block_on(run(config));
    // A volume that hangs may hold a blocking task for ever.
    runtime.shutdown_background();
    outcome
}

/// Each packet that comes wakes the next thread, which pushes the receiving one aside, for the next packet again. As
/// batch work, threads run until they wait: a fifth less CPU for each camera. Threads inherit it, so it is said while
/// there is only one. Nothing depends on it.
fn wake_in_batches() {
    let done = Command::new("chrt")
        .args(["--batch", "--pid", "0", &id().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !done.as_ref().is_ok_and(|status| status.success()) {
        tracing::warn!("runs without the batch policy and so costs more CPU: chrt: {done:?}");
    }
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let service = Watchkeeper::start(&config.settings()).await?;
    let settings = ApiSettings { allowed_hosts: config.allowed_hosts.clone() };
    tracing::info!("serving on http://{}", listener.local_addr()?);
    let asked_to_stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    let (told, stopped) = oneshot::channel();
    let (begun, stopping) = oneshot::channel::<()>();
    let web = api::serve(listener, api::router(service.clone(), settings), async move {
        asked_to_stop.await;
        let _ = (told.send(()), begun.send(()));
    });
    // The cameras do not wait for the web to be done, and the other way round.
    let cameras = async {
        let _ = stopped.await;
        service.stop().await;
    };
    let late = async {
        let _ = stopping.await;
        sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        _ = async { tokio::join!(web, cameras) } => {}
        () = late => tracing::error!("the stop did not end in time, and is cut off"),
    }
    Ok(())
}
