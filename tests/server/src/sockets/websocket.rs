//! WebSocket, one message per text frame, with or without the subprotocol `mcp`. Changes with how such servers behave.

use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use tokio::net::TcpStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::Line;
use crate::conversation::MAX_MESSAGE;

const SUBPROTOCOL: &str = "sec-websocket-protocol";

pub(super) async fn serve(line: Line, stream: TcpStream) -> anyhow::Result<()> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let socket = accept_hdr_async_with_config(stream, subprotocol, Some(config)).await?;
    let (mut sink, mut stream) = socket.split();
    let (mut from_server, mut to_server) = line.halves();
    let incoming = async {
        while let Some(message) = stream.next().await {
            match message? {
                Message::Text(text) => to_server.send(text.as_bytes()).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        to_server.end().await
    };
    let outgoing = async {
        while let Some(message) = from_server.next().await? {
            sink.send(Message::text(message)).await?;
        }
        anyhow::Ok(sink.close().await?)
    };
    tokio::try_join!(incoming, outgoing).map(|((), ())| ())
}

/// A client that offers the subprotocol gets it.
#[expect(clippy::result_large_err, clippy::unnecessary_wraps, reason = "the signature is the library's")]
fn subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(SUBPROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if offered.flat_map(|value| value.split(',')).any(|name| name.trim() == "mcp") {
        response.headers_mut().insert(SUBPROTOCOL, HeaderValue::from_static("mcp"));
    }
    Ok(response)
}
