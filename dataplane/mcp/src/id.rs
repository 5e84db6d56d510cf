//! Request ids. Changes when ids are compared or spelled differently.

use crate::scan::{Kind, decode_string, kind_of};

/// A JSON-RPC request id by value, for matching. Peers may re-spell an id (`1.0` for `1`, `"\u0061"` for `"a"`); the
/// spelling that goes back to its owner is kept beside it as raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// An integer that fits 64 bits.
    Int(i64),
    /// A larger integer, as spelled.
    Number(Box<str>),
    /// A string, decoded.
    Text(Box<str>),
}

impl Id {
    /// Reads a skimmed value. `None` unless it is a string or an integer (MCP basic protocol, "Requests").
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        match kind_of(raw)? {
            Kind::String => decode_string(raw).map(|text| Self::Text(text.into())),
            Kind::Number => {
                let text = std::str::from_utf8(raw).ok()?;
                if let Ok(int) = text.parse() {
                    return Some(Self::Int(int));
                }
                if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
                    return Some(Self::Number(text.into()));
                }
                // `1.0` and `1e3` are integers by value; SDKs that read numbers as doubles spell them so.
                let value: f64 = text.parse().ok()?;
                let exact = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
                #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                exact.then_some(Self::Int(value as i64))
            }
            _ => None,
        }
    }

    /// The id as JSON.
    pub fn to_json(&self) -> String {
        match self {
            Self::Int(int) => int.to_string(),
            Self::Number(text) => text.to_string(),
            Self::Text(text) => serde_json::Value::from(&**text).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_value_in_another_spelling_is_the_same_id() {
        assert_eq!(Id::from_raw(b"1"), Id::from_raw(b"1.0"));
        assert_eq!(Id::from_raw(b"1000"), Id::from_raw(b"1e3"));
        assert_eq!(Id::from_raw(br#""a""#), Id::from_raw(br#""\u0061""#));
    }

    #[test]
    fn a_string_is_never_a_number() {
        assert_ne!(Id::from_raw(b"1"), Id::from_raw(br#""1""#));
    }

    #[test]
    fn big_integers_keep_their_identity() {
        let big = Id::from_raw(b"18446744073709551617");
        assert!(big.is_some());
        assert_ne!(big, Id::from_raw(b"18446744073709551618"));
    }

    #[test]
    fn other_types_are_refused() {
        for raw in [&b"null"[..], b"true", b"[1]", b"{}", b"1.5", b""] {
            assert_eq!(Id::from_raw(raw), None, "{raw:?}");
        }
    }
}
