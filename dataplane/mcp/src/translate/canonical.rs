//! One spelling per JSON value, for comparing what different encoders wrote. Changes when values compare differently.
//!
//! Keys in byte order of their canonical spelling, no white space, numbers by their exact decimal value. Unlike RFC 8785
//! this never rounds: two different numbers never become one.

use super::members::scanner;
use crate::scan::{Kind, ScanError, Scanner, decode_string, kind_of};

/// The canonical spelling of a value; `None` when `text` is no JSON value.
pub(super) fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    without(text, &[])
}

/// The canonical spelling of a value without some of its members; `None` when `text` is no JSON value.
pub(super) fn without(text: &[u8], members: &[&[u8]]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut scanner = scanner(text).ok()?;
    value(text, &mut scanner, members, &mut out).ok()?;
    scanner.end().ok()?;
    Some(out)
}

/// Consumes one value. `skip` holds canonical keys of the outermost object only.
fn value(text: &[u8], scanner: &mut Scanner<'_>, skip: &[&[u8]], out: &mut Vec<u8>) -> Result<(), ScanError> {
    match scanner.peek() {
        Some(b'{') => {
            let mut members = Vec::new();
            scanner.object(|scanner, key| {
                let mut member = string(key.of(text));
                if skip.contains(&&*member) {
                    return scanner.value().map(drop);
                }
                let key = member.len();
                member.push(b':');
                value(text, scanner, &[], &mut member)?;
                members.push((key, member));
                Ok(())
            })?;
            // Stable, so that of equal keys the order remains.
            members.sort_by(|(a, one), (b, two)| one.get(..*a).cmp(&two.get(..*b)));
            out.push(b'{');
            for (index, (_, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(member);
            }
            out.push(b'}');
        }
        Some(b'[') => {
            out.push(b'[');
            let mut first = true;
            scanner.array(|scanner| {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                value(text, scanner, &[], out)
            })?;
            out.push(b']');
        }
        _ => {
            let raw = scanner.value()?.of(text);
            match kind_of(raw) {
                Some(Kind::String) => out.extend_from_slice(&string(raw)),
                Some(Kind::Number) => out.extend_from_slice(&number(raw)),
                _ => out.extend_from_slice(raw),
            }
        }
    }
    Ok(())
}

/// A string with only the escapes that it needs. One that is not valid Unicode stays as spelled.
fn string(raw: &[u8]) -> Vec<u8> {
    decode_string(raw).map_or_else(|| raw.to_vec(), |text| super::members::quoted(&text).into_bytes())
}

/// A number as its significant digits and a power of ten.
fn number(raw: &[u8]) -> Vec<u8> {
    exact(raw).unwrap_or_else(|| raw.to_vec())
}

fn exact(raw: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(raw).ok()?;
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let shortest = significant.trim_end_matches('0');
    if shortest.is_empty() {
        return Some(b"0".to_vec());
    }
    let zeros = i64::try_from(significant.len() - shortest.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_sub(places)?.checked_add(zeros)?;
    Some(format!("{sign}{shortest}e{power}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, two: &str) -> bool {
        canonical(one.as_bytes()).unwrap() == canonical(two.as_bytes()).unwrap()
    }

    #[test]
    fn spelling_does_not_matter() {
        for (one, two) in [
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\" :[ true , null],\n\"\\u0061\":1.0}"),
            (r#""é\/""#, r#""\u00e9/""#),
            ("100", "1e2"),
            ("0.50", "5E-1"),
            ("-0", "0.0e9"),
            ("12345678901234567890123", "1234567890123456789012.3e1"),
        ] {
            assert!(same(one, two), "{one} {two}");
        }
    }

    #[test]
    fn values_do() {
        for (one, two) in [
            ("1", "\"1\""),
            ("1", "-1"),
            ("[1,2]", "[2,1]"),
            ("{}", "[]"),
            (r#"{"a":{"b":1}}"#, r#"{"a":{},"b":1}"#),
            ("9007199254740993", "9007199254740992"),
            (r#""\ud800""#, r#""\ud801""#),
            (r#"{"a":"1,\"b\":2"}"#, r#"{"a":"1","b":2}"#),
        ] {
            assert!(!same(one, two), "{one} {two}");
        }
    }

    #[test]
    fn members_are_left_out_at_the_top_only() {
        let text = br#"{"x":1,"a":{"x":2}}"#;
        assert_eq!(without(text, &[b"\"x\""]).unwrap(), br#"{"a":{"x":2e0}}"#);
        assert_eq!(canonical(b"{"), None);
        assert_eq!(canonical(b"1 2"), None);
    }
}
