//! Open `subscriptions/listen` requests of 2026-07-28, through the merged endpoint and the unrenamed one, with a backend on
//! either transport. Changes when subscriptions do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::process::Signal;
use bridge_tests::{Backend, Config, Era, Exchange, Gateway, ModernClient, PATIENCE, TestServer};
use serde_json::{Value, json};

const WATCHED: &str = "test://watched-resource";
const STATIC: &str = "test://static-text";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// How soon a change must be told.
const SOON: Duration = Duration::from_secs(2);

/// One way to a backend: what the gateway runs it on, and the endpoint.
struct Way {
    name: String,
    gateway: Gateway,
    path: &'static str,
    _server: Option<TestServer>,
}

impl Way {
    fn client(&self) -> Result<ModernClient> {
        ModernClient::new(&self.gateway.url(self.path), &json!({}))
    }

    fn trigger(&self, tool: &str) -> Result<()> {
        self.client()?.request("tools/call", &json!({ "name": tool }))?.into_result().map(drop)
    }
}

/// Without the comments that keep a stream open, so that a wait for a message that never comes fails.
fn quiet() -> Config {
    Config::new().set("limits", "keep_alive", json!("10m"))
}

/// Runs `check` on both endpoints over both transports, each with a gateway of its own.
fn on_every_way(check: impl Fn(&mut Way) -> Result<()>) -> Result<()> {
    for path in ["/mcp", "/mcp/fixture"] {
        for transport in ["http", "stdio"] {
            let (backend, server) = if transport == "http" {
                let server = TestServer::http(Era::Modern)?;
                (Backend::http("fixture", server.url()), Some(server))
            } else {
                (Backend::stdio("fixture", &TestServer::stdio(Era::Modern)?), None)
            };
            let gateway = Gateway::start(&quiet().backend(backend))?;
            let mut way = Way { name: format!("{path} over {transport}"), gateway, path, _server: server };
            check(&mut way).with_context(|| way.name.clone())?;
        }
    }
    Ok(())
}

fn next(stream: &mut Exchange) -> Result<Value> {
    stream.next_message()?.context("the listen has ended")
}

/// The next message must be this notification, tagged with this subscription.
fn expect(stream: &mut Exchange, method: &str, id: &Value) -> Result<Value> {
    let message = next(stream)?;
    ensure!(message["method"] == method, "expected {method}, got {message}");
    ensure!(message["params"]["_meta"][SUBSCRIPTION] == *id, "expected the tag {id}, got {message}");
    ensure!(message.get("id").is_none(), "a notification has no id: {message}");
    Ok(message)
}

/// Sends a listen with an id of the test's own choice.
fn start(client: &mut ModernClient, id: &Value, filter: &Value) -> Result<Exchange> {
    let mut listen = client.prepare("subscriptions/listen", &json!({ "notifications": filter }))?;
    listen.message["id"] = id.clone();
    client.send(&listen)
}

/// Opens a listen with an id of the test's own choice, up to its acknowledgement.
fn open(client: &mut ModernClient, id: &Value, filter: &Value) -> Result<(Value, Exchange)> {
    let mut stream = start(client, id, filter)?;
    let acknowledged = expect(&mut stream, "notifications/subscriptions/acknowledged", id)?;
    Ok((acknowledged["params"]["notifications"].clone(), stream))
}

#[test]
fn a_listen_is_acknowledged_first_under_its_own_id() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [WATCHED] });
        for id in [json!(41), json!("41"), json!("a \"listen\"")] {
            let mut stream = start(&mut client, &id, &filter)?;
            assert_eq!(stream.head()?.status, 200);
            assert!(stream.is_stream()?);
            let first = expect(&mut stream, "notifications/subscriptions/acknowledged", &id)?;
            assert_eq!(first["params"]["notifications"], filter, "{first}");
        }
        Ok(())
    })
}

