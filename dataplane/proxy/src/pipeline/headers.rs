//! Headers of modern requests, from clients and towards backends. Changes when 2026-07-28 gets other headers.

use bridge_mcp::error::code;
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::modern::{Headers, Violation};
use bridge_mcp::param_headers::{ArgumentsError, ParamHeaders, Sent};
use bridge_transport::frontend::request::text;
use http::{HeaderMap, HeaderName, HeaderValue};

const PARAM_PREFIX: &str = "mcp-param-";

/// The headers that must agree with the body.
pub(super) fn of(headers: &HeaderMap) -> Headers<'_> {
    Headers {
        version: text(headers, "mcp-protocol-version"),
        method: text(headers, "mcp-method"),
        name: text(headers, "mcp-name"),
    }
}

/// Checks `Mcp-Param-*` against the arguments, for a tool whose schema is known.
pub(super) fn check_params(
    known: &ParamHeaders,
    frame: &Frame,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<(), Violation> {
    let params = frame.envelope().params.as_ref();
    let arguments = params.and_then(|params| frame.raw(params.members.arguments));
    let sent = |name: &str| {
        let Ok(name) = HeaderName::try_from(name) else { return Sent::Absent };
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Sent::Absent,
            (Some(value), None) => std::str::from_utf8(value.as_bytes()).map_or(Sent::Unusable, Sent::Text),
            (Some(_), Some(_)) => Sent::Unusable,
        }
    };
    known.check(arguments, limits, sent).map_err(|error| {
        let code = match &error {
            ArgumentsError::Mismatch(_) => code::HEADER_MISMATCH,
            ArgumentsError::Scan(_) => code::INVALID_PARAMS,
        };
        Violation { status: 400, code, message: error.to_string(), data: None }
    })
}

/// The `Mcp-Param-*` headers that repeat the arguments, for a tool whose schema is known.
pub(super) fn written_params(
    known: &ParamHeaders,
    frame: &Frame,
    limits: &Limits,
) -> Result<HeaderMap, ArgumentsError> {
    let params = frame.envelope().params.as_ref();
    let arguments = params.and_then(|params| frame.raw(params.members.arguments));
    let written = known.write(arguments, limits)?;
    let header = |(name, value): (&str, String)| {
        // Annotations are tokens and values were made visible ASCII, so neither can fail.
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    Ok(written.into_iter().filter_map(header).collect())
}

/// The client's `Mcp-Param-*` headers, for the backend to check: the arguments that they repeat are not changed.
pub(super) fn forwarded_params(headers: &HeaderMap) -> HeaderMap {
    let mut forwarded = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with(PARAM_PREFIX)) {
        forwarded.append(name.clone(), value.clone());
    }
    forwarded
}
