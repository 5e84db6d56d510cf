//! Why the gateway itself answers with an error. One closed set, shared by responses, metrics and logs.
//!
//! Changes when the gateway has another reason to refuse or fail.

use std::time::Duration;

use bridge_mcp::error::code;
use serde_json::{Value, json};

use crate::denial::Denial;

/// Whether the client may send the same request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nothing was executed; repeating is safe.
    Safe,
    /// The call may have been executed.
    Unknown,
    /// Repeating gives the same answer.
    Pointless,
}

impl Retry {
    fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unknown => "may_have_executed",
            Self::Pointless => "pointless",
        }
    }
}

/// A reason, without the particulars of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `Host` is not one of this listener's.
    ForeignHost,
    /// `Origin` is not allowed.
    ForeignOrigin,
    /// The access policy refuses.
    Unauthorized,
    /// The credential does not allow this request.
    InsufficientScope,
    /// Not a method of the MCP endpoint.
    HttpMethod,
    /// The client accepts neither form of answer.
    NotAcceptable,
    /// The body is not JSON.
    MediaType,
    /// The body is too large.
    BodyTooLarge,
    /// The body came too slowly.
    BodyTimeout,
    /// The body broke off.
    BodyAborted,
    /// No such endpoint.
    UnknownPath,
    /// Not a message, or not one that is legal here.
    BadMessage,
    /// The session does not exist (any more), or is not this principal's.
    UnknownSession,
    /// Too many sessions, listens or children.
    Exhausted,
    /// No backend offers it.
    UnknownTarget,
    /// No backend lists the resource; legacy clients have a code of their own for it.
    UnknownResource,
    /// More than one backend offers it under this name.
    AmbiguousTarget,
    /// The backend could not be reached.
    BackendUnavailable,
    /// The backend refuses the gateway's credential.
    BackendCredential,
    /// The backend was lost while it had the request.
    BackendLost,
    /// The backend did not answer in time.
    BackendTimeout,
    /// The backend has too many requests in flight.
    BackendBusy,
    /// The backend's answer is no MCP.
    BackendProtocol,
    /// The backend speaks no generation in which it may be spoken to.
    EraMismatch,
    /// `requestState` is not one of ours, or belongs to another request or principal.
    BadRequestState,
    /// The call that `requestState` names does not wait any more.
    CallExpired,
    /// Too many calls wait for their clients; this one was sent and then cancelled.
    TooManyParked,
    /// The gateway is shutting down.
    ShuttingDown,
}

