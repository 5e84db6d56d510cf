//! The endpoint that serves all backends as one server. Changes when the merged endpoint does.

use anyhow::Result;
use bridge_tests::{Config, Era, Gateway, LegacySession, TestServer};
use serde_json::json;

#[test]
fn an_unknown_tool_is_invalid_params_in_a_session() -> Result<()> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&Config::new().http("one", fixture.url()))?;
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let error = session.request("tools/call", &json!({ "name": "no_such_tool" }))?.into_error()?;
    assert_eq!(error.code, -32602);
    assert!(error.message.contains("no_such_tool"), "{error}");
    Ok(())
}
