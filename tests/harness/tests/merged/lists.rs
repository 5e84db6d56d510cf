//! Merged lists: pages, cursors, hints, and what the endpoint says of itself. Changes when merged lists do.

use anyhow::{Context as _, Result};
use bridge_tests::fake::{Act, Fake};
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, TestServer};
use serde_json::{Value, json};

use crate::support::{Client, Several, many, under, until};

#[test]
fn a_list_that_a_backend_gives_in_pages_is_whole() -> Result<()> {
    let mut paged = TestServer::stdio(Era::Both)?;
    paged.extend(["--page-size".to_owned(), "2".to_owned()]);
    let config = Config::new().stdio("whole", &TestServer::stdio(Era::Both)?).stdio("paged", &paged);
    let gateway = Gateway::start(&config)?;
    for mut client in Client::of_both(&gateway)? {
        let tools = client.tools()?;
        assert!(under(&tools, "whole").len() > 20, "{tools:?}");
        assert_eq!(under(&tools, "paged"), under(&tools, "whole"));
    }
    Ok(())
}

#[test]
fn a_long_list_comes_in_pages_with_every_item_once_and_in_order() -> Result<()> {
    let (first, second) = (many("first", 1250)?, many("second", 1250)?);
    let gateway = Gateway::start(&Config::new().http("a", &first.url()).http("b", &second.url()))?;
    let expected: Vec<_> = ["first", "second"]
        .iter()
        .flat_map(|of| (0..1250).map(move |number| format!("{of}-{number:04}")))
        .collect();
    for mut client in Client::of_both(&gateway)? {
        let page = client.request("tools/list", &json!({}))?.into_result()?;
        assert!(
            page["nextCursor"].is_string() && page["tools"].as_array().is_some_and(|page| page.len() < 2500)
        );
        let listed = client.list("tools/list", "tools")?;
        let names: Vec<_> = listed.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert!(names == expected, "{} of {} names, or in another order", names.len(), expected.len());
    }
    Ok(())
}

#[test]
fn a_cursor_that_is_not_of_this_list_is_refused() -> Result<()> {
    for generation in 0..2 {
        let (many, fixture) = (many("tool", 1250)?, TestServer::http(Era::Both)?);
        let config = Config::new().http("many", &many.url()).http("fixture", fixture.url());
        let gateway = Gateway::start(&config)?;
        let client = &mut Client::of_both(&gateway)?[generation];
        let page = client.request("tools/list", &json!({}))?.into_result()?;
        let cursor = page["nextCursor"].as_str().context("a second page")?.to_owned();
        client.request("tools/list", &json!({ "cursor": cursor }))?.into_result()?;

        let last = if cursor.ends_with('A') { "B" } else { "A" };
        let tampered = format!("{}{last}", &cursor[..cursor.len() - 1]);
        let first = format!("{}{}", if cursor.starts_with('B') { "A" } else { "B" }, &cursor[1..]);
        for (method, cursor) in [
            ("tools/list", json!(tampered)),
            ("tools/list", json!(first)),
            ("tools/list", json!("")),
            ("tools/list", json!("100")),
            ("tools/list", json!("x".repeat(10_000))),
            ("tools/list", json!(100)),
            ("prompts/list", json!(cursor)),
            ("resources/list", json!(cursor)),
            ("resources/templates/list", json!(cursor)),
        ] {
            let error = client.request(method, &json!({ "cursor": cursor }))?.into_error()?;
            assert_eq!(error.code, -32602, "{method} {cursor}: {error}");
            assert!(error.message.contains("cursor"), "{error}");
        }

        client.call("test_trigger_tool_change")?;
        let mut refusal = None;
        until(|| {
            let reply = client.request("tools/list", &json!({ "cursor": cursor }))?;
            refusal = reply.into_error().ok();
            Ok(refusal.is_some())
        })?;
        let error = refusal.context("a refusal")?;
        assert_eq!(error.code, -32602, "{error}");
        assert!(error.message.contains("changed"), "{error}");
    }
    Ok(())
}

