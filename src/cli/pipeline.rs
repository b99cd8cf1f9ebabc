//! `watchkeeper pipeline`: the GStreamer pipelines as text and as a graph, and a check of the texts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Env, Output, camera,
    config::Config,
    fail::{Failure, Verdict},
    table::{Cell, Table},
    term,
};
use crate::{
    base::{CameraId, error::Chain, secret::Vault},
    media::{
        self,
        text::{self, Texts},
    },
    model::{
        pipeline::{Binding, BoundValue, Purpose, by_hand},
        segment::Codec,
        source::{SourceChoice, SourceKind},
    },
    store::{self, Store},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the pipeline texts: what each is for, and where it comes from
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Print a command line that reproduces what runs for a camera, passwords as ***
    ///
    /// It is a command for gst-launch-1.0, to try by hand what the service does. It opens a second connection to
    /// the camera, and writes its files into the current directory. It receives the camera with GStreamer's rtspsrc; a
    /// note tells if the service does so with its native source.
    Show {
        /// The camera
        camera: CameraId,
        /// With the password, read from the data directory; needs the rights of the service
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Print the graph of what runs for a camera, as Graphviz text
    ///
    /// For instance: watchkeeper pipeline dot front | dot -Tsvg > front.svg
    Dot {
        /// The camera
        camera: CameraId,
    },
    /// Check that every pipeline text parses and has the elements that the program needs
    Check {
        /// Directory whose *.launch files replace the built-in texts [that of the configuration]
        #[arg(long, value_name = "DIR")]
        pipelines: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
}

pub(super) fn run(env: &mut Env, command: Command) -> anyhow::Result<Verdict> {
    match command {
        Command::List { output } => list(env, output),
        Command::Show { camera, reveal, output } => {
            let (launch, source) = if reveal {
                revealed(&env.config, &camera)?
            } else {
                let answer = env.client()?.get(&format!("{}/pipeline", camera::path(&camera)))?;
                let text = |field| answer.get(field).and_then(Value::as_str);
                (
                    term::clean(text("launch").unwrap_or_default()),
                    text("source").and_then(SourceKind::from_word),
                )
            };
            let source = source.map(SourceKind::word);
            let launch = format!("gst-launch-1.0 -e {}", launch.trim_start_matches("gst-launch-1.0 ").trim());
            if output.json && reveal {
                // Not through `json`, which masks. The text is shell words, and has no control characters.
                env.out.raw(&format!("{}\n", json!({ "launch": launch, "source": source })))?;
            } else if output.json {
                env.out.json(&json!({ "launch": launch, "source": source }))?;
            } else {
                env.out.raw(&format!("{launch}\n"))?;
                if source == Some(SourceKind::Native.word()) {
                    term::note(&format!(
                        "the service receives `{camera}` with its native source; this command does it with rtspsrc"
                    ));
                }
            }
            Ok(Verdict::Fine)
        }
        Command::Dot { camera } => {
            let graph = env.client()?.text(&format!("{}/pipeline.dot", camera::path(&camera)))?;
            env.out.raw(&format!("{}\n", term::clean_block(graph.trim_end())))?;
            Ok(Verdict::Fine)
        }
        Command::Check { pipelines, output } => {
            let dir = pipelines.or_else(|| env.config.pipelines_dir.clone());
            check(env, dir, output)
        }
    }
}

/// The text's own first words about itself.
fn about(text: &str) -> &str {
    text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default()
}

/// Where the text for `purpose` comes from.
fn origin(dir: Option<&Path>, purpose: Purpose) -> String {
    let file = dir.map(|dir| dir.join(purpose.file())).filter(|file| file.exists());
    file.map_or_else(|| "built in".to_owned(), |file| file.display().to_string())
}

fn list(env: &mut Env, output: Output) -> anyhow::Result<Verdict> {
    let dir = env.config.pipelines_dir.clone();
    let texts = Texts::new(dir.clone());
    let mut table = Table::new(&["PURPOSE", "FILE", "FROM", "ABOUT"]);
    let mut all = Vec::new();
    for purpose in Purpose::ALL {
        let (file, from, text) = (purpose.file(), origin(dir.as_deref(), purpose), texts.get(purpose)?);
        let name = file.trim_end_matches(".launch");
        all.push(json!({ "purpose": name, "file": file, "from": from, "about": about(&text), "text": text }));
        table.row([Cell::from(name), file.into(), from.into(), about(&text).into()]);
    }
    if output.json {
        env.out.json(&json!({ "pipelines": all }))?;
    } else {
        env.out.table(&table)?;
    }
    Ok(Verdict::Fine)
}

/// The line with the password, from the database and the key file: the API never gives it away. Beside it, what receives the
/// camera in the service; `None` if that depends on the camera.
fn revealed(config: &Config, id: &CameraId) -> anyhow::Result<(String, Option<SourceKind>)> {
    let settings = config.settings();
    let vault = Vault::existing(&settings.key_file()).map_err(|error| {
        Failure::new("cannot open the vault of the passwords")
            .because(error)
            .hint("--reveal reads the service's data directory: run it as the user of the service")
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stored = runtime.block_on(async {
        let store = Store::open_read_only(&settings.database()).await?;
        let stored = store.camera(&vault, id).await;
        store.close().await;
        stored
    });
    let stored = match stored {
        Err(store::Error::NotFound { .. }) => {
            return Err(Failure::new(format!("there is no camera `{id}`"))
                .hint("`watchkeeper camera list` lists the cameras")
                .into());
        }
        other => other?,
    };
    if stored.password_unreadable {
        let failure = Failure::new("the password cannot be opened with this key");
        return Err(failure
            .hint(format!("set it again: `watchkeeper camera set {id} --password-stdin`"))
            .into());
    }
    let camera = stored.camera;
    let source = match camera.source.unwrap_or(settings.source) {
        SourceChoice::Native => Some(SourceKind::Native),
        SourceChoice::Rtspsrc => Some(SourceKind::Rtspsrc),
        SourceChoice::Auto => None,
    };
    // Rendering writes values as GStreamer does, which crashes before it is started.
    media::init()?;
    let texts = Texts::new(settings.pipelines_dir);
    Ok((texts.render(Purpose::Record(Codec::H264), &by_hand(&camera)?, true)?, source))
}

/// What the program takes from each text: values that it sets, and elements that it asks for by name.
fn needs(purpose: Purpose) -> (Vec<Binding>, &'static [&'static str]) {
    let set = |property, value: &str| Binding {
        element: "src",
        property,
        value: BoundValue::Plain(value.to_owned()),
    };
    let source = || {
        vec![
            set("location", "rtsp://192.0.2.7/x"),
            set("protocols", "tcp+udp"),
            set("user-id", "user"),
            set("user-pw", "password"),
        ]
    };
    match purpose {
        Purpose::Record(_) => (source(), &["src", "units", "split", "segments"]),
        Purpose::Replay(_) => (source(), &["src", "depay", "units", "split", "segments"]),
        Purpose::Probe(_) => (source(), &["src", "units", "split"]),
        Purpose::Audio(codec) if codec.stored() == codec => (source(), &["src", "sound", "track"]),
        Purpose::Audio(_) => (source(), &["src", "sound", "audiodepay", "track"]),
        Purpose::Snapshot(_) => (Vec::new(), &["camera", "depay", "units", "scaled", "jpeg", "out"]),
        Purpose::Sample(_) => (Vec::new(), &["camera", "depay", "units", "decoder", "scaled", "jpeg", "out"]),
    }
}

/// What is wrong with the text for `purpose`, and what to do about it.
fn flaw(texts: &Texts, purpose: Purpose) -> Option<(String, String)> {
    let (bindings, names) = needs(purpose);
    let file = purpose.file();
    if matches!(purpose, Purpose::Record(_) | Purpose::Probe(_))
        && texts.filters_source(purpose).is_ok_and(|filters| filters)
    {
        return Some((
            format!(
                "`{file}` links `src` through caps, which may leave the pictures unlinked when sound comes at the same moment"
            ),
            "link it to the depayloader itself, which takes nothing else: src. ! rtph264depay".to_owned(),
        ));
    }
    let wrong = match texts.pipeline(purpose, &bindings) {
        Ok(pipeline) => names.iter().find_map(|name| text::named(&pipeline, purpose, name).err()),
        Err(error) => Some(error),
    }?;
    let said = Chain(&wrong).to_string();
    let remedy = match &wrong {
        media::Error::Parse { .. } => match missing_element(&said) {
            Some(needed) => format!("install the package {}", needed.package),
            None => format!("try it by hand: gst-launch-1.0 with the words of `{file}`"),
        },
        media::Error::NoElement { element, .. } => {
            format!("give an element of `{file}` the name: name={element}")
        }
        media::Error::Text { .. } => {
            "make the file readable, or remove it to use the built-in text".to_owned()
        }
        _ => format!("compare `{file}` with the built-in text: `watchkeeper pipeline list --json`"),
    };
    Some((said, remedy))
}

/// The element that GStreamer says it does not have, if it is one whose package is known.
fn missing_element(said: &str) -> Option<&'static media::Needed> {
    let said: Vec<&str> = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    media::missing().into_iter().find(|needed| said.contains(&needed.element))
}

/// Files that look like texts and replace none.
fn strays(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries =
        fs::read_dir(dir).with_context(|| format!("cannot read the directory `{}`", dir.display()))?;
    let mut strays = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = Purpose::ALL.iter().any(|purpose| purpose.file() == name);
        if name.ends_with(".launch") && !known {
            strays.push(name);
        }
    }
    strays.sort();
    Ok(strays)
}

fn check(env: &mut Env, dir: Option<PathBuf>, output: Output) -> anyhow::Result<Verdict> {
    let strays = dir.as_deref().map(strays).transpose()?.unwrap_or_default();
    media::init()?;
    let texts = Texts::new(dir.clone());
    let mut table = Table::new(&["FILE", "FROM", "RESULT", "DETAIL"]);
    let (mut all, mut verdict) = (Vec::new(), Verdict::Fine);
    let mut add = |file: &str, from: String, result: &str, detail: String, remedy: Option<String>| {
        let said = match &remedy {
            Some(remedy) => format!("{detail}; {remedy}"),
            None => detail.clone(),
        };
        table.row([Cell::from(file), Cell::from(&from), Cell::word(result), said.into()]);
        all.push(json!({ "file": file, "from": from, "result": result, "detail": detail, "remedy": remedy }));
    };
    for purpose in Purpose::ALL {
        let from = origin(dir.as_deref(), purpose);
        match flaw(&texts, purpose) {
            None => {
                add(purpose.file(), from, "ok", "parses, and has what the program needs".to_owned(), None)
            }
            Some((said, remedy)) => {
                verdict = Verdict::Problems;
                add(purpose.file(), from, "problem", said, Some(remedy));
            }
        }
    }
    for stray in strays {
        let from = dir.as_deref().map(|dir| dir.join(&stray).display().to_string()).unwrap_or_default();
        let remedy = "`watchkeeper pipeline list` shows the names that are used".to_owned();
        add(&stray, from, "warning", "is used for nothing".to_owned(), Some(remedy));
    }
    if output.json {
        env.out.json(&json!({ "pipelines": all }))?;
    } else {
        env.out.table(&table)?;
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_texts_have_no_flaw_and_say_what_they_are_for() {
        media::init().unwrap();
        for purpose in Purpose::ALL {
            let texts = Texts::default();
            assert_eq!(flaw(&texts, purpose), None);
            assert!(about(&texts.get(purpose).unwrap()).len() > 10);
        }
    }

    #[test]
    fn a_flaw_is_named_with_its_remedy() {
        media::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let texts = Texts::new(Some(dir.path().to_owned()));
        let flaw_of = |text: &str| {
            fs::write(dir.path().join(Purpose::Record(Codec::H264).file()), text).unwrap();
            flaw(&texts, Purpose::Record(Codec::H264)).unwrap()
        };
        let (said, _) = flaw_of("nosuchelement name=src ! fakesink");
        assert!(said.contains("nosuchelement"), "{said}");
        let built_in = include_str!("../../pipelines/record-h264.launch");
        let (said, remedy) = flaw_of(&built_in.replace("name=segments", "name=files"));
        assert!(said.contains("`segments`") && remedy.contains("name=segments"), "{said}; {remedy}");
        assert_eq!(origin(Some(dir.path()), Purpose::Probe(Codec::H264)), "built in");
        fs::write(dir.path().join("other.launch"), "").unwrap();
        assert_eq!(strays(dir.path()).unwrap(), ["other.launch"]);
        assert!(strays(&dir.path().join("nowhere")).is_err());
    }
}
