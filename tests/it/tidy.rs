//! The house rules of ARCHITECTURE.md that a compiler does not keep. A new arrow or a new exception is an edit here,
//! seen in review.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use watchkeeper::model::pipeline::Purpose;

/// Which module may use which.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("model", &["base"]),
    ("store", &["base", "model"]),
    ("media", &["base", "model", "mp4"]),
    ("disk", &["base", "model"]),
    ("mp4", &["base", "model"]),
    ("rtsp", &["base", "model"]),
    ("source", &["base", "model", "rtsp", "media"]),
    ("run", &["base", "model", "store", "media", "source", "disk"]),
    ("api", &["base", "model", "run"]),
    ("cli", &["base", "model", "store", "media", "source", "disk", "run", "api"]),
];

/// Words that stand in these modules only, outside of their tests.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("gstreamer::", &["media", "source"]),
    ("gst::", &["media", "source"]),
    ("sqlx", &["store"]),
    ("axum", &["api"]),
    ("clap", &["cli"]),
    ("println!", &[]),
];

/// Words that must not stand in a module, outside of its tests.
const NEVER_IN: &[(&str, &[&str])] = &[(
    "model",
    &["async ", "Instant::now", "WallUs::now", "tracing", "std::fs", "TcpStream", "tokio", "rand::"],
)];

/// Lines of a file before it is too long to be read at once.
const LINES_MAX: usize = 700;
/// Files that are longer, and why.
const LONGER: &[(&str, &str)] = &[];

/// Every file below `dir` whose name ends so, by its path below the repository.
fn files(dir: &str, end: &str) -> Vec<(String, String)> {
    let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    let mut dirs = vec![root.join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.extend((path.file_name().unwrap() != "node_modules").then_some(path));
            } else if path.to_string_lossy().ends_with(end) {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no {end} below {dir}");
    found.sort();
    found
}

/// The module of a source file, if it is in one.
fn module(name: &str) -> Option<&str> {
    name.strip_prefix("src/")?.split_once('/').map(|(module, _)| module)
}

/// A file's lines without comments and without its tests.
fn code(name: &str, text: &str) -> String {
    if name.ends_with("/tests.rs") || name.contains("/tests/") {
        return String::new();
    }
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
        {
            break;
        }
        if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// What stands after `crate::` or, in a `use crate::{…}`, at its top level.
fn used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(first_word(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (n, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    found.insert(first_word(&group[start..n]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(first_word(&group[start..n]));
                    start = n + 1;
                }
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Fails with all of what was found.
#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn each_layer_uses_only_what_lies_below_it() {
    let (mut wrong, mut arrows) = (Vec::new(), BTreeSet::new());
    for (name, text) in files("src", ".rs") {
        let Some(module) = module(&name) else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == module) else {
            wrong.push(format!("{name}: the module `{module}` has no place among the layers"));
            continue;
        };
        for other in used(&code(&name, &text)) {
            if other != module && MAY_USE.iter().any(|(known, _)| *known == other) {
                arrows.insert((module.to_owned(), other.clone()));
                if !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{name}: {module} uses {other}"));
                }
            }
        }
    }
    let unused =
        MAY_USE.iter().flat_map(|(module, allowed)| allowed.iter().map(move |other| (module, other)));
    for (module, other) in unused {
        if !arrows.contains(&((*module).to_owned(), (*other).to_owned())) {
            wrong.push(format!("{module} may use {other} and does not: forbid it"));
        }
    }
    none(&wrong);
}

#[test]
fn what_belongs_to_one_module_is_nowhere_else() {
    let mut wrong = Vec::new();
    for (name, text) in files("src", ".rs") {
        let (module, code) = (module(&name).unwrap_or_default(), code(&name, &text));
        let has = |word: &str| {
            code.match_indices(word).any(|(at, _)| {
                let before = code[..at].chars().next_back().unwrap_or(' ');
                !before.is_alphanumeric() && before != '_' && before != '"'
            })
        };
        for (word, homes) in ONLY_IN {
            if has(word) && !homes.contains(&module) {
                wrong.push(format!("{name}: `{word}` belongs to {homes:?}"));
            }
        }
        for (_, words) in NEVER_IN.iter().filter(|(of, _)| *of == module) {
            wrong.extend(
                words.iter().filter(|word| has(word)).map(|word| format!("{name}: `{word}` in {module}")),
            );
        }
    }
    none(&wrong);
}

#[test]
fn every_file_says_what_it_is_and_can_be_read_at_once() {
    let mut wrong = Vec::new();
    let mut sources = files("src", ".rs");
    sources.extend(files("tests", ".rs"));
    for (name, text) in &sources {
        if !text.starts_with("//! ") {
            wrong.push(format!("{name}: begins without a `//!` that says what it is"));
        }
    }
    sources.extend(
        ["src", "tests"].iter().flat_map(|dir| {
            [".js", ".mjs", ".css", ".html"].iter().flat_map(move |end| all_or_none(dir, end))
        }),
    );
    for (name, text) in &sources {
        let lines = text.lines().count();
        if lines > LINES_MAX && !LONGER.iter().any(|(known, _)| known == name) {
            wrong.push(format!("{name}: {lines} lines; split it, or say why not"));
        }
        // Put together, so that this line is not one of them.
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")] {
            wrong.extend(text.contains(mark).then(|| format!("{name}: {mark}: do it, or make it an issue")));
        }
    }
    for (known, _) in LONGER {
        let long = sources.iter().any(|(name, text)| name == known && text.lines().count() > LINES_MAX);
        wrong.extend((!long).then(|| format!("{known}: is listed as long and is not")));
    }
    none(&wrong);
}

fn all_or_none(dir: &str, end: &str) -> Vec<(String, String)> {
    let known = [("src", ".mjs"), ("tests", ".js"), ("tests", ".css"), ("tests", ".html")];
    if known.contains(&(dir, end)) { Vec::new() } else { files(dir, end) }
}

#[test]
fn every_pipeline_text_has_its_purpose_and_says_how_to_try_it() {
    let known: BTreeSet<String> =
        Purpose::ALL.iter().map(|purpose| format!("pipelines/{}", purpose.file())).collect();
    let texts = files("pipelines", ".launch");
    assert_eq!(texts.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), known);
    for (name, text) in texts {
        assert!(text.contains(&format!("# By hand: scripts/launch {name}")), "{name}");
        assert!(text.contains("\n# Bound by name: "), "{name}");
    }
}
