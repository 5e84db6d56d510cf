//! What the gateway reads of a JSON-RPC message: the members that decide its kind, its target and its bookkeeping, as
//! byte ranges. Changes when a decision needs another member.

use crate::error::code;
use crate::method::Method;
use crate::scan::{Kind as Json, ScanError, Scanner, Span, decode_string, kind_of};

/// What kind of message it is (JSON-RPC 2.0 sections 4 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method and no id.
    Notification,
    /// Has an id and a result.
    Result,
    /// Has an error.
    Error,
}

/// Byte ranges of the members that the gateway reads.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Kind of message.
    pub kind: Kind,
    /// The method; `Other` when it is none that a revision defines. Meaningless for responses.
    pub method: Method,
    /// The method's raw string.
    pub method_name: Option<Span>,
    /// The raw id.
    pub id: Option<Span>,
    /// Where members can be inserted: right after the opening brace.
    pub body_start: usize,
    /// The raw params.
    pub params: Option<Params>,
    /// The raw result.
    pub result: Option<Span>,
    /// The raw error.
    pub error: Option<Span>,
}

macro_rules! members {
    ($(#[$doc:meta])* $name:ident { $($field:ident $key:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            /// The whole object.
            pub span: Option<Span>,
            $(#[doc = concat!("`", $key, "`")] pub $field: Option<Span>,)*
        }

        impl $name {
            fn slot(&mut self, key: &str) -> Option<&mut Option<Span>> {
                match key {
                    $($key => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

members! {
    /// Members of `params` by name.
    ParamMembers {
        name "name",
        uri "uri",
        reference "ref",
        cursor "cursor",
        arguments "arguments",
        request_id "requestId",
        progress_token "progressToken",
        protocol_version "protocolVersion",
        capabilities "capabilities",
        client_info "clientInfo",
        level "level",
        notifications "notifications",
        task "task",
        task_id "taskId",
        input_responses "inputResponses",
        request_state "requestState",
    }
}

members! {
    /// Members of `params._meta` by name (MCP 2026-07-28, "Request metadata").
    Meta {
        protocol_version "io.modelcontextprotocol/protocolVersion",
        client_capabilities "io.modelcontextprotocol/clientCapabilities",
        client_info "io.modelcontextprotocol/clientInfo",
        log_level "io.modelcontextprotocol/logLevel",
        subscription_id "io.modelcontextprotocol/subscriptionId",
        progress_token "progressToken",
    }
}

/// `params` of a request or notification.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// Members that the gateway reads.
    pub members: ParamMembers,
    /// Members of `_meta` that the gateway reads.
    pub meta: Meta,
}

/// A message that is JSON but not a JSON-RPC message. The id is echoed when it could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ShapeError {
    /// JSON-RPC error code.
    pub code: i64,
    /// What is wrong.
    pub message: &'static str,
    /// The raw id.
    pub id: Option<Span>,
}

/// Why an envelope could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadError {
    Scan(ScanError),
    Shape(ShapeError),
}

impl From<ScanError> for ReadError {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

/// Raw top-level members, before they are judged.
#[derive(Default)]
struct Top {
    jsonrpc: Option<Span>,
    id: Option<Span>,
    method: Option<Span>,
    result: Option<Span>,
    error: Option<Span>,
    params_span: Option<Span>,
    params: Params,
}

/// Reads one message that must be an object.
pub(crate) fn read(text: &[u8], scanner: &mut Scanner<'_>) -> Result<Envelope, ReadError> {
    let mut top = Top::default();
    let whole = scanner.object(|scanner, key| {
        let key = decode_string(key.of(text)).unwrap_or_default();
        let slot = match key.as_ref() {
            "jsonrpc" => &mut top.jsonrpc,
            "id" => &mut top.id,
            "method" => &mut top.method,
            "result" => &mut top.result,
            "error" => &mut top.error,
            "params" => {
                let span = read_params(text, scanner, &mut top.params)?;
                return once(&mut top.params_span, span);
            }
            _ => return scanner.value().map(drop),
        };
        let span = scanner.value()?;
        once(slot, span)
    })?;
    judge(text, whole.start() + 1, top).map_err(ReadError::Shape)
}

/// The envelope's own members may not repeat, whatever the limits say of the rest: two readers could otherwise see two
/// different messages.
fn once(slot: &mut Option<Span>, span: Span) -> Result<(), ScanError> {
    if slot.replace(span).is_some() {
        return Err(ScanError::DuplicateKey { offset: span.end() });
    }
    Ok(())
}

fn read_params(text: &[u8], scanner: &mut Scanner<'_>, params: &mut Params) -> Result<Span, ScanError> {
    if scanner.peek() != Some(b'{') {
        return scanner.value();
    }
    let span = scanner.object(|scanner, key| {
        let key = decode_string(key.of(text)).unwrap_or_default();
        if key == "_meta" && scanner.peek() == Some(b'{') {
            let span = scanner.object(|scanner, key| {
                let key = decode_string(key.of(text)).unwrap_or_default();
                let value = scanner.value()?;
                params.meta.slot(&key).map_or(Ok(()), |slot| once(slot, value))
            })?;
            return once(&mut params.meta.span, span);
        }
        let value = scanner.value()?;
        params.members.slot(&key).map_or(Ok(()), |slot| once(slot, value))
    })?;
    params.members.span = Some(span);
    Ok(span)
}

fn judge(text: &[u8], body_start: usize, top: Top) -> Result<Envelope, ShapeError> {
    let kind_at = |span: Option<Span>| span.and_then(|span| kind_of(span.of(text)));
    let valid_id = top.id.filter(|id| crate::id::Id::from_raw(id.of(text)).is_some());
    let fail = |code, message| ShapeError { code, message, id: valid_id };

    if top.jsonrpc.map(|span| span.of(text)) != Some(b"\"2.0\"") {
        return Err(fail(code::INVALID_REQUEST, "`jsonrpc` must be \"2.0\""));
    }
    let (kind, method) = if let Some(method) = top.method {
        if kind_at(Some(method)) != Some(Json::String) {
            return Err(fail(code::INVALID_REQUEST, "`method` must be a string"));
        }
        if top.result.is_some() || top.error.is_some() {
            return Err(fail(
                code::INVALID_REQUEST,
                "a message with `method` has neither `result` nor `error`",
            ));
        }
        if top.id.is_some() && valid_id.is_none() {
            return Err(fail(code::INVALID_REQUEST, "`id` must be a string or an integer"));
        }
        if !matches!(kind_at(top.params_span), None | Some(Json::Object)) {
            return Err(fail(code::INVALID_PARAMS, "`params` must be an object"));
        }
        let name = decode_string(method.of(text))
            .ok_or_else(|| fail(code::INVALID_REQUEST, "`method` is not valid Unicode"))?;
        let kind = if top.id.is_some() { Kind::Request } else { Kind::Notification };
        (kind, Method::parse(&name))
    } else {
        match (top.result, top.error) {
            (Some(_), None) if valid_id.is_some() => (Kind::Result, Method::Other),
            (None, Some(_)) if kind_at(top.error) != Some(Json::Object) => {
                return Err(fail(code::INVALID_REQUEST, "`error` must be an object"));
            }
            // An error may answer a request whose id could not be read (JSON-RPC 2.0 section 5).
            (None, Some(_)) if valid_id.is_some() || matches!(kind_at(top.id), None | Some(Json::Null)) => {
                (Kind::Error, Method::Other)
            }
            (Some(_), Some(_)) => {
                return Err(fail(
                    code::INVALID_REQUEST,
                    "a response has either `result` or `error`, not both",
                ));
            }
            (None, None) => {
                return Err(fail(code::INVALID_REQUEST, "a message needs `method`, `result` or `error`"));
            }
            _ => return Err(fail(code::INVALID_REQUEST, "`id` must be a string or an integer")),
        }
    };
    Ok(Envelope {
        kind,
        method,
        method_name: top.method,
        id: valid_id,
        body_start,
        params: top.params_span.map(|_| top.params),
        result: top.result,
        error: top.error,
    })
}
