//! What the gateway writes itself towards clients of the original, in the original's spelling. Changes when that does.

use bytes::Bytes;
use serde_json::Value;

use crate::error::code;

/// An error response with members in the original's order. `id` is the raw id of the request, `null` when there is none.
pub fn error(id: Option<&[u8]>, code: i64, message: &str, data: Option<&Value>) -> Bytes {
    let mut out = format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":{}"#, Value::from(message));
    if let Some(data) = data {
        out.push_str(",\"data\":");
        out.push_str(&data.to_string());
    }
    out.push_str("},\"id\":");
    let mut out = out.into_bytes();
    out.extend_from_slice(id.unwrap_or(b"null"));
    out.push(b'}');
    out.into()
}

/// The only error that the original knows on TCP: -32603, whatever happened.
pub fn tcp_error(id: Option<&[u8]>, message: &str, data: Option<&Value>) -> Bytes {
    error(id, code::INTERNAL, message, data)
}

/// A result response with members in the original's order. `id` and `result` are raw JSON.
pub fn result(id: &[u8], result: &[u8]) -> Bytes {
    [b"{\"jsonrpc\":\"2.0\",\"result\":", result, b",\"id\":", id, b"}"].concat().into()
}

/// `YYYY-MM-DDThh:mm:ssZ` (RFC 3339) of a time in seconds since 1970-01-01 UTC.
pub fn timestamp(unix_seconds: u64) -> String {
    format!("{}Z", date_time(unix_seconds))
}

/// The same with a fraction of nine digits.
pub fn timestamp_nanos(unix_seconds: u64, nanos: u32) -> String {
    format!("{}.{nanos:09}Z", date_time(unix_seconds))
}

/// The civil date of a day count, by eras of 400 years that begin on the first of March.
fn date_time(unix_seconds: u64) -> String {
    let (days, of_day) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
        assert_eq!(timestamp_nanos(1_735_689_600, 1_500), "2025-01-01T00:00:00.000001500Z");
    }

    #[test]
    fn errors_have_the_originals_order() {
        assert_eq!(
            error(Some(b"\"a\""), -32004, "no \"x\"", Some(&json!({"retry": "safe"}))),
            r#"{"jsonrpc":"2.0","error":{"code":-32004,"message":"no \"x\"","data":{"retry":"safe"}},"id":"a"}"#
        );
        assert!(tcp_error(None, "x", None).ends_with(b",\"id\":null}"));
        assert_eq!(result(b"1", b"{}"), r#"{"jsonrpc":"2.0","result":{},"id":1}"#);
    }
}
