//! `rmcp-client`: the published Rust SDK as a client that runs a plan and prints its report, as the scripts beside it do.
//! Changes with that SDK and with the plan format.
//!
//! `rmcp-client legacy|modern URL PLAN` speaks Streamable HTTP, `rmcp-client lines PATH PLAN` lines on a Unix socket.

#![expect(clippy::print_stdout, reason = "the report goes there")]
#![expect(deprecated, reason = "the specification deprecates sampling and roots, and both are still spoken")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bridge_runtime::tasks;
use bridge_tests::TempDir;
use bridge_tests::http::Url;
use parking_lot::Mutex;
use rmcp::model::{
    ClientConfig, ClientRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
    ElicitResult, ListRootsResult, LoggingMessageNotificationParam, PingRequest, ProgressNotificationParam,
    ProtocolVersion, ResourceUpdatedNotificationParam, ServerNotification, SubscriptionFilter,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt as _, NotificationContext, RequestContext, RunningService,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceError, ServiceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;

/// How long an `await` of a plan waits.
const AWAIT: Duration = Duration::from_secs(10);

type Client = RunningService<RoleClient, User>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, url, plan] = &arguments[..] else {
        bail!("usage: rmcp-client legacy|modern|lines URL|PATH PLAN")
    };
    let plan: Value = serde_json::from_str(plan).context("the plan")?;
    let config = typed(json!({
        "protocolVersion": "2025-11-25",
        "capabilities": { "sampling": {}, "elicitation": {}, "roots": {} },
        "clientInfo": { "name": "bridge-rmcp", "version": "1.0.0" },
    }))?;
    let user = User { config, answers: plan["answers"].clone(), events: Arc::default() };
    let events = Arc::clone(&user.events);
    // Lives as long as the connection does.
    let mut _socket = None;
    let client = if mode == "lines" {
        user.serve(UnixStream::connect(url).await?).await?
    } else {
        let dir = TempDir::new("rmcp-client")?;
        let socket = relay(&dir, Url::parse(url)?.authority)?;
        _socket = Some(dir);
        let mut endpoint = StreamableHttpClientTransportConfig::with_uri(url.as_str());
        if let Some(token) = plan["token"].as_str() {
            endpoint = endpoint.auth_header(token);
        }
        let transport = StreamableHttpClientTransport::from_unix_socket_with_config(&socket, endpoint);
        let lifecycle = match mode.as_str() {
            "modern" => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
            _ => ClientLifecycleMode::Initialize,
        };
        user.serve_with_lifecycle(transport, lifecycle).await?
    };
    let connected = to_json(client.peer_info().context("a connected client knows its server")?.as_ref());
    let mut steps = Vec::new();
    for step in plan["steps"].as_array().context("steps")? {
        let what = &step["do"];
        steps.push(match run(&client, &events, step, mode == "modern").await {
            Ok(result) => json!({ "do": what, "result": result }),
            Err(error) => json!({ "do": what, "error": report_error(&error) }),
        });
    }
    client.cancel().await?;
    let events = events.all.lock().iter().map(|(event, _)| event.clone()).collect::<Vec<_>>();
    println!("REPORT {}", json!({ "connected": connected, "steps": steps, "events": events }));
    Ok(())
}

