//! `POST /api/v1/mcp` of the original gateway: an envelope in, the bare answer out. Changes when that endpoint is served
//! differently.
//!
//! Each POST is a connection of its own that ends with its answer, so it needs no session and leaves none.

use bridge_mcp::error::code;
use bridge_mcp::original::envelope::{self, Envelope, Form};
use bridge_mcp::original::input::Token;
use bridge_mcp::original::reply;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Destination, Inbound, Sender};
use crate::pipeline::{Context, Reply, read, respond};

/// Answers one POST. What becomes of the message is said with 200, as the original does; 400 is for what is no message.
pub(crate) async fn serve(context: Context, stop: CancellationToken, request: Request<Incoming>) -> Reply {
    if *request.method() != Method::POST {
        let mut reply = failed(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        reply.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("POST"));
        return reply;
    }
    let Ok(text) = read(&context, request.into_body()).await else {
        return failed(StatusCode::BAD_REQUEST, "invalid request body");
    };
    let envelope = match envelope::read(&text, &context.plan.client_limits) {
        Ok(Form::Wrapped(envelope)) => envelope,
        Ok(Form::Bare(payload)) => Envelope { id: None, namespace: None, token: None, payload },
        Err(error) => {
            let answer = reply::error(error.id.as_deref(), code::INVALID_REQUEST, &error.to_string(), None);
            return respond::json(200, answer);
        }
    };
    let (connection, mut outbox) = Connection::open(&context.gateway, stop);
    let inbound = Inbound {
        message: envelope.payload,
        destination: Destination::Original { target: envelope.namespace.as_ref() },
        // A token of its own counts, else that of the request.
        sender: match envelope.token {
            Some(_) => Sender::Connection(&context.principal),
            None => Sender::Verified(&context.principal),
        },
        token: envelope.token.as_ref().map(Token::expose),
        id: envelope.id.as_deref(),
        unasked: true,
    };
    connection.receive(inbound).await;
    // A notification has no answer, and then there is nothing to wait for.
    let answered = async {
        connection.finished().await;
        None
    };
    let answer = tokio::select! {
        biased;
        next = outbox.next() => next,
        none = answered => none.or_else(|| outbox.waiting()),
    };
    match answer {
        Some(answer) => respond::json(200, answer.message),
        None => respond::accepted(),
    }
}

fn failed(status: StatusCode, error: &str) -> Reply {
    let body = serde_json::json!({ "error": error }).to_string();
    respond::error(status.as_u16(), Bytes::from(body))
}