impl Reason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::ForeignHost,
        Self::ForeignOrigin,
        Self::Unauthorized,
        Self::InsufficientScope,
        Self::HttpMethod,
        Self::NotAcceptable,
        Self::MediaType,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BodyAborted,
        Self::UnknownPath,
        Self::BadMessage,
        Self::UnknownSession,
        Self::Exhausted,
        Self::UnknownTarget,
        Self::UnknownResource,
        Self::AmbiguousTarget,
        Self::BackendUnavailable,
        Self::BackendCredential,
        Self::BackendLost,
        Self::BackendTimeout,
        Self::BackendBusy,
        Self::BackendProtocol,
        Self::EraMismatch,
        Self::BadRequestState,
        Self::CallExpired,
        Self::TooManyParked,
        Self::ShuttingDown,
    ];

    /// Metric label, log field and `error.data.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForeignHost => "foreign_host",
            Self::ForeignOrigin => "foreign_origin",
            Self::Unauthorized => "unauthorized",
            Self::InsufficientScope => "insufficient_scope",
            Self::HttpMethod => "http_method",
            Self::NotAcceptable => "not_acceptable",
            Self::MediaType => "media_type",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyAborted => "body_aborted",
            Self::UnknownPath => "unknown_path",
            Self::BadMessage => "bad_message",
            Self::UnknownSession => "unknown_session",
            Self::Exhausted => "exhausted",
            Self::UnknownTarget => "unknown_target",
            Self::UnknownResource => "unknown_resource",
            Self::AmbiguousTarget => "ambiguous_target",
            Self::BackendUnavailable => "backend_unavailable",
            Self::BackendCredential => "backend_credential",
            Self::BackendLost => "backend_lost",
            Self::BackendTimeout => "backend_timeout",
            Self::BackendBusy => "backend_busy",
            Self::BackendProtocol => "backend_protocol",
            Self::EraMismatch => "era_mismatch",
            Self::BadRequestState => "bad_request_state",
            Self::CallExpired => "call_expired",
            Self::TooManyParked => "too_many_parked",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// HTTP status for a refusal before any backend is asked; failures of a backend answer a valid request and so
    /// travel as 200, where clients of both generations read the error.
    pub fn status(self) -> u16 {
        match self {
            Self::ForeignHost | Self::ForeignOrigin | Self::InsufficientScope => 403,
            Self::Unauthorized => 401,
            Self::HttpMethod => 405,
            Self::NotAcceptable => 406,
            Self::MediaType => 415,
            Self::BodyTooLarge => 413,
            Self::BodyTimeout => 408,
            Self::BodyAborted | Self::BadMessage => 400,
            Self::UnknownPath | Self::UnknownSession => 404,
            Self::Exhausted | Self::ShuttingDown => 503,
            Self::UnknownTarget
            | Self::UnknownResource
            | Self::AmbiguousTarget
            | Self::BackendUnavailable
            | Self::BackendCredential
            | Self::BackendLost
            | Self::BackendTimeout
            | Self::BackendBusy
            | Self::BackendProtocol
            | Self::EraMismatch
            | Self::BadRequestState
            | Self::CallExpired
            | Self::TooManyParked => 200,
        }
    }

    /// JSON-RPC error code.
    pub fn code(self) -> i64 {
        match self {
            Self::UnknownTarget | Self::AmbiguousTarget | Self::BadRequestState | Self::CallExpired => {
                code::INVALID_PARAMS
            }
            Self::UnknownResource => code::RESOURCE_NOT_FOUND,
            Self::BackendUnavailable
            | Self::BackendCredential
            | Self::BackendLost
            | Self::BackendBusy
            | Self::Exhausted
            | Self::TooManyParked
            | Self::ShuttingDown => code::BACKEND_UNAVAILABLE,
            Self::BackendTimeout => code::BACKEND_TIMEOUT,
            Self::BackendProtocol | Self::EraMismatch => code::INTERNAL,
            Self::Unauthorized | Self::InsufficientScope => code::UNAUTHORIZED,
            _ => code::INVALID_REQUEST,
        }
    }

    /// Whether repeating the request is safe.
    pub fn retry(self) -> Retry {
        match self {
            Self::BackendUnavailable
            | Self::BackendCredential
            | Self::BackendBusy
            | Self::Exhausted
            | Self::ShuttingDown
            | Self::BodyTimeout => Retry::Safe,
            Self::BackendLost
            | Self::BackendTimeout
            | Self::BackendProtocol
            | Self::CallExpired
            | Self::TooManyParked => Retry::Unknown,
            _ => Retry::Pointless,
        }
    }

    /// When to come back (`Retry-After`, RFC 9110 10.2.3), for refusals with status 503.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            // Places come free when somebody leaves.
            Self::Exhausted => Some(Duration::from_secs(5)),
            // Another replica is there already.
            Self::ShuttingDown => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// One refusal: a reason with its particulars. The detail names no internal address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What to tell the client: what is wrong and what to do.
    pub detail: String,
    /// The backend concerned, by its configured name.
    pub backend: Option<String>,
    /// The resource concerned.
    pub uri: Option<String>,
    /// What is wrong with the credential.
    pub denial: Option<Denial>,
    /// The scopes that the request needs, separated by spaces.
    pub scope: Option<Box<str>>,
}

impl Refusal {
    /// A refusal that concerns no backend.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), backend: None, uri: None, denial: None, scope: None }
    }

    /// A failure of one backend.
    pub fn backend(reason: Reason, backend: &str, detail: impl std::fmt::Display) -> Self {
        Self {
            reason,
            detail: format!("backend `{backend}`: {detail}"),
            backend: Some(backend.to_owned()),
            uri: None,
            denial: None,
            scope: None,
        }
    }

    /// A credential that is not accepted.
    pub fn denied(denial: Denial) -> Self {
        Self { denial: Some(denial), ..Self::new(Reason::Unauthorized, denial.text()) }
    }

    /// A credential that does not allow `what`, which needs all of these scopes.
    pub fn lacks_scopes(what: impl std::fmt::Display, scopes: &[String]) -> Self {
        let scope = scopes.join(" ");
        let denial = Some(Denial::InsufficientScope);
        let detail = format!("{what} needs the scopes `{scope}`; get a token that has them");
        Self { denial, scope: Some(scope.into()), ..Self::new(Reason::InsufficientScope, detail) }
    }

    /// `error.data`: machine-readable reason, retry advice, and what it concerns.
    pub fn data(&self) -> Value {
        let mut data = json!({ "reason": self.reason.as_str(), "retry": self.reason.retry().as_str() });
        if let (Some(backend), Some(object)) = (&self.backend, data.as_object_mut()) {
            object.insert("backend".to_owned(), json!(backend));
        }
        if let (Some(uri), Some(object)) = (&self.uri, data.as_object_mut()) {
            object.insert("uri".to_owned(), json!(uri));
        }
        if let (Some(scope), Some(object)) = (&self.scope, data.as_object_mut()) {
            object.insert("scope".to_owned(), json!(scope));
        }
        if let (Some(denial), Some(object)) = (self.denial, data.as_object_mut()) {
            object.insert("code".to_owned(), json!(denial.code()));
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_distinct() {
        let labels: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }

    #[test]
    fn whoever_gets_503_is_told_when_to_come_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.retry_after().is_some(), reason.status() == 503, "{reason:?}");
        }
    }

    #[test]
    fn a_call_that_may_have_run_is_never_called_safe() {
        for reason in [Reason::BackendLost, Reason::BackendTimeout, Reason::BackendProtocol] {
            assert_eq!(reason.retry(), Retry::Unknown);
        }
    }
}
