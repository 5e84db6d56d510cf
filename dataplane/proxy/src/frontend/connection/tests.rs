use std::collections::BTreeSet;
use std::time::Duration;

use bridge_runtime::drain::Drain;
use bridge_runtime::readiness::Readiness;
use serde_json::{Value, json};

use super::*;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":7,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// A gateway without backends.
fn gateway() -> Arc<Gateway> {
    let drain = Drain::new();
    let snapshot = crate::gateway::without_backends();
    let readiness = Readiness::new(drain.clone());
    crate::run::build(snapshot, drain, &readiness, crate::gateway::Role::Standalone).unwrap().0
}

struct Client {
    connection: Connection,
    outbox: Outbox,
    dialect: Dialect,
}

impl Client {
    fn new(gateway: &Arc<Gateway>, dialect: Dialect) -> Self {
        let (connection, outbox) = Connection::open(gateway, CancellationToken::new());
        Self { connection, outbox, dialect }
    }

    async fn say(&self, message: &str) {
        let anonymous = Principal::anonymous();
        let inbound = Inbound {
            message: Bytes::copy_from_slice(message.as_bytes()),
            destination: match self.dialect {
                Dialect::Mcp => Destination::Scope(&Scope::Merged),
                Dialect::Original => Destination::Original { target: None },
            },
            sender: Sender::Connection(&anonymous),
            token: None,
            id: None,
            unasked: self.dialect == Dialect::Original,
        };
        self.connection.receive(inbound).await;
    }

    async fn read(&mut self) -> Value {
        let answer = self.outbox.next().await.unwrap();
        assert_eq!(answer.dialect, self.dialect);
        serde_json::from_slice(&answer.message).unwrap()
    }

    async fn ask(&mut self, message: &str) -> Value {
        self.say(message).await;
        self.read().await
    }
}

fn request(id: &Value, method: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method }).to_string()
}