#[test]
fn the_endpoint_offers_what_its_backends_offer() -> Result<()> {
    let several = Several::start()?;
    let all = json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "listChanged": true, "subscribe": true },
        "completions": {},
        "logging": {},
    });
    let session = several.session()?;
    let hello = session.initialize_result();
    assert_eq!(hello["capabilities"], all);
    assert_eq!(hello["protocolVersion"], "2025-11-25");
    assert_eq!(hello["serverInfo"]["name"], "mcp-gateway");
    let said = hello["instructions"].as_str().context("instructions")?;
    let introduced =
        |said: &str| ["old", "new", "both"].iter().all(|name| said.contains(&format!("[{name}] A fixture")));
    assert!(introduced(said), "{said}");

    let discovered = several.client()?.request("server/discover", &json!({}))?.into_result()?;
    assert_eq!(discovered["capabilities"], all);
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(discovered["resultType"], "complete");
    hints(&discovered, 0, "private");
    let said = discovered["instructions"].as_str().context("instructions")?;
    assert!(introduced(said), "{said}");
    Ok(())
}

#[test]
fn the_endpoint_offers_no_more_than_its_backends() -> Result<()> {
    let (odd, odder) = (Fake::legacy(|_| Act::hang())?, Fake::modern(|_| Act::hang())?);
    let config = Config::new()
        .backend(Backend::http("odd", &odd.url()).era("legacy"))
        .backend(Backend::http("odder", &odder.url()).era("modern"));
    let gateway = Gateway::start(&config)?;
    let [Client::Legacy(session), Client::Modern(mut client)] = Client::of_both(&gateway)? else {
        anyhow::bail!("one client of each generation");
    };
    let discovered = client.request("server/discover", &json!({}))?.into_result()?;
    for said in [session.initialize_result(), &discovered] {
        let offered = &said["capabilities"];
        assert!(offered.get("completions").is_none() && offered.get("logging").is_none(), "{offered}");
        assert!(offered["resources"].get("subscribe").is_none(), "{offered}");
        assert!(said.get("instructions").is_none(), "{said}");
    }
    Ok(())
}

#[test]
fn modern_lists_say_how_long_they_hold_and_for_whom() -> Result<()> {
    let new = TestServer::http(Era::Modern)?;
    let config = Config::new().http("new", new.url()).stdio("both", &TestServer::stdio(Era::Both)?);
    let gateway = Gateway::start(&config)?;
    let mut client = bridge_tests::ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list"] {
        let result = client.request(method, &json!({}))?.into_result()?;
        assert_eq!(result["resultType"], "complete");
        hints(&result, 5000, "public");
    }

    // A legacy server says nothing of either, so a part of it makes the whole private and not to be kept. This one has
    // tools only: prompts are not its part.
    let odd = Fake::legacy(|_| Act::hang())?;
    let config = Config::new().http("new", new.url()).backend(Backend::http("odd", &odd.url()).era("legacy"));
    let gateway = Gateway::start(&config)?;
    let mut client = bridge_tests::ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    let tools = client.request("tools/list", &json!({}))?.into_result()?;
    assert!(tools["tools"].to_string().contains(r#""name":"work""#), "{tools}");
    hints(&tools, 0, "private");
    hints(&client.request("prompts/list", &json!({}))?.into_result()?, 5000, "public");
    let mut session = LegacySession::open(&gateway.url("/mcp"), &json!({}))?;
    let legacy = session.request("tools/list", &json!({}))?.into_result()?;
    for member in ["resultType", "ttlMs", "cacheScope"] {
        assert!(legacy.get(member).is_none(), "{member} is not of this generation");
    }
    Ok(())
}

fn hints(result: &Value, ttl_ms: u64, scope: &str) {
    assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(ttl_ms), &json!(scope)), "{result}");
}
