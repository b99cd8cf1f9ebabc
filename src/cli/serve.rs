//! `watchkeeper serve`: the whole service in the foreground, until SIGTERM or SIGINT.

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
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

pub(super) fn serve(config: &Config) -> anyhow::Result<()> {
    log::start(&config.log).map_err(anyhow::Error::msg)?;
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
    let web = api::serve(listener, api::router(service.clone(), settings), async move {
        asked_to_stop.await;
        let _ = told.send(());
    });
    // The cameras do not wait for the web to be done, and the other way round.
    let cameras = async {
        let _ = stopped.await;
        service.stop().await;
    };
    tokio::join!(web, cameras);
    Ok(())
}
