//! A session that only receives and counts, over a source of the product, for measurements.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use watchkeeper::media::{self, text::Texts};
use watchkeeper::model::address::StreamUrl;
use watchkeeper::model::pipeline::SourceSettings;
use watchkeeper::model::source::{SourceChoice, SourceEvent, UnitSink};
use watchkeeper::model::status::StreamError;
use watchkeeper::model::unit::{AccessUnit, AudioUnit};
use watchkeeper::source::{Source, Sources};

#[derive(Args)]
pub(crate) struct Receive {
    /// What receives: native, rtspsrc or auto.
    #[arg(long, default_value = "native", value_parser = source)]
    source: SourceChoice,
    /// Stop after so many seconds; else on SIGINT or SIGTERM.
    #[arg(long)]
    seconds: Option<u64>,
    /// Streams without log-in; one session over TCP for each.
    #[arg(required = true, value_parser = url)]
    urls: Vec<StreamUrl>,
}

fn source(text: &str) -> Result<SourceChoice, String> {
    SourceChoice::from_word(text).ok_or_else(|| "want native, rtspsrc or auto".to_owned())
}

fn url(text: &str) -> Result<StreamUrl, String> {
    StreamUrl::parse(text).map_err(|error| error.to_string())
}

/// Counts the units of one stream.
#[derive(Debug, Default)]
struct Counter {
    units: AtomicU64,
    keyframes: AtomicU64,
    /// Without RTP headers and without parameter sets.
    bytes: AtomicU64,
    /// The first reason why the stream ended.
    ended: OnceLock<StreamError>,
}

impl UnitSink for Counter {
    fn video(&self, unit: AccessUnit) -> Duration {
        self.units.fetch_add(1, Relaxed);
        self.keyframes.fetch_add(u64::from(unit.key), Relaxed);
        self.bytes.fetch_add(unit.data.len() as u64, Relaxed);
        Duration::ZERO
    }

    fn audio(&self, _: AudioUnit) {}

    fn is_watched(&self) -> bool {
        false
    }

    fn event(&self, event: SourceEvent) {
        if let SourceEvent::Lost(error) = event {
            // Later reports repeat it in other words.
            let _ = self.ended.set(error);
        }
    }
}

struct Stream {
    url: StreamUrl,
    source: Box<dyn Source>,
    counter: Arc<Counter>,
}

/// Receives until it is told to stop. Prints a line of JSON for each stream then, and at each SIGUSR1. Fails if a stream
/// ended by itself.
pub(crate) fn run(options: Receive) -> anyhow::Result<ExitCode> {
    media::init()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let streams = runtime.block_on(async {
        let sources = Sources::new(Texts::default())?;
        let mut streams = Vec::new();
        for url in options.urls {
            let counter = Arc::new(Counter::default());
            let settings = SourceSettings { source: options.source, ..SourceSettings::new(url.clone()) };
            let source = sources.open(settings, url.as_str().to_owned(), counter.clone());
            streams.push(Stream { url, source, counter });
        }
        let mut asked = signal(SignalKind::user_defined1())?;
        let stop = stop_signal(options.seconds);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                stopped = &mut stop => break stopped?,
                _ = asked.recv() => print(&streams),
            }
        }
        print(&streams);
        anyhow::Ok(streams)
    })?;
    let ended = streams.iter().any(|stream| stream.counter.ended.get().is_some());
    let closing = runtime.spawn_blocking(move || streams.iter().for_each(|stream| stream.source.close()));
    runtime.block_on(closing).context("a source could not be closed")?;
    Ok(if ended { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn stop_signal(seconds: Option<u64>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
        () = over => Ok(()),
    }
}

fn print(streams: &[Stream]) {
    for Stream { url, source, counter } in streams {
        let line = json!({
            "url": url.as_str(),
            "units": counter.units.load(Relaxed),
            "keyframes": counter.keyframes.load(Relaxed),
            "bytes": counter.bytes.load(Relaxed),
            "lost": source.damage().lost_packets,
            "ended": counter.ended.get().map(|error| &error.detail),
        });
        println!("{line}");
    }
}
