//! Commands in a container over a WebSocket, `v5.channel.k8s.io`. Changes when that protocol has a new version.
//!
//! The first byte of a message names its stream. kubectl and the API server speak it since Kubernetes 1.30; the API server
//! passes it on to kubelets that declare it since 1.36.

use std::future::Future;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_runtime::tasks::spawn;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::exec::Inside;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// Followed by the stream that ends.
const CLOSE: u8 = 255;
/// What every implementation appends to the client's key (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Newest first; both have the streams above, the older one cannot end standard input.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// The answer that opens the connection, and what happens on it.
pub(super) fn exec(
    inside: Inside,
    mut request: Request<Incoming>,
) -> Result<(Response<()>, impl Future<Output = Result<()>> + Send)> {
    let words = words(request.uri().query().unwrap_or_default());
    ensure!(!words.is_empty(), "no command");
    let headers = request.headers();
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<_> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    let protocol = PROTOCOLS.into_iter().find(|known| offered.contains(known));
    let protocol = protocol.context("commands are run over WebSockets (v5.channel.k8s.io) only")?;
    let key = headers.get(SEC_WEBSOCKET_KEY).context("not a WebSocket handshake")?.to_str()?;
    let accepted = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, accepted)
        .header(SEC_WEBSOCKET_PROTOCOL, protocol)
        .body(())?;
    let upgraded = hyper::upgrade::on(&mut request);
    let work = async move {
        let stream = TokioIo::new(upgraded.await?);
        converse(WebSocketStream::from_raw_socket(stream, Role::Server, None).await, &inside, &words).await
    };
    Ok((response, work))
}

async fn converse<S>(socket: WebSocketStream<S>, inside: &Inside, words: &[String]) -> Result<()>
where
    S: AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut child = inside
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (mut sink, mut source) = socket.split();
    let (sender, mut outgoing) = channel::<Message>(8);
    let mut stdin = child.stdin.take();
    let stdout = child.stdout.take().map(|pipe| spawn("exec output", copy(STDOUT, pipe, sender.clone())));
    let stderr = child.stderr.take().map(|pipe| spawn("exec output", copy(STDERR, pipe, sender.clone())));
    let writing = spawn("exec writer", async move {
        while let Some(message) = outgoing.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // Without a code the other side takes it for a loss.
        let normal = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = sink.send(Message::Close(Some(normal))).await;
    });
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            message = source.next() => match message {
                Some(Ok(Message::Binary(bytes))) => match bytes.split_first() {
                    Some((&STDIN, input)) => if let Some(pipe) = &mut stdin {
                        // A program that reads no more gets no more.
                        if pipe.write_all(input).await.is_err() {
                            stdin = None;
                        }
                    },
                    Some((&CLOSE, [STDIN])) => stdin = None,
                    _ => {}
                },
                Some(Ok(_)) => {}
                // Nobody listens any more.
                Some(Err(_)) | None => return Ok(child.kill().await?),
            },
        }
    };
    for output in [stdout, stderr].into_iter().flatten() {
        let _ = output.await;
    }
    let outcome = match status.code() {
        Some(0) => json!({ "metadata": {}, "status": "Success" }),
        code => {
            let code = code.unwrap_or(137);
            json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: {status}"),
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            })
        }
    };
    sender.send(message(ERROR, outcome.to_string().as_bytes())).await?;
    drop(sender);
    writing.await?;
    // The other side closes the connection.
    while let Some(Ok(_)) = source.next().await {}
    Ok(())
}

async fn copy(stream: u8, mut pipe: impl AsyncRead + Unpin, sender: Sender<Message>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = pipe.read(&mut buffer).await {
        if length == 0 || sender.send(message(stream, &buffer[..length])).await.is_err() {
            return;
        }
    }
}

fn message(stream: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[stream], bytes].concat().into())
}

fn words(query: &str) -> Vec<String> {
    pairs(query).into_iter().filter(|(key, _)| key == "command").map(|(_, value)| value).collect()
}

/// The pairs of a query, decoded.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let (decoded, next) = match (byte, hex) {
            (b'%', Some(decoded)) => (decoded, &after[2..]),
            (b'+', _) => (b' ', after),
            _ => (*byte, after),
        };
        out.push(decoded);
        rest = next;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_from_the_query() {
        assert_eq!(words("command=sh&command=-c&input=1&command=a%20%3D+%25"), ["sh", "-c", "a = %"]);
        assert_eq!(words("tty=1"), [] as [&str; 0]);
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
