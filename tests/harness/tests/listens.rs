//! Open `subscriptions/listen` requests of 2026-07-28. Changes when subscriptions do.

use anyhow::Result;
use bridge_tests::{Config, Era, Gateway, ModernClient, TestServer};
use serde_json::json;

#[test]
fn a_listen_is_acknowledged_with_what_it_asked_for() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    let (acknowledged, _stream) = client.listen(&json!({ "toolsListChanged": true }))?;
    assert_eq!(acknowledged["params"]["notifications"], json!({ "toolsListChanged": true }));
    Ok(())
}
