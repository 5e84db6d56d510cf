//! Values of annotated parameters: found in the arguments of a call, compared with headers, written as headers.
//! Changes when values are compared or spelled differently.

use super::value::{decode_value, encode_value, whole_number};
use super::{Param, ParamHeaders};
use crate::limits::Limits;
use crate::scan::{Kind, ScanError, Scanner, Span, decode_string, kind_of};

/// A header of the request, as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'a> {
    /// Not there.
    Absent,
    /// Its only value.
    Text(&'a str),
    /// There more than once, or not text: nobody can say which value an intermediary saw.
    Unusable,
}

/// A request whose headers and arguments disagree; answered with `-32020` and status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {header} {reason}")]
pub struct Mismatch {
    /// Name of the header.
    pub header: Box<str>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The argument is there, the header is not.
    #[error("is missing although its argument is present")]
    Missing,
    /// The header is there, the argument is not or is null.
    #[error("is present although its argument is absent or null")]
    Unexpected,
    /// Repeated, or not visible ASCII, or bad base64.
    #[error("is repeated, or is not visible ASCII or valid base64 of UTF-8 text")]
    Malformed,
    /// Header and argument have different values.
    #[error("differs from its argument")]
    Different,
}

/// Why the headers of a call could not be checked or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// Header and argument disagree.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The arguments are not acceptable JSON.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// A parameter and its raw value in the arguments.
type Found<'p, 'a> = (&'p Param, Option<&'a [u8]>);

impl ParamHeaders {
    /// Checks that the headers of a call repeat its arguments. `arguments` is the raw `params.arguments`; `sent` looks a
    /// header up by name, ignoring case.
    pub fn check<'h>(
        &self,
        arguments: Option<&[u8]>,
        limits: &Limits,
        sent: impl Fn(&str) -> Sent<'h>,
    ) -> Result<(), ArgumentsError> {
        for (param, value) in self.values(arguments, limits)? {
            if let Err(reason) = compare(value, sent(&param.header)) {
                return Err(Mismatch { header: param.header.clone(), reason }.into());
            }
        }
        Ok(())
    }

    /// The headers that repeat the arguments of a call, for an upstream request. An argument of another type than a
    /// header can carry gets none; the server judges it by its schema.
    pub fn write(
        &self,
        arguments: Option<&[u8]>,
        limits: &Limits,
    ) -> Result<Vec<(&str, String)>, ArgumentsError> {
        let values = self.values(arguments, limits)?;
        let written = values.into_iter().filter_map(|(param, value)| {
            let value = value?;
            let text = match kind_of(value)? {
                Kind::String => encode_value(&decode_string(value)?).into_owned(),
                Kind::Number => {
                    let spelled = std::str::from_utf8(value).ok()?;
                    whole_number(spelled).unwrap_or_else(|| spelled.to_owned())
                }
                Kind::Bool => std::str::from_utf8(value).ok()?.to_owned(),
                Kind::Object | Kind::Array | Kind::Null => return None,
            };
            Some((&*param.header, text))
        });
        Ok(written.collect())
    }

    /// Each parameter with its raw value in `arguments`.
    fn values<'a>(
        &self,
        arguments: Option<&'a [u8]>,
        limits: &Limits,
    ) -> Result<Vec<Found<'_, 'a>>, ScanError> {
        let mut found = vec![None; self.params.len()];
        if let Some(text) = arguments.filter(|_| !self.is_empty()) {
            let mut scanner = Scanner::new(text, limits)?;
            let active: Vec<usize> = (0..self.params.len()).collect();
            self.find(text, &mut scanner, 0, &active, &mut found)?;
            scanner.end()?;
        }
        let value = |span: Option<Span>| span.and_then(|span| arguments.map(|text| span.of(text)));
        Ok(self.params.iter().zip(found.into_iter().map(value)).collect())
    }

    /// Consumes one value; `active` are the parameters whose path led here in `depth` steps.
    fn find(
        &self,
        text: &[u8],
        scanner: &mut Scanner<'_>,
        depth: usize,
        active: &[usize],
        found: &mut [Option<Span>],
    ) -> Result<Span, ScanError> {
        if active.is_empty() || scanner.peek() != Some(b'{') {
            return scanner.value();
        }
        scanner.object(|scanner, key| {
            let key = decode_string(key.of(text));
            let step = |index: usize| self.params.get(index).and_then(|param| param.path.get(depth));
            let matches = |index: &usize| step(*index).is_some_and(|name| key.as_deref() == Some(&**name));
            let next: Vec<usize> = active.iter().copied().filter(matches).collect();
            let value = self.find(text, scanner, depth + 1, &next, found)?;
            for index in next {
                if let Some(slot) = found.get_mut(index).filter(|_| self.ends_at(index, depth)) {
                    *slot = Some(value);
                }
            }
            Ok(())
        })
    }

    fn ends_at(&self, index: usize, depth: usize) -> bool {
        self.params.get(index).is_some_and(|param| param.path.len() == depth + 1)
    }
}

fn compare(value: Option<&[u8]>, sent: Sent<'_>) -> Result<(), Reason> {
    let value = value.filter(|raw| kind_of(raw) != Some(Kind::Null));
    let (value, sent) = match (value, sent) {
        (_, Sent::Unusable) => return Err(Reason::Malformed),
        (None, Sent::Absent) => return Ok(()),
        (None, Sent::Text(_)) => return Err(Reason::Unexpected),
        (Some(value), sent) => (value, sent),
    };
    let kind = kind_of(value);
    let text = match sent {
        // No header can carry it, and the server's schema does not allow it.
        Sent::Absent if matches!(kind, Some(Kind::Object | Kind::Array)) => return Ok(()),
        Sent::Text(text) => decode_value(text).ok_or(Reason::Malformed)?,
        Sent::Absent | Sent::Unusable => return Err(Reason::Missing),
    };
    let spelled = std::str::from_utf8(value).unwrap_or_default();
    let equal = match kind {
        Some(Kind::String) => decode_string(value).is_some_and(|value| value == text),
        Some(Kind::Number) => {
            spelled == text || whole_number(spelled).is_some_and(|number| Some(number) == whole_number(&text))
        }
        Some(Kind::Bool) => spelled == text,
        _ => false,
    };
    if equal { Ok(()) } else { Err(Reason::Different) }
}
