//! Pipeline texts: loading them, making pipelines of them, setting values on named elements, and printing a text
//! with its values for `gst-launch-1.0`.

use std::{borrow::Cow, fs, path::PathBuf};

use gstreamer::{self as gst, prelude::*};

use super::Error;
use crate::model::{
    pipeline::{Binding, BoundValue, Purpose},
    segment::{AudioCodec, Codec},
};

/// Where texts come from: those built in, or a directory that replaces some of them.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    dir: Option<PathBuf>,
}

impl Texts {
    /// The texts built in, each replaced by the file of its name in `dir` if there is one.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// The text for `purpose`, comments and all.
    pub fn get(&self, purpose: Purpose) -> Result<Cow<'static, str>, Error> {
        if let Some(path) = self.dir.as_ref().map(|dir| dir.join(purpose.file()))
            && path.exists()
        {
            return fs::read_to_string(&path).map(Cow::Owned).map_err(|source| Error::Text { path, source });
        }
        Ok(Cow::Borrowed(match purpose {
            Purpose::Record(Codec::H264) => include_str!("../../pipelines/record-h264.launch"),
            Purpose::Record(Codec::H265) => include_str!("../../pipelines/record-h265.launch"),
            Purpose::Probe(Codec::H264) => include_str!("../../pipelines/probe-h264.launch"),
            Purpose::Probe(Codec::H265) => include_str!("../../pipelines/probe-h265.launch"),
            Purpose::Snapshot(Codec::H264) => include_str!("../../pipelines/snapshot-h264.launch"),
            Purpose::Snapshot(Codec::H265) => include_str!("../../pipelines/snapshot-h265.launch"),
            Purpose::Sample(Codec::H264) => include_str!("../../pipelines/sample-h264.launch"),
            Purpose::Sample(Codec::H265) => include_str!("../../pipelines/sample-h265.launch"),
            Purpose::Replay(Codec::H264) => include_str!("../../pipelines/replay-h264.launch"),
            Purpose::Replay(Codec::H265) => include_str!("../../pipelines/replay-h265.launch"),
            Purpose::Audio(AudioCodec::Aac) => include_str!("../../pipelines/audio-aac.launch"),
            Purpose::Audio(AudioCodec::Opus) => include_str!("../../pipelines/audio-opus.launch"),
            Purpose::Audio(AudioCodec::Pcma) => include_str!("../../pipelines/audio-pcma.launch"),
            Purpose::Audio(AudioCodec::Pcmu) => include_str!("../../pipelines/audio-pcmu.launch"),
        }))
    }

    /// A pipeline made of the text for `purpose`, with `bindings` set on it.
    pub fn pipeline(&self, purpose: Purpose, bindings: &[Binding]) -> Result<gst::Pipeline, Error> {
        let file = purpose.file();
        let parsed = gst::parse::launch(&without_comments(&self.get(purpose)?))
            .map_err(|source| Error::Parse { file, source })?;
        let pipeline = parsed.downcast::<gst::Pipeline>().map_err(|_| Error::Refused("make a pipeline"))?;
        for Binding { element, property, value } in bindings {
            let value = match value {
                BoundValue::Plain(value) => value,
                BoundValue::Secret(secret) => secret.reveal(),
            };
            set(&named(&pipeline, purpose, element)?, property, value)?;
        }
        Ok(pipeline)
    }

    /// Whether the text for `purpose` links `src` through caps. The parser then tries a capsfilter of its own for each pad that comes,
    /// in that pad's thread: where pictures and sound come at once, the two take the depayloader from each other, and now and then
    /// it ends up with no source, or with a freed pad for a peer (`gst_element_link_pads_filtered`, 1.22).
    pub fn filters_source(&self, purpose: Purpose) -> Result<bool, Error> {
        let words = split_words(&without_comments(&self.get(purpose)?));
        Ok(words.windows(3).any(|of| of[0] == "src." && of[1] == "!" && of[2].contains('/')))
    }

    /// The text for `purpose` on one line, with the bound values in it, to paste after `gst-launch-1.0`. Secrets
    /// stand as `***` unless `reveal` is set.
    pub fn render(&self, purpose: Purpose, bindings: &[Binding], reveal: bool) -> Result<String, Error> {
        let mut words: Vec<String> = split_words(&without_comments(&self.get(purpose)?));
        for Binding { element, property, value } in bindings {
            let value = match value {
                BoundValue::Secret(_) if !reveal => "***",
                BoundValue::Secret(secret) => secret.reveal(),
                BoundValue::Plain(value) => value,
            };
            let name = format!("name={element}");
            let at = words
                .iter()
                .position(|word| *word == name)
                .ok_or_else(|| Error::NoElement { file: purpose.file(), element: (*element).to_owned() })?;
            let end = words[at..].iter().position(|word| word == "!").map_or(words.len(), |n| at + n);
            let key = format!("{property}=");
            let word = format!("{key}{}", escaped(value));
            match words[at..end].iter().position(|word| word.starts_with(&key)) {
                Some(n) => words[at + n] = word,
                None => words.insert(at + 1, word),
            }
        }
        Ok(words.iter().map(|word| shell_quoted(word)).collect::<Vec<_>>().join(" "))
    }
}