#[tokio::test]
async fn a_session_is_opened_by_initialize_and_ends_with_the_connection() {
    let gateway = gateway();
    let mut client = Client::new(&gateway, Dialect::Mcp);
    assert_eq!(client.ask(&request(&json!(1), "ping")).await["result"], json!({}), "before the session");
    let early = client.ask(&request(&json!("a:b"), "tools/list")).await;
    assert_eq!((&early["id"], &early["error"]["code"]), (&json!("a:b"), &json!(-32600)));
    assert_eq!(client.ask(INITIALIZE).await["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(client.ask(&request(&json!(2), "tools/list")).await["result"]["tools"], json!([]));
    assert_eq!(client.ask(INITIALIZE).await["id"], "open");
    assert_eq!(gateway.sessions.len(), 1, "who opens anew starts over");
    drop(client);
    assert_eq!(gateway.sessions.len(), 0);
}

#[tokio::test]
async fn both_generations_share_a_connection() {
    let mut client = Client::new(&gateway(), Dialect::Mcp);
    assert_eq!(client.ask(DISCOVER).await["result"]["resultType"], "complete");
    assert_eq!(client.ask(INITIALIZE).await["id"], "open");
    assert_eq!(client.ask(DISCOVER).await["id"], 7);
    assert_eq!(client.ask(&request(&json!(1), "prompts/list")).await["result"]["prompts"], json!([]));
}

#[tokio::test]
async fn only_requests_are_answered() {
    let mut client = Client::new(&gateway(), Dialect::Mcp);
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    client.say(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#).await;
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#).await;
    assert_eq!(client.ask(&request(&json!(1), "ping")).await["id"], 1);
    let unreadable = client.ask("{").await;
    assert_eq!((&unreadable["id"], &unreadable["error"]["code"]), (&Value::Null, &json!(-32700)));
    let batch = client.ask(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#).await;
    assert_eq!(batch["error"]["code"], -32600);
}

#[tokio::test]
async fn a_batch_is_answered_as_one_in_a_session_that_may_send_it() {
    let mut client = Client::new(&gateway(), Dialect::Mcp);
    client.ask(&INITIALIZE.replace("2025-06-18", "2025-03-26")).await;
    let batch = format!("[{},{}]", request(&json!(1), "ping"), request(&json!(2), "tools/list"));
    let answers = client.ask(&batch).await;
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(2)]);
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_every_answer_when_it_does() {
    let mut client = Client::new(&gateway(), Dialect::Mcp);
    let asked: BTreeSet<i64> = (0..500).collect();
    for id in &asked {
        client.say(&request(&json!(id), "ping")).await;
    }
    let mut answered = BTreeSet::new();
    for _ in &asked {
        answered.insert(client.read().await["id"].as_i64().unwrap());
    }
    assert_eq!(answered, asked);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_read_no_further() {
    let client = Client::new(&gateway(), Dialect::Mcp);
    let mut taken = 0;
    let flood = async {
        loop {
            client.say(&request(&json!(taken), "ping")).await;
            taken += 1;
        }
    };
    let patient = Duration::from_hours(1);
    assert!(tokio::time::timeout(patient, flood).await.is_err());
    assert!((MAX_REQUESTS..2 * MAX_REQUESTS).contains(&taken), "{taken} requests were taken");
}

#[tokio::test(start_paused = true)]
async fn a_drain_refuses_what_is_new_and_is_over_when_nothing_is_in_flight() {
    let gateway = gateway();
    let mut client = Client::new(&gateway, Dialect::Mcp);
    client.ask(INITIALIZE).await;
    gateway.drain.start();
    let late = client.ask(&request(&json!(1), "tools/list")).await;
    assert_eq!(late["error"]["data"], json!({ "reason": "shutting_down", "retry": "safe" }));
    assert_eq!(client.connection.over().await, Over::Leaving);
    assert!(client.outbox.waiting().is_none());
}

#[tokio::test]
async fn the_original_s_clients_need_no_initialize_and_read_answers_only() {
    let gateway = gateway();
    let mut client = Client::new(&gateway, Dialect::Original);
    assert_eq!(client.ask(&request(&json!(1), "tools/list")).await["result"]["tools"], json!([]));
    gateway.sessions.for_each(|session| {
        let standalone = session.streams.standalone();
        standalone.append(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/message"}"#));
    });
    assert_eq!(client.ask(&request(&json!("x"), "ping")).await["id"], "x");
    assert!(client.outbox.waiting().is_none());
    assert_eq!(gateway.sessions.len(), 1);
}

/// A gateway that takes tokens, one with each message. There is none that this test could make.
fn guarded() -> Arc<Gateway> {
    let gateway = gateway();
    let config = bridge_snapshot::Jwt {
        issuer: None,
        audience: None,
        secret: Some(bridge_snapshot::Material::Env("SECRET".to_owned())),
        public_key_file: None,
        per_message: true,
        cache_ttl: Duration::ZERO,
    };
    let keys = bridge_auth::Keys::load(&config, &|_| Some("0123456789abcdef0123456789abcdef".to_owned()));
    let authenticator = Box::new(bridge_auth::Authenticator::new(&config, keys.unwrap()));
    let gate = crate::access::Gate::Tokens { authenticator, per_message: true };
    gateway.plan.store(Arc::new(gateway.plan.load().with_gate(gate)));
    gateway
}

#[tokio::test]
async fn who_was_verified_for_a_message_is_not_judged_for_it_again() {
    let (connection, mut outbox) = Connection::open(&guarded(), CancellationToken::new());
    let whoever = Principal::anonymous();
    let mut ping = async |sender: Sender<'_>, token: Option<&str>| -> Value {
        let message = Bytes::from(request(&json!(1), "ping"));
        let destination = Destination::Scope(&Scope::Merged);
        connection.receive(Inbound { message, destination, sender, token, id: None, unasked: false }).await;
        serde_json::from_slice(&outbox.next().await.unwrap().message).unwrap()
    };
    let verified = ping(Sender::Verified(&whoever), Some("not.even.read")).await;
    assert_eq!(verified["result"], json!({}), "{verified}");
    for (sender, token, code) in [
        (Sender::Connection(&whoever), None, "AUTH_MISSING_TOKEN"),
        (Sender::Connection(&whoever), Some("not.a.token"), "AUTH_INVALID_TOKEN"),
        (Sender::Unknown, None, "AUTH_MISSING_TOKEN"),
    ] {
        let refused = ping(sender, token).await;
        assert_eq!(refused["error"]["data"]["code"], code, "{refused}");
    }
}
