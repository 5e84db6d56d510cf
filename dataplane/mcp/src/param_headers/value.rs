//! Header values that carry text of a message: `Mcp-Name` and `Mcp-Param-*`.
//! Changes when the value encoding of these headers changes.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";
const BLANK: [char; 2] = [' ', '\t'];

/// Writes a value: as it is when it is visible ASCII without blanks at its ends, else as base64 of its UTF-8 bytes.
pub fn encode_value(value: &str) -> Cow<'_, str> {
    let plain = is_plain(value) && value.trim_matches(BLANK).len() == value.len() && inner(value).is_none();
    if plain { Cow::Borrowed(value) } else { Cow::Owned(format!("{OPEN}{}{CLOSE}", STANDARD.encode(value))) }
}

/// Reads a value: white space around it is not part of it. `None` when it holds other than visible ASCII, or is marked
/// as base64 and is not the (padded, standard) base64 of UTF-8 text.
pub fn decode_value(value: &str) -> Option<Cow<'_, str>> {
    let value = value.trim_matches(BLANK);
    if !is_plain(value) {
        return None;
    }
    match inner(value) {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
    }
}

/// What stands between the base64 marks.
fn inner(value: &str) -> Option<&str> {
    value.strip_prefix(OPEN)?.strip_suffix(CLOSE)
}

fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Digits that a whole number may have before it is not compared as a number any more.
const MAX_DIGITS: usize = 64;

/// A JSON number in the one spelling that equal whole numbers share: `42`, `42.0` and `4.2e1` are the same. `None` when
/// it is not whole, not a number, or absurdly large.
pub(crate) fn whole_number(text: &str) -> Option<String> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || mantissa.ends_with('.') {
        return None;
    }
    let significant = format!("{whole}{fraction}");
    let significant = significant.trim_start_matches('0');
    let fraction = i64::try_from(fraction.len()).ok()?;
    let places = exponent.parse::<i32>().ok().map(i64::from)? - fraction;
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    let digits = if places < 0 {
        let cut = significant.len().checked_sub(usize::try_from(-places).ok()?)?;
        let (kept, zeros) = significant.split_at_checked(cut)?;
        (!kept.is_empty() && zeros.bytes().all(|byte| byte == b'0')).then(|| kept.to_owned())?
    } else {
        let places = usize::try_from(places).ok().filter(|places| *places <= MAX_DIGITS)?;
        format!("{significant}{}", "0".repeat(places))
    };
    (digits.len() <= MAX_DIGITS).then(|| if negative { format!("-{digits}") } else { digits })
}
