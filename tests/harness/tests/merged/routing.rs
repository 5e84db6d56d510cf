//! Names on the merged endpoint, and where calls, prompts, resources and completions go. Changes when routing does.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Backend, Config, Era, Exchange, Gateway, LegacySession, RpcError, TestServer};
use serde_json::{Value, json};

use crate::support::{Client, Several, names, under, until};

const EXTRA: &str = "test://extra-resource";

#[test]
fn names_in_conflict_are_prefixed_and_unique_ones_are_bare() -> Result<()> {
    let several = Several::start()?;
    for mut client in Client::of_both(&several.gateway)? {
        let shown = client.tools()?;
        // The fixture lists the same in either generation, and the gateway carries all of it across.
        for backend in ["old", "new", "both"] {
            let tools = under(&shown, backend);
            assert!(
                tools.contains("echo") && tools.contains("whoami") && tools.len() > 20,
                "{backend}: {shown:?}"
            );
            assert_eq!(tools, under(&shown, "both"), "{backend}");
        }
        for backend in ["odd", "odder"] {
            assert_eq!(under(&shown, backend), BTreeSet::from(["work".to_owned()]));
        }
        assert_eq!(shown.len(), 3 * under(&shown, "both").len() + 2, "nothing is bare: {shown:?}");
    }
    let unique = Gateway::start(&Config::new().http("odd", &several.odd.url()))?;
    for mut client in Client::of_both(&unique)? {
        assert_eq!(client.tools()?, BTreeSet::from(["work".to_owned()]));
    }
    Ok(())
}

#[test]
fn every_tool_can_be_called_by_its_prefixed_name() -> Result<()> {
    let several = Several::start()?;
    for mut client in Client::of_both(&several.gateway)? {
        let mut pids = BTreeSet::new();
        for backend in ["old", "new", "both"] {
            let who = client.call(&format!("{backend}__whoami"))?;
            pids.insert(who["structuredContent"]["pid"].as_i64().context("pid")?);
        }
        assert_eq!(pids.len(), 3, "each name leads to a process of its own");
        for name in ["odd__work", "odder__work"] {
            assert_eq!(client.call(name)?["content"][0]["text"], "done", "{name}");
        }
    }
    // Each was called once by each client, in its own generation and by its own name.
    for (fake, header) in [(&several.odd, None), (&several.odder, Some("work"))] {
        let calls: Vec<_> = fake.asked().into_iter().filter(|asked| asked.method() == "tools/call").collect();
        assert_eq!(calls.len(), 2);
        for call in calls {
            assert_eq!(call.message["params"]["name"], "work");
            assert_eq!(call.header("mcp-name"), header);
        }
    }
    Ok(())
}

#[test]
fn a_conflict_in_one_generation_renames_in_both_at_once() -> Result<()> {
    let both = TestServer::http(Era::Both)?;
    let early = TestServer::http(Era::Modern)?;
    let (url, port) = (early.url().to_owned(), early.port()?);
    drop(early);
    let config = Config::new().http("both", both.url()).backend(Backend::http("late", &url).era("modern"));
    let gateway = Gateway::start(&config)?;
    let [mut legacy, mut modern] = Client::of_both(&gateway)?;
    assert!(legacy.tools()?.contains("echo") && modern.tools()?.contains("echo"));

    let _late = TestServer::http_on(Era::Modern, port)?;

    until(|| Ok(modern.tools()?.contains("late__echo")))?;
    assert!(modern.tools()?.contains("both__echo"));
    let tools = legacy.tools()?;
    assert!(tools.contains("both__echo") && !tools.contains("echo"), "{tools:?}");
    Ok(())
}

#[test]
fn an_ambiguous_name_is_refused_with_the_choices() -> Result<()> {
    let several = Several::start()?;
    for mut client in Client::of_both(&several.gateway)? {
        let choices = ["old__", "new__", "both__"];
        for (method, name) in [("tools/call", "echo"), ("prompts/get", "test_simple_prompt")] {
            let error = client.request(method, &json!({ "name": name }))?.into_error()?;
            assert_eq!(error.code, -32602, "{error}");
            for choice in choices {
                assert!(error.message.contains(&format!("`{choice}{name}`")), "{error}");
            }
        }
    }
    Ok(())
}

#[test]
fn an_unknown_name_is_refused() -> Result<()> {
    let several = Several::start()?;
    for mut client in Client::of_both(&several.gateway)? {
        for (method, name) in [
            ("tools/call", "no_such_tool"),
            ("tools/call", "old__no_such_tool"),
            ("prompts/get", "no_such_prompt"),
        ] {
            let error = client.request(method, &json!({ "name": name }))?.into_error()?;
            assert_eq!(error.code, -32602, "{error}");
            assert!(error.message.contains(name), "{error}");
        }
        let error = client.request("tools/call", &json!({ "arguments": {} }))?.into_error()?;
        assert_eq!(error.code, -32602, "{error}");
    }
    Ok(())
}

