//! Agreement on a version of the binary protocol, for both ends. Changes when another version exists.

use bytes::Bytes;

use crate::limits::Limits;
use crate::scan::{Scanner, decode_string};

/// The lowest and the highest version served.
const SERVED: (u16, u16) = (1, 1);

/// What a client of the published protocol sends; all keys, in its order.
pub const OFFER: &[u8] =
    br#"{"min_version":1,"max_version":1,"preferred_version":1,"supported_versions":[1]}"#;

/// Why there is no agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAgreement {
    /// Not the JSON object that it must be.
    #[error("undecodable version negotiation")]
    Undecodable,
    /// The ranges do not overlap.
    #[error(
        "Version negotiation failed: no compatible protocol version: client supports {min}-{max}, server supports {}-{}",
        SERVED.0,
        SERVED.1
    )]
    NoOverlap {
        /// The client's lowest.
        min: u16,
        /// The client's highest.
        max: u16,
    },
}

/// Answers a client's offer: the highest version of both. Only its two bounds are looked at, and one that is absent reads
/// as 0, as in the original.
pub fn agree(offer: &[u8]) -> Result<u16, NoAgreement> {
    let (mut min, mut max) = (0, 0);
    members(offer, |key, value| {
        match key {
            "min_version" => min = version(value)?,
            "max_version" => max = version(value)?,
            _ => {}
        }
        Some(())
    })
    .ok_or(NoAgreement::Undecodable)?;
    if max < SERVED.0 || min > SERVED.1 {
        return Err(NoAgreement::NoOverlap { min, max });
    }
    Ok(max.min(SERVED.1))
}

/// The payload that tells the client.
pub fn ack(version: u16) -> Bytes {
    format!(r#"{{"agreed_version":{version}}}"#).into()
}

/// Reads the answer to [`OFFER`]: whether the server agreed on a version of ours.
pub fn is_agreed(ack: &[u8]) -> bool {
    let mut agreed = None;
    let read = members(ack, |key, value| {
        if key == "agreed_version" {
            agreed = Some(version(value)?);
        }
        Some(())
    });
    read.is_some() && agreed.is_some_and(|version| (SERVED.0..=SERVED.1).contains(&version))
}

fn version(raw: &[u8]) -> Option<u16> {
    if raw == b"null" {
        return Some(0);
    }
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// Gives the members of a small JSON object; `None` when it is none, or `member` says so.
fn members(text: &[u8], mut member: impl FnMut(&str, &[u8]) -> Option<()>) -> Option<()> {
    let limits = Limits { max_bytes: 64 * 1024, max_depth: 16, unique_keys: false };
    let mut scanner = Scanner::new(text, &limits).ok()?;
    let mut accepted = Some(());
    scanner
        .object(|scanner, key| {
            let value = scanner.value()?;
            let key = decode_string(key.of(text)).unwrap_or_default();
            accepted = accepted.and_then(|()| member(&key, value.of(text)));
            Ok(())
        })
        .and_then(|_| scanner.end())
        .ok()?;
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_of_both_is_agreed_on() {
        assert_eq!(agree(OFFER), Ok(1));
        assert_eq!(agree(br#"{"min_version":1,"max_version":9}"#), Ok(1));
        assert_eq!(agree(br#"{"max_version":1}"#), Ok(1), "an absent bound is 0");
    }

    #[test]
    fn ranges_that_do_not_meet_are_refused_in_the_originals_words() {
        for (offer, range) in
            [(r#"{"min_version":2,"max_version":3}"#, "2-3"), (r#"{"min_version":1}"#, "1-0"), ("{}", "0-0")]
        {
            let text = agree(offer.as_bytes()).unwrap_err().to_string();
            assert_eq!(
                text,
                format!(
                    "Version negotiation failed: no compatible protocol version: client supports {range}, server supports 1-1"
                )
            );
        }
    }

    #[test]
    fn other_payloads_are_undecodable() {
        for offer in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            r#"{"max_version":"1"}"#,
            r#"{"max_version":-1}"#,
            r#"{"max_version":65536}"#,
        ] {
            assert_eq!(agree(offer.as_bytes()), Err(NoAgreement::Undecodable), "{offer}");
        }
    }

    #[test]
    fn an_answer_counts_when_it_names_our_version() {
        assert!(is_agreed(&ack(1)));
        for answer in ["{}", r#"{"agreed_version":2}"#, r#"{"agreed_version":"1"}"#, "", "null"] {
            assert!(!is_agreed(answer.as_bytes()), "{answer}");
        }
    }
}
