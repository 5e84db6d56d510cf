//! The kinds of values that keys have: ports, durations, sizes, addresses. Changes when a key needs another kind.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::decode::{FromText, Problem};
use super::duration;
use super::shape::Shape;
use super::suggest::closest;

/// A problem for a text that is none of `names`.
pub(crate) fn not_one_of(text: &str, names: &[&str]) -> Problem {
    let allowed = format!("allowed: {}", names.join(", "));
    let guess = closest(text, names.iter().copied());
    Problem::new("not a known value").remedy(match guess {
        Some(name) if names.len() > 2 => format!("did you mean `{name}`? {allowed}"),
        _ => allowed,
    })
}

impl FromText for bool {
    fn text_shape() -> Shape {
        Shape::Text { name: "true or false", schema: json!({ "type": "boolean" }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            // Go's spellings of a boolean, as environment variables often have them.
            "true" | "True" | "TRUE" | "1" | "t" | "T" => Ok(true),
            "false" | "False" | "FALSE" | "0" | "f" | "F" => Ok(false),
            _ => Err(Problem::new("not a boolean").remedy("allowed: true, false")),
        }
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

impl FromText for String {
    fn text_shape() -> Shape {
        Shape::Text { name: "text", schema: json!({ "type": ["string", "number", "boolean"] }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        Ok(text.to_owned())
    }

    fn to_json(&self) -> Json {
        json!(self)
    }
}

impl FromText for PathBuf {
    fn text_shape() -> Shape {
        Shape::Text { name: "path", schema: json!({ "type": "string" }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.contains('\0') {
            return Err(Problem::new("not a path: it contains a zero byte"));
        }
        Ok(Self::from(text))
    }

    fn to_json(&self) -> Json {
        json!(self.to_string_lossy())
    }
}

/// A TCP port; 0 means that the system chooses, or off, as the key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) u16);

impl FromText for Port {
    fn text_shape() -> Shape {
        Shape::Text { name: "port", schema: json!({ "type": "integer", "minimum": 0, "maximum": 65535 }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let refused = || Problem::new("not a port number").remedy("allowed: 0 to 65535");
        whole(text).and_then(|port| u16::try_from(port).ok()).map(Self).ok_or_else(refused)
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }
}

/// How many; 0 is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl FromText for Count {
    fn text_shape() -> Shape {
        Shape::Text { name: "number", schema: json!({ "type": "integer", "minimum": 0 }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let refused = || Problem::new("not a whole number").remedy("allowed: 0 or more");
        whole(text).and_then(|count| usize::try_from(count).ok()).map(Self).ok_or_else(refused)
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }
}

/// How many, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positive(pub(crate) usize);

impl FromText for Positive {
    fn text_shape() -> Shape {
        Shape::Text { name: "number", schema: json!({ "type": "integer", "minimum": 1 }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        match Count::from_text(text) {
            Ok(Count(count)) if count > 0 => Ok(Self(count)),
            _ => Err(Problem::new("not a whole number above 0").remedy("allowed: 1 or more")),
        }
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }
}

/// Any number, whole or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl FromText for Number {
    fn text_shape() -> Shape {
        Shape::Text { name: "number", schema: json!({ "type": "number" }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Self).ok_or_else(|| Problem::new("not a number"))
    }

    fn to_json(&self) -> Json {
        json!(self.0)
    }
}

/// Bytes: a number, or a number with `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromText for Size {
    fn text_shape() -> Shape {
        Shape::Text {
            name: "size",
            schema: json!({ "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "string", "pattern": "^[0-9]+ ?([KMG]iB)?$" },
            ] }),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let refused =
            || Problem::new("not a size").remedy("allowed: bytes above 0, for example `1048576` or `1MiB`");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale: usize = match unit.trim() {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(refused()),
        };
        let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(scale));
        bytes.filter(|bytes| *bytes > 0).map(Self).ok_or_else(refused)
    }

    fn to_json(&self) -> Json {
        match self.0 {
            bytes if bytes % (1 << 20) == 0 => json!(format!("{}MiB", bytes >> 20)),
            bytes if bytes % (1 << 10) == 0 => json!(format!("{}KiB", bytes >> 10)),
            bytes => json!(bytes),
        }
    }
}

/// Longest duration that a setting can have; beyond it, clock arithmetic could overflow.
const LONGEST: Duration = Duration::from_hours(87_600);

/// A duration above zero in Go's spelling; a bare number is seconds, as in the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromText for Seconds {
    fn text_shape() -> Shape {
        Shape::Text {
            name: "duration or seconds",
            schema: json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": DURATION }] }),
        }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let duration = whole(text).map(Duration::from_secs).or_else(|| duration::parse(text));
        let remedy = "allowed: above 0, for example `30s`, `1h30m`, `250ms`, or a whole number of seconds";
        in_range(duration, remedy).map(Self)
    }

    fn to_json(&self) -> Json {
        json!(duration::format(self.0))
    }
}

/// A duration above zero in Go's spelling; the unit is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Duration);

impl FromText for Interval {
    fn text_shape() -> Shape {
        Shape::Text { name: "duration", schema: json!({ "type": "string", "pattern": DURATION }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        in_range(duration::parse(text), "allowed: above 0 with a unit, for example `30s`, `1h30m`, `250ms`")
            .map(Self)
    }

    fn to_json(&self) -> Json {
        json!(duration::format(self.0))
    }
}

const DURATION: &str =
    r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|ns)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|m|s|ms|us|µs|ns))*$";

fn in_range(duration: Option<Duration>, remedy: &str) -> Result<Duration, Problem> {
    match duration {
        None => Err(Problem::new("not a duration").remedy(remedy)),
        Some(Duration::ZERO) => Err(Problem::new("a duration of zero").remedy(remedy)),
        Some(duration) if duration > LONGEST => Err(Problem::new("too long").remedy("allowed: up to 87600h")),
        Some(duration) => Ok(duration),
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) IpAddr);

impl FromText for Host {
    fn text_shape() -> Shape {
        Shape::Text { name: "address", schema: json!({ "type": "string" }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "" => Ok(Self(Ipv4Addr::UNSPECIFIED.into())),
            "localhost" => Ok(Self(Ipv4Addr::LOCALHOST.into())),
            _ => {
                let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
                let remedy = "allowed: an IP address such as `127.0.0.1`, `0.0.0.0` or `::1`, or `localhost`";
                inner
                    .parse()
                    .map(Self)
                    .map_err(|_| Problem::new("not an address to listen on").remedy(remedy))
            }
        }
    }

    fn to_json(&self) -> Json {
        json!(self.0.to_string())
    }
}

/// A sensitive text of a feature that is not built yet: kept out of every message, and not kept at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hidden;

impl FromText for Hidden {
    fn text_shape() -> Shape {
        Shape::Text { name: "text, secret", schema: json!({ "type": ["string", "number"] }) }
    }

    fn from_text(_: &str) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn to_json(&self) -> Json {
        Json::Null
    }
}

/// A plain decimal number; Go's and YAML's other spellings (`1_000`, `0x10`, `1e3`) are refused rather than guessed.
fn whole(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<T: FromText>(text: &str) -> Option<String> {
        T::from_text(text).ok().map(|value| value.to_json().to_string())
    }

    #[test]
    fn values_are_read_exactly_or_refused() {
        assert_eq!(shown::<Port>("0").as_deref(), Some("0"));
        assert_eq!(shown::<Port>("65535").as_deref(), Some("65535"));
        for text in ["65536", "-1", "80.0", "0x50", "", " 80", "99999999999999999999"] {
            assert_eq!(shown::<Port>(text), None, "{text}");
        }
        assert_eq!(shown::<Positive>("1").as_deref(), Some("1"));
        assert_eq!(shown::<Positive>("0"), None);
        assert_eq!(shown::<Size>("1MiB").as_deref(), Some("\"1MiB\""));
        assert_eq!(shown::<Size>("1048576").as_deref(), Some("\"1MiB\""));
        assert_eq!(shown::<Size>("1000").as_deref(), Some("1000"));
        for text in ["0", "1MB", "MiB", "-1", "1.5MiB", "99999999999999GiB"] {
            assert_eq!(shown::<Size>(text), None, "{text}");
        }
        assert_eq!(shown::<Seconds>("30").as_deref(), Some("\"30s\""));
        assert_eq!(shown::<Seconds>("1h30m").as_deref(), Some("\"1h30m\""));
        assert_eq!(shown::<Interval>("30"), None);
        for text in ["0", "0s", "-5s", "soon", "900000h"] {
            assert_eq!(shown::<Seconds>(text), None, "{text}");
        }
        assert_eq!(shown::<Host>("localhost").as_deref(), Some("\"127.0.0.1\""));
        assert_eq!(shown::<Host>("[::1]").as_deref(), Some("\"::1\""));
        assert_eq!(shown::<Host>("example.com"), None);
        assert_eq!(shown::<bool>("yes"), None);
        assert_eq!(shown::<bool>("TRUE").as_deref(), Some("true"));
    }
}