#[test]
fn only_what_can_be_honoured_is_acknowledged() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        for (filter, honoured) in [
            (json!({}), json!({})),
            (
                json!({ "promptsListChanged": true, "com.example/dreams": true }),
                json!({ "promptsListChanged": true }),
            ),
            (
                json!({ "resourcesListChanged": true, "resourceSubscriptions": [STATIC, "test://no-such-thing"] }),
                json!({ "resourcesListChanged": true, "resourceSubscriptions": [STATIC] }),
            ),
        ] {
            let (acknowledged, _) = open(&mut client, &json!(1), &filter)?;
            assert_eq!(without_false(acknowledged), honoured, "{}: {filter}", way.name);
        }
        Ok(())
    })
}

/// A flag that is false and one that is absent say the same, and so do no URIs and none at all.
fn without_false(mut honoured: Value) -> Value {
    if let Some(members) = honoured.as_object_mut() {
        members.retain(|_, wanted| *wanted != json!(false) && *wanted != json!([]));
    }
    honoured
}

#[test]
fn a_filter_of_the_wrong_type_is_refused_with_what_is_wrong() -> Result<()> {
    let gateway = Gateway::start(&quiet().stdio("fixture", &TestServer::stdio(Era::Modern)?))?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    for (filter, wrong) in [
        (json!({ "toolsListChanged": "yes" }), "toolsListChanged"),
        (json!({ "resourceSubscriptions": WATCHED }), "resourceSubscriptions"),
        (json!([]), "params.notifications"),
    ] {
        let error =
            client.request("subscriptions/listen", &json!({ "notifications": filter }))?.into_error()?;
        assert_eq!(error.code, -32602, "{filter}: {error}");
        assert!(error.message.contains(wrong), "{filter}: {error}");
    }
    Ok(())
}

#[test]
fn a_change_of_the_tools_is_told_within_two_seconds_and_can_be_seen_then() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        let (_, mut stream) = open(&mut client, &json!("l"), &json!({ "toolsListChanged": true }))?;
        for there in [true, false] {
            let triggered = Instant::now();
            way.trigger("test_trigger_tool_change")?;
            expect(&mut stream, "notifications/tools/list_changed", &json!("l"))?;
            let took = triggered.elapsed();
            ensure!(took < SOON, "told after {took:?}");
            let tools = client.list("tools/list", "tools")?;
            assert_eq!(tools.iter().any(|tool| tool["name"] == "test_extra_tool"), there, "{}", way.name);
        }
        Ok(())
    })
}

#[test]
fn a_listen_hears_nothing_that_it_did_not_ask_for() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        let (_, mut prompts) = open(&mut client, &json!(1), &json!({ "promptsListChanged": true }))?;
        let (_, mut resources) = open(&mut client, &json!(2), &json!({ "resourcesListChanged": true }))?;
        way.trigger("test_trigger_resource_update")?;
        for (tool, method) in [
            ("test_trigger_tool_change", "notifications/tools/list_changed"),
            ("test_trigger_prompt_change", "notifications/prompts/list_changed"),
            ("test_trigger_resource_change", "notifications/resources/list_changed"),
        ] {
            // One after the other: whoever hears of one change may hear of all that are there by then.
            let (_, mut all) = open(
                &mut client,
                &json!(3),
                &json!({
                    "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
                }),
            )?;
            way.trigger(tool)?;
            expect(&mut all, method, &json!(3))?;
        }
        expect(&mut prompts, "notifications/prompts/list_changed", &json!(1))?;
        expect(&mut resources, "notifications/resources/list_changed", &json!(2))?;
        Ok(())
    })
}