/// The SDK's HTTP client that needs no further crates speaks on Unix sockets only: this one leads on to the endpoint.
fn relay(dir: &TempDir, authority: String) -> Result<String> {
    let path = dir.path().join("http.sock");
    let listener = UnixListener::bind(&path)?;
    tasks::spawn("relay", async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let authority = authority.clone();
            tasks::spawn("relayed connection", async move {
                let mut far = TcpStream::connect(authority).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    Ok(path.to_str().context("a temporary directory with a UTF-8 path")?.to_owned())
}

async fn run(client: &Client, events: &Arc<Events>, step: &Value, modern: bool) -> Result<Value> {
    let params = |keys: &[&str]| -> Value {
        keys.iter().filter_map(|key| Some(((*key).to_owned(), step.get(key)?.clone()))).collect()
    };
    Ok(match step["do"].as_str().unwrap_or_default() {
        "list_tools" => json!({ "tools": client.list_all_tools().await? }),
        "list_prompts" => json!({ "prompts": client.list_all_prompts().await? }),
        "list_resources" => json!({ "resources": client.list_all_resources().await? }),
        "list_resource_templates" => {
            json!({ "resourceTemplates": client.list_all_resource_templates().await? })
        }
        "call_tool" => to_json(&client.call_tool(typed(params(&["name", "arguments"]))?).await?),
        "read_resource" => to_json(&client.read_resource(typed(params(&["uri"]))?).await?),
        "get_prompt" => to_json(&client.get_prompt(typed(params(&["name", "arguments"]))?).await?),
        "complete" => to_json(&client.complete(typed(params(&["ref", "argument"]))?).await?),
        "watch" if modern => listen(client, events, step).await?,
        "watch" => {
            for uri in step["resources"].as_array().into_iter().flatten() {
                client.subscribe(typed(json!({ "uri": uri }))?).await?;
            }
            Value::Null
        }
        "ping" => to_json(&client.send_request(ClientRequest::PingRequest(PingRequest::default())).await?),
        "await" => events.next(step["method"].as_str().context("a method")?).await?,
        other => bail!("unknown step {other}"),
    })
}

async fn listen(client: &Client, events: &Arc<Events>, step: &Value) -> Result<Value> {
    let filter: SubscriptionFilter = typed(json!({
        "toolsListChanged": step["tools"],
        "promptsListChanged": step["prompts"],
        "resourceSubscriptions": step["resources"],
    }))?;
    let mut subscription = client.listen(filter).await?;
    let honored = to_json(subscription.acknowledged());
    let events = Arc::clone(events);
    tasks::spawn("subscription", async move {
        while let Ok(Some(notification)) = subscription.next().await {
            events.add_notification(&notification);
        }
    });
    Ok(json!({ "honored": honored }))
}

/// What the client's user answers and remembers.
struct User {
    config: ClientConfig,
    answers: Value,
    events: Arc<Events>,
}

impl ClientHandler for User {
    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.events.add("sampling/createMessage", &to_json(&params));
        let content = json!({ "type": "text", "text": self.answers["sampling"] });
        answer(json!({ "role": "assistant", "model": "none", "content": content }))
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.events.add("elicitation/create", &to_json(&params));
        answer(json!({ "action": "accept", "content": self.answers["elicitation"] }))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        self.events.add("roots/list", &json!({}));
        let roots = self.answers["roots"].as_array().into_iter().flatten();
        answer(json!({ "roots": roots.map(|uri| json!({ "uri": uri })).collect::<Vec<_>>() }))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let mut params = to_json(&params);
        if let Some(params) = params.as_object_mut() {
            params.remove("progressToken");
        }
        self.events.add("notifications/progress", &params);
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.events.add("notifications/message", &to_json(&params));
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.events.add("notifications/resources/updated", &to_json(&params));
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.events.add("notifications/tools/list_changed", &json!({}));
    }

    async fn on_prompt_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.events.add("notifications/prompts/list_changed", &json!({}));
    }
}

/// Events in order of arrival, each with whether an `await` has taken it.
#[derive(Default)]
struct Events {
    all: Mutex<Vec<(Value, bool)>>,
    arrived: Notify,
}

impl Events {
    fn add(&self, method: &str, params: &Value) {
        self.all.lock().push((json!({ "method": method, "params": params }), false));
        self.arrived.notify_one();
    }

    fn add_notification(&self, notification: &ServerNotification) {
        let notification = to_json(notification);
        let params = notification.get("params").cloned().unwrap_or_else(|| json!({}));
        self.add(notification["method"].as_str().unwrap_or_default(), &params);
    }

    async fn next(&self, method: &str) -> Result<Value> {
        let wait = async {
            loop {
                if let Some(event) = self.take(method) {
                    return event;
                }
                self.arrived.notified().await;
            }
        };
        tokio::time::timeout(AWAIT, wait).await.with_context(|| format!("no {method} within {AWAIT:?}"))
    }

    fn take(&self, method: &str) -> Option<Value> {
        let mut all = self.all.lock();
        let (event, taken) = all.iter_mut().find(|(event, taken)| !*taken && event["method"] == method)?;
        *taken = true;
        Some(event.clone())
    }
}

fn report_error(error: &anyhow::Error) -> Value {
    match error.downcast_ref::<ServiceError>() {
        Some(ServiceError::McpError(error)) => {
            json!({ "code": error.code.0, "message": error.message, "data": error.data })
        }
        _ => json!({ "code": null, "message": error.to_string(), "data": null }),
    }
}

fn answer<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).context("parameters of a step")
}

fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
