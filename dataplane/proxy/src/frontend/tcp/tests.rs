//! What time does to a connection: the clock is paused, so that minutes pass at once.

use bridge_mcp::original::binary::FrameKind;
use bridge_runtime::drain::Drain;
use bridge_runtime::readiness::Readiness;
use bridge_runtime::tasks;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;

/// A gateway without backends that serves one connection; the other end of it.
fn served() -> DuplexStream {
    let drain = Drain::new();
    let readiness = Readiness::new(drain.clone());
    let gateway = crate::run::build(
        crate::gateway::without_backends(),
        drain,
        &readiness,
        crate::gateway::Role::Standalone,
    )
    .unwrap()
    .0;
    let (client, server) = duplex(1 << 16);
    tasks::spawn("test", async move { serve(&gateway, CancellationToken::new(), server).await });
    client
}

fn frame(kind: FrameKind, payload: &'static str) -> BinaryFrame {
    BinaryFrame::new(kind, payload)
}

async fn negotiated(client: DuplexStream, dialect: Dialect) -> (Reader<DuplexStream>, Writer<DuplexStream>) {
    let (mut reader, mut writer) = binary::connected(client, dialect, MAX_PAYLOAD);
    writer.queue(&frame(FrameKind::VersionNegotiation, r#"{"max_version":1}"#)).unwrap();
    writer.flush().await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().kind, FrameKind::VersionAck);
    (reader, writer)
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_shown_a_sign_of_life_every_minute_in_dialect_g() {
    let (mut reader, _writer) = negotiated(served(), Dialect::G).await;
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(reader.next().await.unwrap(), Some(frame(FrameKind::HealthCheck, "")));
        assert_eq!(begun.elapsed(), IDLE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_of_dialect_r_hears_nothing_and_stays() {
    let (mut reader, mut writer) = negotiated(served(), Dialect::R).await;
    assert!(timeout(Duration::from_hours(1), reader.next()).await.is_err());
    let ping = r#"{"mcp_payload":{"jsonrpc":"2.0","id":1,"method":"ping"}}"#;
    writer.queue(&frame(FrameKind::Request, ping)).unwrap();
    writer.flush().await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().kind, FrameKind::Response);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_at_all_is_given_up() {
    let (mut reader, _writer) = binary::connected(served(), Dialect::G, MAX_PAYLOAD);
    let begun = Instant::now();
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(begun.elapsed(), IDLE);
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_is_not_waited_for_forever() {
    let mut client = served();
    client.write_all(b"MCPB\0\x01\0\x06\0\0\0\x02{}MCPB\0").await.unwrap();
    let (mut reader, _writer) = binary::connected(client, Dialect::G, MAX_PAYLOAD);
    assert_eq!(reader.next().await.unwrap().unwrap().kind, FrameKind::Error, "{{}} is no common version");
    assert_eq!(reader.next().await.unwrap(), None);

    let mut client = served();
    let offer = b"MCPB\0\x01\0\x06\0\0\0\x11{\"max_version\":1}MCPB\0";
    client.write_all(offer).await.unwrap();
    let begun = Instant::now();
    let (mut reader, _writer) = binary::connected(client, Dialect::G, MAX_PAYLOAD);
    assert_eq!(reader.next().await.unwrap().unwrap().kind, FrameKind::VersionAck);
    assert_eq!(reader.next().await.unwrap().unwrap().kind, FrameKind::HealthCheck);
    assert_eq!(reader.next().await.unwrap(), None);
    assert_eq!(begun.elapsed(), 2 * IDLE);
}