/// Launch syntax has no comments: lines that begin with `#` are ours.
fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Words as a shell would see them if every line were quoted where it has quotes: white space inside double quotes
/// does not part words.
fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut inside) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        inside ^= c == '"';
        if c.is_whitespace() && !inside {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// A value in launch syntax, escaped where it could be taken for more: outside of quotes, because the parser takes a
/// backslash before a closing quote for an escape of that quote. What it then finds is read once more, as a serialised
/// string, if it begins with a double quote. Before all this, gst-launch-1.0 itself (`gst_parse_launchv`, 1.22) puts a
/// backslash before each blank of a word, but not after a double quote, whether that is escaped or not. (There is no way to write a value that ends with a backslash and has
/// words after it; such a password must be typed in by hand. The program itself never uses this.)
fn escaped(value: &str) -> String {
    if value.is_empty() {
        return "\"\"".to_owned();
    }
    let serialised = value.starts_with('"').then(|| value.to_value().serialize().ok()).flatten();
    let (mut out, mut after_quote) = (String::new(), false);
    for c in serialised.as_deref().unwrap_or(value).chars() {
        let left_to_launch = c == ' ' && !after_quote;
        if !left_to_launch && (c.is_whitespace() || "\\\"'".contains(c)) {
            out.push('\\');
        }
        out.push(c);
        after_quote |= c == '"';
    }
    out
}

/// A word for a POSIX shell.
fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,%+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The element of this name.
pub fn named(pipeline: &gst::Pipeline, purpose: Purpose, element: &str) -> Result<gst::Element, Error> {
    pipeline
        .by_name(element)
        .ok_or_else(|| Error::NoElement { file: purpose.file(), element: element.to_owned() })
}

/// Longer than any chain of elements in a text.
const CHAIN_MAX: usize = 16;

/// The elements from `first` to the one named `last`, along the source pads.
pub fn chain(
    pipeline: &gst::Pipeline,
    purpose: Purpose,
    first: &gst::Element,
    last: &str,
) -> Result<Vec<gst::Element>, Error> {
    let last = named(pipeline, purpose, last)?;
    let mut chain = vec![first.clone()];
    while let Some(end) = chain.last().filter(|end| **end != last && chain.len() < CHAIN_MAX) {
        let next = end.static_pad("src").and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
        chain.push(next.ok_or(Error::Refused("follow the elements of a text"))?);
    }
    Ok(chain)
}

/// Sets a property from text. Strings are taken as they are; every other type is read as `gst-launch-1.0` reads it.
/// A wrong name or value is an error, never a panic.
pub fn set(element: &gst::Element, property: &str, value: &str) -> Result<(), Error> {
    let wrong = || Error::NoProperty { element: element.name().to_string(), property: property.to_owned() };
    let spec = element.find_property(property).ok_or_else(wrong)?;
    if spec.value_type() == glib::Type::STRING {
        element.set_property(property, value);
        return Ok(());
    }
    let value = glib::Value::deserialize_with_pspec(value, &spec).map_err(|_| wrong())?;
    element.set_property_from_value(property, &value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Secret,
        model::{address::StreamUrl, pipeline::SourceSettings},
    };
    use proptest::prelude::*;

    fn source(password: &str) -> SourceSettings {
        SourceSettings {
            username: Some("admin".into()),
            password: Some(Secret::new(password)),
            ..SourceSettings::new(StreamUrl::parse("rtsp://192.0.2.7/a!b?c=%22").unwrap())
        }
    }

    #[test]
    fn every_text_parses_and_has_its_bindings() {
        gst::init().unwrap();
        let texts = Texts::default();
        let bindings = source("x").bindings();
        for purpose in Codec::ALL.iter().flat_map(|codec| [Purpose::Record(*codec), Purpose::Probe(*codec)]) {
            let pipeline = texts.pipeline(purpose, &bindings).unwrap();
            let src = named(&pipeline, purpose, "src").unwrap();
            assert_eq!(src.property::<String>("user-pw"), "x");
            named(&pipeline, purpose, "split").unwrap();
            assert!(!texts.filters_source(purpose).unwrap());
        }
        Codec::ALL.iter().for_each(|codec| drop(texts.pipeline(Purpose::Snapshot(*codec), &[]).unwrap()));
    }

    #[test]
    fn a_directory_replaces_texts_and_its_mistakes_are_named() {
        gst::init().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let texts = Texts::new(Some(dir.path().to_owned()));
        texts.pipeline(Purpose::Probe(Codec::H264), &[]).unwrap();
        fs::write(dir.path().join("probe-h264.launch"), "# nothing\nfakesrc name=other ! fakesink").unwrap();
        let error =
            texts.pipeline(Purpose::Probe(Codec::H264), &source("x").bindings()).unwrap_err().to_string();
        assert_eq!(error, "the pipeline text `probe-h264.launch` has no element named `src`");
        fs::write(dir.path().join("probe-h264.launch"), "fakesrc name=src ! fakesink").unwrap();
        let error =
            texts.pipeline(Purpose::Probe(Codec::H264), &source("x").bindings()).unwrap_err().to_string();
        assert!(error.contains("`location`"), "{error}");
        fs::write(dir.path().join("probe-h264.launch"), "fakesrc ! ! fakesink").unwrap();
        assert!(texts.pipeline(Purpose::Probe(Codec::H264), &[]).is_err());
    }

    #[test]
    fn a_value_is_never_syntax() {
        gst::init().unwrap();
        let texts = Texts::default();
        let count = |password| {
            let pipeline =
                texts.pipeline(Purpose::Record(Codec::H264), &source(password).bindings()).unwrap();
            pipeline.children().len()
        };
        assert_eq!(count("x"), count("x ! filesink location=/tmp/y"));
    }

    #[test]
    fn secrets_are_shown_only_when_asked_for() {
        let texts = Texts::default();
        let shown = texts.render(Purpose::Record(Codec::H264), &source("hunter2").bindings(), false).unwrap();
        assert!(shown.contains("***") && !shown.contains("hunter2") && !shown.contains('#'), "{shown}");
        let told = texts.render(Purpose::Record(Codec::H264), &source("hunter2").bindings(), true).unwrap();
        assert!(told.contains("hunter2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn what_is_rendered_parses_to_the_same_values(password in "[ -~]{0,20}[ -Z^-~]") {
            gst::init().unwrap();
            let texts = Texts::default();
            let line = texts.render(Purpose::Record(Codec::H264), &source(&password).bindings(), true).unwrap();
            let words = shell_words(&line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            // As gst-launch-1.0 does with what it gets from a shell.
            let pipeline = gst::parse::launchv(&words).unwrap().downcast::<gst::Pipeline>().unwrap();
            prop_assert_eq!(pipeline.by_name("src").unwrap().property::<String>("user-pw"), password);
        }
    }

    /// A shell's words, as far as `shell_quoted` uses a shell.
    fn shell_words(line: &str) -> Vec<String> {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s\\0' {line}")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }
}