#[test]
fn an_update_reaches_only_the_listens_that_name_its_resource() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        let naming = |uri| json!({ "resourceSubscriptions": [uri], "toolsListChanged": true });
        let (_, mut watching) = open(&mut client, &json!("w"), &naming(WATCHED))?;
        let (_, mut elsewhere) = open(&mut client, &json!("e"), &naming(STATIC))?;

        for _ in 0..2 {
            let triggered = Instant::now();
            way.trigger("test_trigger_resource_update")?;
            let update = expect(&mut watching, "notifications/resources/updated", &json!("w"))?;
            assert_eq!(update["params"]["uri"], WATCHED);
            let took = triggered.elapsed();
            ensure!(took < SOON, "told after {took:?}");
        }

        way.trigger("test_trigger_tool_change")?;
        expect(&mut watching, "notifications/tools/list_changed", &json!("w"))?;
        expect(&mut elsewhere, "notifications/tools/list_changed", &json!("e"))?;
        Ok(())
    })
}

#[test]
fn the_update_right_after_an_acknowledgement_is_not_missed() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        for round in 0..20 {
            let id = json!(round);
            let (_, mut stream) = open(&mut client, &id, &json!({ "resourceSubscriptions": [WATCHED] }))?;
            way.trigger("test_trigger_resource_update")?;
            expect(&mut stream, "notifications/resources/updated", &id).with_context(|| id.to_string())?;
        }
        Ok(())
    })
}

#[test]
fn listens_of_several_clients_with_one_id_live_side_by_side() -> Result<()> {
    on_every_way(|way| {
        let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [WATCHED] });
        let id = json!(1);
        let mut clients: Vec<_> = (0..3).map(|_| way.client()).collect::<Result<_>>()?;
        let mut streams = Vec::new();
        for client in &mut clients {
            streams.push(open(client, &id, &filter)?.1);
        }
        for left in [3, 2, 1] {
            assert_eq!(streams.len(), left);
            way.trigger("test_trigger_resource_update")?;
            for stream in &mut streams {
                expect(stream, "notifications/resources/updated", &id)?;
            }
            way.trigger("test_trigger_tool_change")?;
            for stream in &mut streams {
                expect(stream, "notifications/tools/list_changed", &id)?;
            }
            drop(streams.remove(0));
        }
        Ok(())
    })
}

#[test]
fn a_listen_ends_with_its_response_when_the_gateway_stops() -> Result<()> {
    on_every_way(|way| {
        let mut client = way.client()?;
        let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [WATCHED] });
        let ids = [json!("last"), json!(7)];
        let mut streams = Vec::new();
        for id in &ids {
            streams.push(open(&mut client, id, &filter)?.1);
        }

        way.gateway.process().signal(Signal::TERM)?;

        for (id, stream) in ids.iter().zip(&mut streams) {
            let answer = next(stream)?;
            let meta = json!({ SUBSCRIPTION: id });
            let result = json!({ "resultType": "complete", "_meta": meta });
            assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": id, "result": result }), "{}", way.name);
            assert_eq!(stream.next_message()?, None, "{}", way.name);
        }
        ensure!(way.gateway.process().wait_exit(PATIENCE)?.success(), "the gateway stops in good order");
        Ok(())
    })
}

#[test]
fn a_listen_on_the_merged_endpoint_outlives_its_backend() -> Result<()> {
    let server = TestServer::http(Era::Modern)?;
    let port = server.port()?;
    let gateway = Gateway::start(&quiet().http("fixture", server.url()))?;
    let mut client = ModernClient::new(&gateway.url("/mcp"), &json!({}))?;
    let (_, mut stream) = open(&mut client, &json!("l"), &json!({ "resourceSubscriptions": [WATCHED] }))?;
    drop(server);

    let _server = TestServer::http_on(Era::Modern, port)?;

    // What changed while nobody watched is unknown, so the resource counts as changed.
    let update = expect(&mut stream, "notifications/resources/updated", &json!("l"))?;
    assert_eq!(update["params"]["uri"], WATCHED);
    client.request("tools/call", &json!({ "name": "test_trigger_resource_update" }))?.into_result()?;
    expect(&mut stream, "notifications/resources/updated", &json!("l"))?;
    Ok(())
}