#[test]
fn prompts_and_completions_come_from_their_owner() -> Result<()> {
    Several::for_each(|client| {
        let shown = names(&client.list("prompts/list", "prompts")?);
        for backend in ["old", "new", "both"] {
            let name = format!("{backend}__test_prompt_with_arguments");
            assert!(shown.contains(&name), "{shown:?}");
            let get = json!({ "name": name, "arguments": { "arg1": "x", "arg2": "y" } });
            let prompt = client.request("prompts/get", &get)?.into_result()?;
            let text = "Prompt with arguments: arg1='x', arg2='y'";
            assert_eq!(prompt["messages"][0]["content"]["text"], text);
            let reference = json!({ "type": "ref/prompt", "name": name });
            assert_eq!(complete(client, &reference, "arg1", "al")?, json!(["alpha"]));
        }
        // Only the last of the three has this prompt.
        client.call("both__test_trigger_prompt_change")?;
        until(|| Ok(names(&client.list("prompts/list", "prompts")?).contains("test_extra_prompt")))?;
        let prompt = client.request("prompts/get", &json!({ "name": "test_extra_prompt" }))?.into_result()?;
        assert_eq!(prompt["messages"][0]["content"]["text"], "The extra prompt.");
        client.call("both__test_trigger_prompt_change")?;
        until(|| Ok(!names(&client.list("prompts/list", "prompts")?).contains("test_extra_prompt")))?;

        let template = json!({ "type": "ref/resource", "uri": "test://template/{id}/data" });
        assert_eq!(complete(client, &template, "id", "1")?, json!(["1", "123"]));
        let params = json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
            "argument": { "name": "arg1", "value": "" } });
        let error = client.request("completion/complete", &params)?.into_error()?;
        assert_eq!(error.code, -32602, "{error}");
        let error = client.request("completion/complete", &json!({ "ref": 1 }))?.into_error()?;
        assert_eq!(error.code, -32602, "{error}");
        Ok(())
    })
}

fn complete(client: &mut Client, reference: &Value, argument: &str, typed: &str) -> Result<Value> {
    let params = json!({ "ref": reference, "argument": { "name": argument, "value": typed } });
    let result = client.request("completion/complete", &params)?.into_result()?;
    Ok(result["completion"]["values"].clone())
}

#[test]
fn resources_are_read_at_their_owner() -> Result<()> {
    Several::for_each(|client| {
        for uri in ["test://static-text", "test://template/7/data"] {
            let read = client.request("resources/read", &json!({ "uri": uri }))?.into_result()?;
            assert_eq!(read["contents"][0]["uri"], uri);
        }
        let uris = uris(client)?;
        assert_eq!(
            uris,
            ["test://static-text", "test://static-binary", "test://watched-resource"],
            "each once"
        );
        // Only the last of the three has this resource, and the first ones refuse it.
        client.call("both__test_trigger_resource_change")?;
        until(|| Ok(self::uris(client)?.iter().any(|uri| uri == EXTRA)))?;
        let read = client.request("resources/read", &json!({ "uri": EXTRA }))?.into_result()?;
        assert_eq!(read["contents"][0]["text"], "The extra resource.");
        client.call("both__test_trigger_resource_change")?;
        until(|| Ok(!self::uris(client)?.iter().any(|uri| uri == EXTRA)))?;
        Ok(())
    })
}

fn uris(client: &mut Client) -> Result<Vec<String>> {
    let listed = client.list("resources/list", "resources")?;
    Ok(listed.iter().filter_map(|item| item["uri"].as_str().map(str::to_owned)).collect())
}

#[test]
fn an_unknown_resource_is_refused_in_the_words_of_each_generation() -> Result<()> {
    let several = Several::start()?;
    let fixture = TestServer::http(Era::Both)?;
    let single = Gateway::start(&Config::new().http("fixture", fixture.url()))?;
    // With one backend its own refusal arrives, with several the gateway's.
    for gateway in [&several.gateway, &single] {
        for mut client in Client::of_both(gateway)? {
            let code = if matches!(client, Client::Legacy(_)) { -32002 } else { -32602 };
            let unknown = json!({ "uri": "test://no-such-thing" });
            let error: RpcError = client.request("resources/read", &unknown)?.into_error()?;
            assert_eq!((error.code, &error.data["uri"]), (code, &unknown["uri"]), "{error}");
        }
    }
    Ok(())
}

#[test]
fn a_subscription_brings_the_updates_of_its_owner() -> Result<()> {
    let several = Several::start()?;
    let mut session: LegacySession = several.session()?;
    let mut stream = session.listen()?;
    let watched = json!({ "uri": "test://watched-resource" });
    session.request("resources/subscribe", &watched)?.into_result()?;
    // `old` is the first to list it, so it is the owner; an update at the other backend is another resource's.
    for backend in ["both", "old"] {
        let call = json!({ "name": format!("{backend}__test_trigger_resource_update") });
        session.request("tools/call", &call)?.into_result()?;
    }
    let update = skip_to(&mut stream, "notifications/resources/updated")?;
    assert_eq!(update["params"]["uri"], watched["uri"]);
    let read = session.request("resources/read", &watched)?.into_result()?;
    assert_eq!(read["contents"][0]["text"], "Watched resource, revision 1.");
    session.request("resources/unsubscribe", &watched)?.into_result()?;
    session.request("tools/call", &json!({ "name": "old__test_trigger_resource_update" }))?.into_result()?;
    session.request("tools/call", &json!({ "name": "both__test_trigger_prompt_change" }))?.into_result()?;
    let next = skip_to(&mut stream, "notifications/prompts/list_changed")?;
    assert!(next.get("params").is_none(), "{next}");
    Ok(())
}

/// The next message of this method; only news of changed lists, which the start of a gateway brings, may come before.
fn skip_to(stream: &mut Exchange, method: &str) -> Result<Value> {
    loop {
        let message = stream.next_message()?.context("the stream ended")?;
        if message["method"] == method {
            return Ok(message);
        }
        let news = message["method"].as_str().is_some_and(|method| method.ends_with("/list_changed"));
        ensure!(news, "expected {method}, got {message}");
    }
}
