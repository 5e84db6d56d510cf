//! The original gateway's binary protocol in its dialect G, written from its description: a header of twelve bytes (`MCPB`,
//! version, type, length) before each payload. Changes with how such servers behave.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Line;
use crate::conversation::MAX_MESSAGE;

const MAGIC: &[u8; 4] = b"MCPB";
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const HEALTH: u16 = 4;
const NEGOTIATION: u16 = 6;
const ACK: u16 = 7;
/// Frames beside the server's messages that wait to be written.
const SIGNALS: usize = 16;

pub(super) async fn serve(line: Line, stream: TcpStream) -> anyhow::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut from_server, mut to_server) = line.halves();
    let (kind, _) = read(&mut reader).await?.context("the client left at once")?;
    ensure!(kind == NEGOTIATION, "the client begins with type {kind}");
    writer.write_all(&frame(ACK, br#"{"agreed_version":1}"#)?).await?;
    let (signals, mut signalled) = mpsc::channel(SIGNALS);
    let incoming = async {
        while let Some((kind, payload)) = read(&mut reader).await? {
            match kind {
                REQUEST | RESPONSE => to_server.send(&payload).await?,
                HEALTH => signals.send(frame(HEALTH, b"")?).await?,
                _ => {}
            }
        }
        drop(signals);
        to_server.end().await
    };
    let outgoing = async {
        loop {
            let frame = tokio::select! {
                message = from_server.next() => match message? {
                    Some(message) => frame(kind_of(&message)?, message.as_bytes())?,
                    None => return anyhow::Ok(writer.shutdown().await?),
                },
                Some(signal) = signalled.recv() => signal,
            };
            writer.write_all(&frame).await?;
        }
    };
    tokio::try_join!(incoming, outgoing).map(|((), ())| ())
}

/// Requests and notifications travel as requests.
fn kind_of(message: &str) -> anyhow::Result<u16> {
    let message: serde_json::Value = serde_json::from_str(message)?;
    Ok(if message.get("method").is_some() { REQUEST } else { RESPONSE })
}

fn frame(kind: u16, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&1_u16.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(payload.len())?.to_be_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Type and payload of the next frame; `None` when the client has closed.
async fn read(reader: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Option<(u16, Vec<u8>)>> {
    let mut magic = [0; 4];
    match reader.read_exact(&mut magic).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    ensure!(&magic == MAGIC, "not this protocol: {magic:?}");
    let (version, kind, length) =
        (reader.read_u16().await?, reader.read_u16().await?, reader.read_u32().await? as usize);
    ensure!(version == 1, "version {version}");
    if length > MAX_MESSAGE {
        bail!("a frame of {length} bytes");
    }
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}
