//! Tables for people: columns as wide as they must be, nothing cut off, colour only where it means something.

use super::term::clean;

/// What a cell's colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
        }
    }

    /// Of a camera's state, an event's severity or a check's outcome.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "recording" | "recorded" | "ok" | "closed" => Self::Good,
            "connecting" | "stalled" | "warning" | "open" | "behind" | "resyncing" => Self::Warning,
            "offline" | "error" | "problem" | "lost" | "missing" | "away" | "degraded" => Self::Bad,
            "disabled" | "idle" | "skipped" | "note" | "not wanted" | "unknown" => Self::Faint,
            _ => Self::Plain,
        }
    }
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A word that has a colour of its own.
    pub(super) fn word(word: &str) -> Self {
        Self { text: clean(word), tone: Tone::of(word) }
    }

    /// The same text in the colour of `word`.
    pub(super) fn toned_as(self, word: &str) -> Self {
        Self { tone: Tone::of(word), ..self }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: clean(text.as_ref()), tone: Tone::Plain }
    }
}

/// Rows of cells below a head, or names and values without one.
#[derive(Debug)]
pub(super) struct Table {
    /// Heads that begin with `>` are of columns that end at the right.
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    headless: bool,
    /// No column is narrower than this.
    at_least: Vec<usize>,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), headless: false, at_least: Vec::new() }
    }

    /// Names and values.
    pub(super) fn pairs() -> Self {
        Self { headless: true, ..Self::new(&["", ""]) }
    }

    /// Rows without a head, of columns that are at least so wide: for tables that follow each other.
    pub(super) fn stream(head: &[&'static str], at_least: &[usize]) -> Self {
        Self { headless: true, at_least: at_least.to_vec(), ..Self::new(head) }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn pair(&mut self, name: &str, value: impl Into<Cell>) {
        self.row([Cell { text: name.to_owned(), tone: Tone::Faint }, value.into()]);
    }

    pub(super) fn render(&self, colour: bool) -> String {
        let heads: Vec<Cell> = self
            .head
            .iter()
            .map(|head| Cell { text: head.trim_start_matches('>').to_owned(), tone: Tone::Faint })
            .collect();
        let rows: Vec<&Vec<Cell>> =
            (!self.headless).then_some(&heads).into_iter().chain(&self.rows).collect();
        let width = |n: usize| {
            rows.iter()
                .filter_map(|row| row.get(n))
                .map(|cell| cell.text.chars().count())
                .chain(self.at_least.get(n).copied())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        for row in rows {
            let mut line = String::new();
            for ((cell, width), head) in row.iter().zip(&widths).zip(&self.head) {
                let pad = " ".repeat(width.saturating_sub(cell.text.chars().count()));
                let text = match cell.tone.code().filter(|_| colour && !cell.text.is_empty()) {
                    Some(code) => format!("\x1b[{code}m{}\x1b[0m", cell.text),
                    None => cell.text.clone(),
                };
                if !line.is_empty() {
                    line.push_str("  ");
                }
                let (before, after) = if head.starts_with('>') { (&*pad, "") } else { ("", &*pad) };
                line.push_str(&format!("{before}{text}{after}"));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// `14.3 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.checked_ilog2().unwrap_or(0) / 10).min(4);
    match step {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / 1024f64.powi(step as i32), UNITS[step as usize]),
    }
}

/// `2.0 Mbit/s`.
pub(super) fn bit_rate(bits: u64) -> String {
    match bits {
        0..=999_999 => format!("{} kbit/s", bits / 1000),
        _ => format!("{:.1} Mbit/s", bits as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_colour_does_not_count() {
        let mut table = Table::new(&["ID", ">FPS", "STATE"]);
        table.row(["front".into(), "25.0".into(), Cell::word("recording")]);
        table.row(["yärd\x1b".into(), "9.5".into(), Cell::word("offline")]);
        let expected = "\
ID           FPS  STATE
front       25.0  recording
yärd\\u{1b}   9.5  offline
";
        assert_eq!(table.render(false), expected);
        let coloured = table.render(true);
        let plain: String =
            coloured.split('\x1b').map(|part| part.split_once('m').map_or(part, |p| p.1)).collect();
        assert!(coloured.contains("\x1b[31moffline\x1b[0m"));
        assert_eq!(plain.len(), expected.len() - "ID\n".len() + "ID\n".len());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [0, 1023, 1024, 15_000_000, u64::MAX].map(bytes)[..4],
            ["0 B", "1023 B", "1.0 KiB", "14.3 MiB"]
        );
        assert!(bytes(u64::MAX).ends_with("TiB"));
        assert_eq!([999_000, 2_000_000].map(bit_rate), ["999 kbit/s", "2.0 Mbit/s"]);
    }
}
