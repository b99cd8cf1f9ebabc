//! Conditional and partial requests (RFC 9110, sections 13 and 14), as far as files need them.

use axum::http::{HeaderMap, HeaderName, header};

/// What part of a file of a certain length is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, 200.
    Whole,
    /// `first..=last`, 206.
    Bytes { first: u64, last: u64 },
    /// No such bytes, 416.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `length` bytes. One range is served. Several are answered with the whole
/// file, and so is whatever is no byte range at all: RFC 9110 lets a server ignore `Range` as it likes.
pub(super) fn part(range: &str, length: u64) -> Part {
    let Some((unit, spec)) = range.split_once('=') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return Part::Whole };
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => satisfiable(first, u64::MAX, length),
        (Some(first), Some(last)) if first <= last => satisfiable(first, last, length),
        (_, Some(suffix)) if first.is_empty() => match suffix {
            0 => Part::Unsatisfiable,
            _ => satisfiable(length.saturating_sub(suffix), u64::MAX, length),
        },
        _ => Part::Whole,
    }
}

fn satisfiable(first: u64, last: u64, length: u64) -> Part {
    if first < length { Part::Bytes { first, last: last.min(length - 1) } } else { Part::Unsatisfiable }
}

/// Digits only; what does not fit is as good as infinite.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Whether the client already has `etag` (`If-None-Match`, compared weakly).
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The part to send. `Range` counts only if `If-Range`, where given, still names this very file.
pub(super) fn asked(headers: &HeaderMap, length: u64, etag: &str, modified: Option<&str>) -> Part {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(range) = text(header::RANGE) else { return Part::Whole };
    match text(header::IF_RANGE) {
        Some(known) if known != etag && Some(known) != modified => Part::Whole,
        _ => part(range, length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_ranges_are_served() {
        let bytes = |first, last| Part::Bytes { first, last };
        for (range, expected) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=0-99", bytes(0, 99)),
            ("bytes=10-19", bytes(10, 19)),
            ("Bytes=10-", bytes(10, 99)),
            ("bytes=90-1000", bytes(90, 99)),
            ("bytes=-10", bytes(90, 99)),
            ("bytes=-1000", bytes(0, 99)),
            ("bytes=0-99999999999999999999999", bytes(0, 99)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(range, 100), expected, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(part("bytes=-5", 0), Part::Unsatisfiable);
    }

    #[test]
    fn a_range_of_another_file_is_answered_with_the_whole() {
        let date = "Fri, 20 Nov 2026 10:00:00 GMT";
        let with = |if_range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, "bytes=1-2".parse().unwrap());
            headers.insert(header::IF_RANGE, if_range.parse().unwrap());
            asked(&headers, 100, "\"7-100\"", Some(date))
        };
        assert_eq!(with("\"7-100\""), Part::Bytes { first: 1, last: 2 });
        assert_eq!(with(date), Part::Bytes { first: 1, last: 2 });
        assert_eq!(with("\"7-99\""), Part::Whole);
        assert_eq!(with("W/\"7-100\""), Part::Whole);
        assert_eq!(with("Fri, 20 Nov 2026 10:00:01 GMT"), Part::Whole);
    }

    #[test]
    fn a_known_tag_is_seen_in_any_list() {
        let with = |value: &str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
            is_known(&headers, "\"a\"")
        };
        assert!(["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"].into_iter().all(with));
        assert!(!["\"b\"", "a", ""].into_iter().any(with));
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(range in "(bytes=)?[0-9,-]{0,12}|\\PC{0,20}", length in 0u64..2000) {
            if let Part::Bytes { first, last } = part(&range, length) {
                prop_assert!(first <= last && last < length);
            }
        }

        #[test]
        fn any_two_bytes_in_order_are_a_range(length in 1u64..5000, a in any::<u64>(), b in any::<u64>()) {
            let (a, b) = (a % length, b % length);
            let (first, last) = (a.min(b), a.max(b));
            prop_assert_eq!(part(&format!("bytes={first}-{last}"), length), Part::Bytes { first, last });
            let suffix = Part::Bytes { first: length - 1 - a, last: length - 1 };
            prop_assert_eq!(part(&format!("bytes=-{}", a + 1), length), suffix);
        }
    }
}
