//! Runs every target on its corpus, and on changes to it that are the same each time.

use std::{fs, path::Path, thread};

use super::{Check, TARGETS};

/// Inputs made of each target's corpus.
const CHANGED: usize = 2000;
/// Longest input that is made, in bytes.
const LENGTH_MAX: usize = 4096;

/// Random numbers that are the same each time (xorshift64*).
struct Random(u64);

impl Random {
    /// Less than `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (number as usize).checked_rem(bound).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// The target's inputs, in order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no inputs in {}", dir.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(7) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        2 => input.insert(at, random.byte()),
        3 => drop(input.drain(at..(at + 1 + random.below(8)).min(input.len()).max(at))),
        4 => input.truncate(at),
        5 => {
            let end = at + random.below(64).min(input.len() - at);
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            input.splice(at..at, other[from..].iter().copied());
        }
    }
    input.truncate(LENGTH_MAX);
}

/// Prints the input that was being checked if the check panics.
struct Checked<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}: \"{}\"", self.target, self.input.escape_ascii());
        }
    }
}

fn run(target: &str, check: Check, input: &[u8]) {
    let _shown_if_it_panics = Checked { target, input };
    check(input);
}

#[test]
fn everything_holds_for_the_corpus_and_changes_to_it() {
    for (target, check) in TARGETS {
        run(target, check, &[]);
        let corpus = corpus(target);
        corpus.iter().for_each(|input| run(target, check, input));
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for n in 0..CHANGED {
            let mut input = corpus[n % corpus.len()].clone();
            for _ in 0..=random.below(4) {
                change(&mut input, &corpus, &mut random);
            }
            run(target, check, &input);
        }
    }
}
