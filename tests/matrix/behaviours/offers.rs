//! Lists, and what they offer, used once. Changes when the fixture offers something else.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::Era;
use serde_json::{Value, json};

use super::text;
use crate::cell::Cell;
use crate::generation::Revision;
use crate::session::Session;

/// The start of every PNG, in base64.
const PNG: &str = "iVBORw0KGgo";

fn names(items: &[Value], key: &str) -> BTreeSet<String> {
    items.iter().filter_map(|item| item[key].as_str().map(str::to_owned)).collect()
}

/// The lists come in several pages from the server.
pub(super) fn list(session: &mut Session, _: Cell) -> Result<()> {
    let tools = session.list("tools/list", "tools")?;
    let names_of_tools = names(&tools, "name");
    ensure!(names_of_tools.len() == tools.len() && tools.len() > 40, "{} tools", tools.len());
    for tool in ["echo", "test_simple_text", "test_url_required", "crash"] {
        ensure!(names_of_tools.contains(tool), "{tool} is not in {names_of_tools:?}");
    }
    let rich = tools.iter().find(|tool| tool["name"] == "json_schema_2020_12_tool");
    let schema = &rich.context("the tool with the rich schema")?["inputSchema"];
    for keyword in ["$schema", "$defs", "allOf", "if", "then", "else", "additionalProperties"] {
        ensure!(schema.get(keyword).is_some(), "{keyword} is lost from {schema}");
    }
    let resources = names(&session.list("resources/list", "resources")?, "uri");
    ensure!(
        resources.contains("test://static-text") && resources.contains("test://watched-resource"),
        "{resources:?}"
    );
    let templates = names(&session.list("resources/templates/list", "resourceTemplates")?, "uriTemplate");
    ensure!(templates.contains("test://template/{id}/data"), "{templates:?}");
    let prompts = names(&session.list("prompts/list", "prompts")?, "name");
    ensure!(prompts.contains("test_simple_prompt"), "{prompts:?}");

    let page = session.result("tools/list", &json!({}))?;
    for member in ["resultType", "ttlMs", "cacheScope"] {
        let there = page.get(member).is_some();
        ensure!(there != session.revision.is_legacy(), "{member} is of 2026-07-28 only: {page}");
    }
    Ok(())
}

pub(super) fn call(session: &mut Session, _: Cell) -> Result<()> {
    for said in ["plain", "", "línea\n\"quoted\" \\ \u{1F600} \u{2028}", "{\"jsonrpc\":\"2.0\"}"] {
        let result = session.call("echo", &json!({ "message": said }))?;
        ensure!(text(&result) == said, "{said:?} came back as {result}");
        let complete = (!session.revision.is_legacy()).then(|| json!("complete"));
        ensure!(result.get("resultType") == complete.as_ref(), "{result}");
    }
    Ok(())
}

/// The server says which revision it is spoken to in, so this also shows that the cell is what it says.
pub(super) fn structured(session: &mut Session, cell: Cell) -> Result<()> {
    let result = session.call("whoami", &json!({}))?;
    let who = &result["structuredContent"];
    // Within a generation the client's revision is the session's; across, the newest of the other generation is spoken.
    let spoken = match cell.server {
        Era::Modern => Revision::V2026_07_28,
        Era::Legacy | Era::Both => cell.client.min(Revision::V2025_11_25),
    };
    ensure!(who["protocolVersion"] == spoken.as_str(), "{result}");
    ensure!(who["pid"].is_u64() && who["instance"].is_string(), "{result}");
    let tools = session.list("tools/list", "tools")?;
    let tool = tools.iter().find(|tool| tool["name"] == "whoami").context("whoami is listed")?;
    ensure!(tool["outputSchema"]["required"].as_array().is_some_and(|keys| keys.len() == 5), "{tool}");
    Ok(())
}

