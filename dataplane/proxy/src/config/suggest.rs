//! "Did you mean": the closest known name. Changes when suggestions should be bolder or shyer.

/// The known name that `typed` most likely means, if any is close.
pub(crate) fn closest<'k>(typed: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let mut distance = edit_distance(&typed, name);
        if is_part(&typed, name) || is_part(name, &typed) {
            distance = distance.min(2);
        }
        let near = distance <= (typed.len().max(name.len()) / 3).clamp(1, 3);
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Whether `part` is a run of whole words of `name`, for example `discovery` of `service_discovery`.
fn is_part(part: &str, name: &str) -> bool {
    part.len() > 3
        && (name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            || name.strip_suffix(part).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 8] = [
        "port",
        "host",
        "tls",
        "metrics_port",
        "health_port",
        "service_discovery",
        "requests_per_sec",
        "burst",
    ];

    #[test]
    fn finds_typing_errors_and_parts() {
        for (typed, expected) in [
            ("prot", Some("port")),
            ("Port", Some("port")),
            ("hots", Some("host")),
            ("metric_port", Some("metrics_port")),
            ("metrics-port", Some("metrics_port")),
            ("discovery", Some("service_discovery")),
            ("requests_per_second", Some("requests_per_sec")),
            ("tsl", Some("tls")),
            ("wombat", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, KEYS.into_iter()), expected, "{typed}");
        }
    }

    #[test]
    fn distance_counts_a_swap_once() {
        assert_eq!(edit_distance("abcd", "abdc"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
