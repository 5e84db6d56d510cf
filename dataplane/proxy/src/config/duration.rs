//! Durations in Go's spelling (`30s`, `1h30m`, `250ms`). Changes when another spelling is accepted.

use std::time::Duration;

/// Nanoseconds per unit, the longest first.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

/// Parses one or more numbers with units, each with an optional fraction; `0` needs no unit. `None` for anything else,
/// signs included: no setting here can be negative.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(scaled(number, nanos)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(total))
}

/// `number` times `nanos`, the fraction cut off below a nanosecond.
fn scaled(number: &str, nanos: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.checked_mul(nanos)? };
    // Digits beyond the eighteenth are far below a nanosecond in every unit.
    let digits = fraction.get(..18).unwrap_or(fraction);
    let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let numerator = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? };
    whole.checked_add(u64::try_from(u128::from(nanos) * numerator / scale).ok()?)
}

/// The shortest spelling that [`parse`] reads back as the same duration.
pub(crate) fn format(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let mut out = String::new();
    for (unit, size) in UNITS {
        if !unit.is_ascii() {
            continue;
        }
        let count = nanos / u128::from(size);
        if count > 0 {
            out.extend([count.to_string().as_str(), unit]);
            nanos %= u128::from(size);
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("3us", 3_000),
            ("1h1m1s1ms1us1ns", 3_661_001_001_001),
            ("0.3333333333333333333h", 1_199_999_999_999),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_negatives() {
        for text in [
            "",
            "3",
            "s",
            ".",
            ".s",
            "1x",
            "1 s",
            "-5s",
            "+5s",
            "1d",
            "1..5s",
            "99999999999h",
            "é",
            "5sm",
            "30S",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn formatting_reads_back(nanos in any::<u64>()) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9.hmsnuµ]{0,20}") {
            if let Some(duration) = parse(&text) {
                prop_assert_eq!(parse(&format(duration)), Some(duration));
            }
        }

        #[test]
        fn parts_add_up(hours in 0_u64..1000, minutes in 0_u64..1000, millis in 0_u64..100_000) {
            let text = format!("{hours}h{minutes}m{millis}ms");
            prop_assert_eq!(parse(&text), Some(Duration::from_millis(hours * 3_600_000 + minutes * 60_000 + millis)));
        }
    }
}