pub(super) fn image(session: &mut Session, _: Cell) -> Result<()> {
    for (tool, index) in [("test_image_content", 0), ("test_multiple_content_types", 1)] {
        let result = session.call(tool, &json!({}))?;
        let image = &result["content"][index];
        ensure!(image["type"] == "image" && image["mimeType"] == "image/png", "{result}");
        ensure!(image["data"].as_str().is_some_and(|data| data.starts_with(PNG)), "{result}");
    }
    Ok(())
}

pub(super) fn audio(session: &mut Session, _: Cell) -> Result<()> {
    let result = session.call("test_audio_content", &json!({}))?;
    let audio = &result["content"][0];
    ensure!(audio["type"] == "audio" && audio["mimeType"] == "audio/wav", "{result}");
    ensure!(audio["data"].as_str().is_some_and(|data| data.starts_with("UklGR")), "{result}");
    Ok(())
}

pub(super) fn resource(session: &mut Session, _: Cell) -> Result<()> {
    let embedded = session.call("test_embedded_resource", &json!({}))?;
    ensure!(embedded["content"][0]["resource"]["uri"] == "test://embedded-resource", "{embedded}");
    let mut read = |uri: &str| session.result("resources/read", &json!({ "uri": uri }));
    let plain = read("test://static-text")?;
    ensure!(plain["contents"][0]["text"] == "This is the content of the static text resource.", "{plain}");
    let binary = read("test://static-binary")?;
    ensure!(binary["contents"][0]["blob"].as_str().is_some_and(|blob| blob.starts_with(PNG)), "{binary}");
    let templated = read("test://template/42/data")?;
    ensure!(
        templated["contents"][0]["text"].as_str().is_some_and(|text| text.contains("ID: 42")),
        "{templated}"
    );
    for result in [&plain, &binary, &templated] {
        let hinted = result.get("ttlMs").is_some() && result.get("cacheScope").is_some();
        ensure!(hinted != session.revision.is_legacy(), "{result}");
    }
    Ok(())
}

pub(super) fn prompt(session: &mut Session, _: Cell) -> Result<()> {
    let arguments = json!({ "arg1": "one", "arg2": "two" });
    let params = json!({ "name": "test_prompt_with_arguments", "arguments": arguments });
    let prompt = session.result("prompts/get", &params)?;
    let said = prompt["messages"][0]["content"]["text"].as_str().unwrap_or_default();
    ensure!(said.contains("'one'") && said.contains("'two'"), "{prompt}");
    let prompt = session.result("prompts/get", &json!({ "name": "test_prompt_with_image" }))?;
    ensure!(prompt["messages"][0]["content"]["type"] == "image", "{prompt}");
    Ok(())
}

pub(super) fn error(session: &mut Session, _: Cell) -> Result<()> {
    let result = session.call("test_error_handling", &json!({}))?;
    ensure!(result["isError"] == true, "{result}");
    ensure!(text(&result) == "This tool intentionally returns an error for testing", "{result}");
    let unknown = session.error("tools/call", &json!({ "name": "no_such_tool" }))?;
    ensure!(unknown.code == -32602, "{unknown}");
    let uri = "test://nothing-here";
    let missing = session.error("resources/read", &json!({ "uri": uri }))?;
    let code = if session.revision.is_legacy() { -32002 } else { -32602 };
    ensure!(missing.code == code && missing.data["uri"] == uri, "{missing}");
    let method = session.error("no/such/method", &json!({}))?;
    ensure!(method.code == -32601, "{method}");
    Ok(())
}

pub(super) fn completion(session: &mut Session, _: Cell) -> Result<()> {
    let prompt = json!({ "type": "ref/prompt", "name": "test_prompt_with_arguments" });
    let template = json!({ "type": "ref/resource", "uri": "test://template/{id}/data" });
    for (reference, argument, typed, values) in
        [(prompt, "arg1", "al", json!(["alpha"])), (template, "id", "1", json!(["1", "123"]))]
    {
        let params = json!({ "ref": reference, "argument": { "name": argument, "value": typed } });
        let result = session.result("completion/complete", &params)?;
        ensure!(result["completion"]["values"] == values, "{result}");
    }
    Ok(())
}
