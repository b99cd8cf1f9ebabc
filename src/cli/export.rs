//! `watchkeeper export`: a stretch of footage into one file. The file appears under its name when it is whole, and
//! replaces nothing; whatever ends the command before leaves nothing behind.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread,
    time::Duration,
};

use clap::Args;
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::{
    Env, Output, camera,
    client::{Client, WITHIN},
    fail::{Failure, Verdict},
    term, view,
    when::{self, When},
};
use crate::base::CameraId;

const BLOCK_BYTES: usize = 256 * 1024;
/// The service gives up on a client after a minute; no less is expected of it.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// As shells tell of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The camera; also one that was removed
    camera: CameraId,
    /// Where the clip begins: 2026-11-20T10:00:00Z, 2026-11-20, today, yesterday, -2h, -30m
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: When,
    /// Where it ends, at most 24 hours later
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: When,
    /// The file to write, which must not be there yet; the manifest goes to FILE.json. Without it: camera and times, in
    /// the current directory
    #[arg(short, long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What the service says of an export.
#[derive(Deserialize)]
struct Job {
    id: u32,
    file_name: String,
    bytes_expected: u64,
    gaps: Vec<Value>,
}

#[derive(Deserialize)]
struct Manifest {
    file: Option<Written>,
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    path: String,
    left_out: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    bytes: u64,
    blake3: String,
}

pub(super) fn export(env: &mut Env, wanted: &Export) -> anyhow::Result<Verdict> {
    let Export { camera: id, from, to, output_file, output } = wanted;
    let (client, now) = (env.client()?, when::now());
    let (from, to) = when::range(*from, *to, &now)?;
    if let Some(file) = output_file {
        nothing_there(file)?;
    }
    let asked = json!({ "from": from.rfc3339(), "to": to.rfc3339(), "format": "mp4" });
    let job: Job = view::read(&client.post(&format!("{}/exports", camera::path(id)), &asked, WITHIN)?)?;
    let path = format!("/api/v1/exports/{}", job.id);
    let file = output_file.clone().unwrap_or_else(|| job.file_name.clone().into());
    let manifest = take(&client, &job, &path, &file);
    // It would be forgotten anyway.
    let _ = client.delete(&path);
    let (manifest, hash) = manifest?;
    for segment in view::read::<Manifest>(&manifest)?.segments {
        if let Some(why) = segment.left_out {
            term::note(&format!("{} is not in it, or not all: {why}", segment.path));
        }
    }
    if output.json {
        env.out.json(&manifest)?;
    } else {
        env.out.line(&format!("{hash}  {}", file.display()))?;
    }
    if let count @ 1.. = job.gaps.len() {
        let gaps = if count == 1 { "gap is" } else { "gaps are" };
        term::note(&format!("{count} {gaps} listed in {}", beside(&file, "json").display()));
    }
    Ok(Verdict::Fine)
}

/// Takes the file and puts it and its manifest in their places; the manifest and the hash.
fn take(client: &Client, job: &Job, path: &str, file: &Path) -> anyhow::Result<(Value, String)> {
    nothing_there(file)?;
    let part = Part::new(beside(file, "part"))?;
    let (hash, bytes) = receive(client.stream(&format!("{path}/file"))?, &part, job.bytes_expected)?;
    let answer = client.get(&format!("{path}/manifest"))?;
    let manifest: Manifest = view::read(&answer)?;
    let whole = manifest.file.is_some_and(|said| said.bytes == bytes && said.blake3 == hash);
    if !whole {
        return Err(Failure::new("what came is not what the service sent").hint("try again").into());
    }
    let listed = beside(file, "json");
    let _undisturbed = part.finishing.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |what: &Path, error: io::Error| {
        Failure::new(format!("cannot write `{}`", what.display())).because(error)
    };
    let mut beside = File::create_new(&listed).map_err(|error| failed(&listed, error))?;
    let written = beside
        .write_all(format!("{answer:#}\n").as_bytes())
        .and_then(|()| beside.sync_all())
        .map_err(|error| failed(&listed, error))
        .and_then(|()| rename_new(&part.path, file).map_err(|error| failed(file, error)));
    if let Err(failure) = written {
        let _ = fs::remove_file(&listed);
        return Err(failure.into());
    }
    Ok((answer, hash))
}

/// Writes what comes into the unfinished file, and tells its hash and length.
fn receive(
    mut from: impl io::Read + Send + 'static,
    part: &Part,
    expected: u64,
) -> anyhow::Result<(String, u64)> {
    let (give, blocks) = sync_channel(4);
    // Reads aside, because reading has no deadline of its own. Ends with the process at the latest.
    thread::spawn(move || {
        loop {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            let read = from.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block);
            let is_last = !matches!(read, Ok(1..));
            if give.send(read.map(|_| block)).is_err() || is_last {
                return;
            }
        }
    });
    let progress = term::bytes_progress(expected, "exporting");
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    loop {
        let block = match blocks.recv_timeout(SILENT_FOR) {
            Ok(Ok(block)) => block,
            Ok(Err(error)) => {
                let failure = Failure::new("the export broke off").because(error);
                return Err(failure.hint("the service's log says why; try again").into());
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(Failure::new("the service sent nothing for a minute").hint("try again").into());
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if block.is_empty() {
            break;
        }
        hasher.update(&block);
        bytes += block.len() as u64;
        let written = (&part.file).write_all(&block);
        written.map_err(|error| part.failed(error))?;
        progress.set_position(bytes);
    }
    part.file.sync_all().map_err(|error| part.failed(error))?;
    progress.finish_and_clear();
    Ok((hasher.finalize().to_hex().to_string(), bytes))
}

/// A file that is not finished. Goes away with this value, and with Ctrl-C.
struct Part {
    path: PathBuf,
    file: File,
    /// Held while names are changed; Ctrl-C waits for that.
    finishing: Arc<Mutex<()>>,
}

impl Part {
    fn new(path: PathBuf) -> anyhow::Result<Self> {
        let finishing = Arc::new(Mutex::new(()));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let file = File::create_new(&path).map_err(|error| {
            let failure = Failure::new(format!("cannot write `{}`", path.display()));
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    failure.hint("another export writes it, or one was killed: remove it").because(error)
                }
                _ => failure.because(error),
            }
        })?;
        let (unfinished, undisturbed) = (path.clone(), finishing.clone());
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            let _undisturbed = undisturbed.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = fs::remove_file(unfinished);
            std::process::exit(INTERRUPTED);
        });
        Ok(Self { path, file, finishing })
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::new(format!("cannot write `{}`", self.path.display())).because(error)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is renamed there is none of this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// `clip.mp4` and `json` make `clip.mp4.json`.
fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

fn nothing_there(file: &Path) -> Result<(), Failure> {
    for path in [file, &beside(file, "json")] {
        if path.symlink_metadata().is_ok() {
            let failure = Failure::new(format!("`{}` is there already", path.display()));
            return Err(failure.hint("name another file with -o; nothing is overwritten"));
        }
    }
    Ok(())
}

/// Never replaces a file.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that do not know the flag; most of them know links, and a link replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(from, to),
        done => Ok(done?),
    }
}
