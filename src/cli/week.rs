//! A schedule's row as one line of text: `mon-fri 08:00-18:00`, `sat,sun 22:00-06:00 off`, `daily 00:00-00:00`.

use crate::model::schedule::{Row, Schedule};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const FORM: &str = "is not of the form `DAYS HH:MM-HH:MM`, such as `mon-fri 08:00-18:00`, `sat,sun 22:00-06:00` or \
                    `daily 00:00-00:00`; `off` behind it keeps a row that does not count";

/// Reads a row, and says what is wrong with it.
pub(super) fn row(text: &str) -> Result<Row, String> {
    let row = parse(text).ok_or_else(|| format!("`{}` {FORM}", text.chars().take(60).collect::<String>()))?;
    Schedule::new(vec![row.clone()]).map_err(|bad| bad.to_string().replacen("schedule[0].", "", 1))?;
    Ok(row)
}

fn parse(text: &str) -> Option<Row> {
    let mut words = text.split_whitespace();
    let (days, times, off) = (words.next()?, words.next()?, words.next());
    let enabled = match off {
        None => true,
        Some("off") => false,
        Some(_) => return None,
    };
    let (start, end) = times.split_once('-')?;
    let row = Row { weekdays: weekdays(days)?, start: start.to_owned(), end: end.to_owned(), enabled };
    words.next().is_none().then_some(row)
}

fn weekdays(text: &str) -> Option<Vec<u8>> {
    if text == "daily" {
        return Some((0..7).collect());
    }
    let day = |name: &str| DAYS.iter().zip(0u8..).find(|(known, _)| **known == name).map(|(_, day)| day);
    let mut found = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `sat-mon` goes over the week's end.
        found.extend((0..=(last + 7 - first) % 7).map(|n| (first + n) % 7));
    }
    Some(found)
}

/// A row as [`row`] reads it.
pub(super) fn text(row: &Row) -> String {
    let Row { weekdays, start, end, enabled } = row;
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for day in weekdays.iter().copied() {
        match runs.last_mut() {
            Some((_, last)) if day == *last + 1 => *last = day,
            _ => runs.push((day, day)),
        }
    }
    let name = |day: u8| DAYS.get(usize::from(day)).copied().unwrap_or("?");
    let shown = |(first, last): &(u8, u8)| match last - first {
        0 => name(*first).to_owned(),
        1 => format!("{},{}", name(*first), name(*last)),
        _ => format!("{}-{}", name(*first), name(*last)),
    };
    let days = match *runs {
        [(0, 6)] => "daily".to_owned(),
        _ => runs.iter().map(shown).collect::<Vec<_>>().join(","),
    };
    format!("{days} {start}-{end}{}", if *enabled { "" } else { " off" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::subsequence};

    #[test]
    fn a_line_says_a_row() {
        for (line, weekdays, shown) in [
            ("mon-fri 08:00-18:00", vec![0, 1, 2, 3, 4], "mon-fri 08:00-18:00"),
            ("  sat,sun   22:00-06:00 off ", vec![5, 6], "sat,sun 22:00-06:00 off"),
            ("mon,wed-fri,sun 08:10-08:20", vec![0, 2, 3, 4, 6], "mon,wed-fri,sun 08:10-08:20"),
            ("mon-sun 00:00-00:00", vec![0, 1, 2, 3, 4, 5, 6], "daily 00:00-00:00"),
            ("sat-mon 00:00-00:00", vec![5, 6, 0], "sat,sun,mon 00:00-00:00"),
        ] {
            let row = row(line).unwrap();
            assert_eq!((&row.weekdays, text(&row).as_str()), (&weekdays, shown));
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        for (line, words) in [
            ("", "is not of the form"),
            ("mon", "is not of the form"),
            ("monday 08:00-18:00", "is not of the form"),
            ("mon- 08:00-18:00", "is not of the form"),
            ("mon 08:00", "is not of the form"),
            ("mon 08:00-18:00 on", "is not of the form"),
            ("mon 08:00-18:00 off off", "is not of the form"),
            ("mon 08:00-24:00", "end: write the midnight"),
            ("mon 8-18", "start: must be a time of day"),
            ("mon,mon 08:00-18:00", "weekdays[1]: 0 is there twice"),
        ] {
            let said = row(line).unwrap_err();
            assert!(said.contains(words), "{line}: {said}");
        }
    }

    proptest! {
        #[test]
        fn every_row_comes_back(weekdays in subsequence((0..7).collect::<Vec<u8>>(), 1..=7), enabled in any::<bool>(),
                                times in (0u8..24, 0u8..60, 0u8..24, 0u8..60)) {
            let (start, end) = (format!("{:02}:{:02}", times.0, times.1), format!("{:02}:{:02}", times.2, times.3));
            let given = Row { weekdays, start, end, enabled };
            prop_assert_eq!(row(&text(&given)), Ok(given));
        }

        #[test]
        fn no_text_is_a_panic(line in "\\PC{0,40}") {
            let _ = row(&line);
        }
    }
}
