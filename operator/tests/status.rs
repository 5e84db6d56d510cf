//! Status: each reason that pods and Deployments can cause. What compiling causes is in `compile.rs`. Changes when a
//! condition has another cause.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

#[path = "status/fleet.rs"]
mod fleet;
mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;

use bridge_api::condition::{Accepted, ConditionType, words};
use bridge_api::v1alpha1::McpGateway;
use bridge_api::v1alpha1::backend::{DetectedProtocol, McpBackendStatus};
use bridge_api::v1alpha1::gateway::McpGatewayStatus;
use bridge_snapshot::push::{
    BackendReport, ListenerReport, Problem, Rejection, RejectionCode, Report, ResourceType,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kit::{options, world};
use mcp_operator::compile::{Compilation, Finding, Memo, compile};
use mcp_operator::status::{
    BackendFacts, Fleet, GatewayFacts, GatewayOfBackend, Lag, Lags, PodFact, PodFacts, Published, backend,
    behind, gateway,
};
use mcp_operator::world::{ObjectName, World};
use serde_json::{Value, json};

/// A gateway with a backend `b` and two ready pods that have everything up to change 5, in which everything is as it should be.
struct Case {
    world: World,
    compilation: Compilation,
    published: Published,
    pods: Vec<Pod>,
    facts: PodFacts,
    deployment: Option<Deployment>,
    service: Option<Service>,
    conflict: Option<Finding<Accepted>>,
    lags: Lags,
    blind: bool,
    others: bool,
}

fn report() -> Report {
    let backend = json!({"name": "b", "endpoints": 1, "healthy": 1, "tools": 4, "exposed": 3, "filtered": 1});
    Report {
        listeners: vec![ListenerReport { name: "http".into(), error: None }],
        backends: vec![serde_json::from_value(backend).unwrap()],
        ..Report::default()
    }
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn pod(uid: &str) -> Pod {
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    object(json!({"metadata": {"name": format!("pod-{uid}"), "uid": uid}, "status": ready}))
}

fn deployment(available: i32, progressing: &str) -> Deployment {
    let condition = json!({"type": "Progressing", "status": "True", "reason": progressing});
    let status = json!({"replicas": 2, "readyReplicas": available, "availableReplicas": available, "conditions": [condition]});
    let selector = json!({"selector": {}, "template": {}, "replicas": 2});
    object(json!({"metadata": {}, "spec": selector, "status": status}))
}

impl Case {
    fn new(spec: &Value) -> Self {
        Self::with(
            spec,
            &json!({"protocol": "StreamableHTTP", "endpoints": [{"url": "http://b.example.com"}]}),
        )
    }

    fn with(spec: &Value, of_backend: &Value) -> Self {
        let mut all = json!({"listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}],
            "auth": {"jwt": {"providers": [{"name": "p", "issuer": "i", "hmacSecretRef": {"name": "jwt", "key": "k"}}]}}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let documents = [
            json!({"kind": "McpGateway", "metadata": {"name": "main", "namespace": "here", "uid": "g", "generation": 3}, "spec": all}),
            json!({"kind": "McpBackend", "metadata": {"name": "b", "namespace": "here", "generation": 7}, "spec": of_backend}),
            json!({"kind": "Secret", "metadata": {"name": "jwt", "namespace": "here"}, "stringData": {"k": "0123456789abcdef0123456789abcdef"}}),
        ];
        let world = world(&documents.map(|document| document.to_string()).join("\n---\n"));
        let compilation = compile(&world, &options(), &mut Memo::default()).unwrap();
        let plan = &compilation.gateways[&ObjectName::new("here", "main")];
        let changed = plan.entries.keys().map(|key| (key.clone(), 5)).collect();
        let fact = PodFact {
            change: Some(5),
            rejected: Vec::new(),
            report: Some(Arc::new(report())),
            digest: None,
            parted: None,
        };
        Self {
            published: Published {
                changed,
                digest: "d".into(),
                removed: 0,
                revision: 5,
                stopped: Vec::new(),
            },
            pods: vec![pod("1"), pod("2")],
            facts: ["1", "2"].map(|uid| (uid.to_owned(), fact.clone())).into(),
            deployment: Some(deployment(2, "NewReplicaSetAvailable")),
            service: None,
            conflict: None,
            lags: Lags::new(),
            blind: false,
            others: false,
            compilation,
            world,
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn lag(self, pod: &str, lag: Lag) -> Self {
        self.change(|case| case.lags.extend([(pod.to_owned(), lag)]))
    }

    fn reports(self, change: impl Fn(&mut Report)) -> Self {
        self.change(|case| {
            case.facts.values_mut().for_each(|fact| change(Arc::make_mut(fact.report.as_mut().unwrap())));
        })
    }

    fn refuses(self, pod: &str, kind: ResourceType, message: &str) -> Self {
        self.change(|case| {
            let name = case.published.changed.keys().find(|key| key.kind == kind).unwrap().name.clone();
            let version = serde_json::from_value(json!("0011223344556677")).unwrap();
            let (code, message) = (RejectionCode::Invalid, message.to_owned());
            let rejection = Rejection { kind, name, version, code, message };
            case.facts.get_mut(pod).unwrap().rejected.push(rejection);
        })
    }

    fn backend_reports(self, change: impl Fn(&mut BackendReport)) -> Self {
        self.reports(|report| report.backends.iter_mut().for_each(&change))
    }

    fn gateway(&self) -> Vec<Condition> {
        let status = self.gateway_status();
        let listeners =
            status.listeners.unwrap_or_default().into_iter().flat_map(|one| one.conditions.unwrap());
        assert!(listeners.into_iter().all(|condition| condition.observed_generation == Some(3)));
        status.conditions.unwrap()
    }

    fn gateway_status(&self) -> McpGatewayStatus {
        let name = ObjectName::new("here", "main");
        let facts = GatewayFacts {
            gateway: &self.world.gateways[&name],
            plan: &self.compilation.gateways[&name],
            fleet: &Fleet::new(&self.pods, &self.facts, &self.lags, &self.published),
            deployment: self.deployment.as_ref(),
            service: self.service.as_ref(),
            conflict: self.conflict.as_ref(),
            scaled_by_others: self.others,
            blind: self.blind,
        };
        gateway(&facts, &Time(Timestamp::UNIX_EPOCH))
    }

    fn backend(&self) -> Vec<Condition> {
        self.backend_status().conditions.unwrap()
    }

    fn backend_status(&self) -> McpBackendStatus {
        let (name, main) = (ObjectName::new("here", "b"), ObjectName::new("here", "main"));
        let serves = !self.compilation.gateways[&main].attached.is_empty();
        let fleet = Fleet::new(&self.pods, &self.facts, &self.lags, &self.published);
        let of = GatewayOfBackend { name: &main, fleet: Some(&fleet), serves };
        let facts = BackendFacts {
            backend: &self.world.backends[&name],
            verdict: &self.compilation.backends[&name],
            gateways: &[of],
            blind: self.blind,
        };
        backend(&facts, &Time(Timestamp::UNIX_EPOCH)).unwrap()
    }

    fn is(&self, kind: ConditionType, reason: &str) {
        let all = if kind == ConditionType::Available { self.backend() } else { self.gateway() };
        let found = all.iter().find(|condition| condition.type_ == kind.as_str()).unwrap();
        assert_eq!(found.reason, reason, "{kind:?}: {}", found.message);
        let word = words().into_iter().find(|word| word.condition == kind && word.reason == reason).unwrap();
        assert_eq!(format!("{:?}", word.verdict), found.status);
    }
}

fn plain() -> Case {
    Case::new(&json!({}))
}

#[test]
fn programmed_says_what_ready_pods_have() {
    use ConditionType::Programmed as P;
    plain().is(P, "Programmed");
    plain().change(|case| case.pods.clear()).is(P, "Pending");
    plain().change(|case| drop(case.facts.remove("2"))).is(P, "PartiallyAcknowledged");
    plain().change(|case| case.facts.get_mut("2").unwrap().change = Some(4)).is(P, "PartiallyAcknowledged");
    plain()
        .change(|case| case.pods[1].status = None)
        .change(|case| drop(case.facts.remove("2")))
        .is(P, "Programmed");
    plain().change(|case| case.blind = true).is(P, "OperatorDegraded");
    let refused = plain().refuses("1", ResourceType::Endpoints, "targets[0].url: no");
    refused.is(P, "Rejected");
    let of_backend = refused.backend();
    let programmed = of_backend.iter().find(|condition| condition.type_ == "Programmed").unwrap();
    assert!(programmed.message.contains("1 of 2 pods refuse endpoints `b`: targets[0].url: no"));
}

#[test]
fn ready_says_whether_clients_are_served() {
    use ConditionType::Ready as R;
    plain().is(R, "Ready");
    plain().change(|case| case.deployment = None).is(R, "Pending");
    plain().change(|case| case.deployment = Some(deployment(0, "ReplicaSetUpdated"))).is(R, "Pending");
    plain()
        .change(|case| case.deployment = Some(deployment(0, "NewReplicaSetAvailable")))
        .is(R, "DeploymentUnavailable");
    plain().change(|case| case.deployment = Some(deployment(1, "NewReplicaSetAvailable"))).is(R, "Ready");
    plain().reports(|report| report.listeners[0].error = Some("port taken".into())).is(R, "ListenerNotReady");
    // Of a configuration that a pod refuses, what is open is what was open before.
    let refusing = || plain().refuses("2", ResourceType::Gateway, "cannot listen on port 8080");
    refusing().is(R, "Ready");
    let closed = refusing().reports(|report| report.listeners.clear());
    closed.is(R, "ListenerNotReady");
    let found = closed.gateway().into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(found.message, "spec.listeners[http]: pod-2: cannot listen on port 8080");
    let secure = json!({"listeners": [{"name": "tls", "protocol": "TCP", "port": 8444, "tls": {"certificateRefs": [{"name": "none"}]}}]});
    Case::new(&secure).is(R, "ListenerNotReady");
    let provider = json!({"name": "p", "issuer": "i", "hmacSecretRef": {"name": "absent", "key": "k"}});
    Case::new(&json!({"auth": {"jwt": {"providers": [provider]}}})).is(R, "Refusing");
    let balanced = Case::new(&json!({"service": {"type": "LoadBalancer"}}));
    balanced.is(R, "NoAddress");
    let ingress = json!({"metadata": {"name": "main"}, "spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    balanced.change(|case| case.service = Some(object(ingress))).is(R, "Ready");
}

#[test]
fn available_says_what_pods_see_of_a_backend() {
    use ConditionType::Available as A;
    plain().is(A, "Available");
    plain().change(|case| case.facts.clear()).is(A, "Pending");
    plain()
        .change(|case| {
            drop(Arc::make_mut(case.facts.get_mut("2").unwrap().report.as_mut().unwrap()).backends.pop());
        })
        .is(A, "Available");
    for (problem, reason) in [
        (Some(Problem::Unreachable), "AllEndpointsUnhealthy"),
        (Some(Problem::Unauthorized), "AuthenticationFailed"),
        (Some(Problem::ProtocolMismatch), "ProtocolMismatch"),
        (None, "Pending"),
    ] {
        plain().backend_reports(|report| (report.healthy, report.problem) = (0, problem)).is(A, reason);
    }
    let off =
        json!({"protocol": "StreamableHTTP", "endpoints": [{"url": "http://b.example.com", "weight": 0}]});
    Case::with(&json!({}), &off).is(A, "NoEndpoints");
}

#[test]
fn what_a_server_was_found_to_speak_is_shown() {
    let speaks = |word: &str| {
        let case = plain().backend_reports(|report| report.protocol = Some(word.to_owned()));
        case.backend_status().protocol
    };
    assert_eq!(speaks("streamable_http"), Some(DetectedProtocol::StreamableHTTP));
    assert_eq!(speaks("sse"), Some(DetectedProtocol::SSE));
    assert_eq!(speaks("websocket"), Some(DetectedProtocol::WebSocket));
    assert_eq!(speaks("stdio"), None);
}

#[test]
fn session_storage_says_whether_sessions_outlive_their_pod() {
    use ConditionType::SessionStorage as S;
    plain().is(S, "InMemoryWithReplicas");
    Case::new(&json!({"replicas": 1})).is(S, "NotNeeded");
    Case::new(&json!({"replicas": 1})).change(|case| case.others = true).is(S, "InMemoryWithReplicas");
    // It is not in force, which `Degraded` says.
    let redis = json!({"session": {"redis": {"mode": "Standalone", "addresses": ["redis:6379"]}}});
    Case::new(&redis).is(S, "InMemoryWithReplicas");
}

#[test]
fn degraded_says_what_is_less_than_it_should_be() {
    use ConditionType::Degraded as D;
    plain().is(D, "AsExpected");
    plain().lag("2", Lag::Stale).is(D, "StaleConfig");
    plain().lag("2", Lag::Laggard).is(D, "AsExpected");
    Case::new(&json!({"auth": {"anonymous": "Allow"}})).is(D, "InsecureSettings");
    let consul = json!({"protocol": "StreamableHTTP", "consul": {"service": "x"}});
    Case::with(&json!({}), &consul).is(D, "PartialBackends");
    let shared = json!({"protocol": "Stdio", "stdio": {"image": "i", "command": ["x"], "replicas": 3, "sessionMode": "Shared"}});
    let conditions = Case::with(&json!({}), &shared).backend();
    assert_eq!(conditions.last().unwrap().reason, "StdioReplicaCapped");
    let unused = Case::new(
        &json!({"routing": {"strategy": "Locality"}, "rateLimit": {"global": {"requestsPerMinute": 5, "burst": 5}}}),
    );
    let found = unused.gateway().into_iter().find(|condition| condition.type_ == "Degraded").unwrap();
    assert_eq!((&*found.status, &*found.reason), ("True", "FieldsNotInForce"));
    assert_eq!(found.message, "without effect in this version: rateLimit.global, routing.strategy");
    let breaker = json!({"protocol": "StreamableHTTP", "endpoints": [{"url": "http://b.example.com"}], "circuitBreaker": {"openSeconds": 30}});
    let conditions = Case::with(&json!({}), &breaker).backend();
    let found = conditions.last().unwrap();
    assert_eq!((&*found.status, &*found.reason), ("True", "FieldsNotInForce"));
    assert!(found.message.ends_with(": circuitBreaker"), "{}", found.message);
}

#[test]
fn a_conflict_of_names_is_told_in_accepted() {
    let taken = |case: &mut Case| {
        case.conflict = Some(Finding::new(Accepted::NameConflict, "Service here/main is taken"));
    };
    plain().change(taken).is(ConditionType::Accepted, "NameConflict");
    // A field at fault comes first: it may be why an object is refused.
    let page = json!({"listeners": [{"name": "health", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}]});
    let case = Case::new(&page).change(taken);
    case.is(ConditionType::Accepted, "Invalid");
    assert!(case.gateway()[0].message.starts_with("spec.listeners[health]"));
}

#[test]
fn a_status_that_was_written_is_not_written_again() {
    let case = plain();
    let name = ObjectName::new("here", "main");
    let first = case.gateway();
    let mut written: McpGateway = (*case.world.gateways[&name]).clone();
    written.status = Some(serde_json::from_value(json!({"conditions": first})).unwrap());
    let mut later = plain();
    later.world.gateways.insert(name, written.into());
    assert_eq!(later.gateway(), first);
    let types: BTreeSet<_> = first.iter().map(|condition| &condition.type_).collect();
    assert_eq!(types.len(), first.len());
}

/// Replicas see changes in batches of their own, and count them otherwise.
#[test]
fn a_pod_that_serves_the_same_by_another_count_is_not_behind() {
    let another = |digest: &'static str| {
        plain().change(move |case| {
            let fact = case.facts.get_mut("2").unwrap();
            fact.change = Some(1);
            fact.digest = Some(digest.to_owned());
            case.published.digest = "this".to_owned();
        })
    };
    let case = another("this");
    case.is(ConditionType::Programmed, "Programmed");
    assert!(behind(case.pods.iter(), &case.facts, &case.published).is_empty());
    let case = another("that");
    case.is(ConditionType::Programmed, "PartiallyAcknowledged");
    assert_eq!(behind(case.pods.iter(), &case.facts, &case.published), ["2"]);
}

#[test]
fn a_pod_without_a_stream_is_waited_for_then_named_then_given_up() {
    use ConditionType::Programmed as P;
    let away = |lag| plain().change(|case| drop(case.facts.remove("2"))).lag("2", lag);
    let message = |case: &Case| {
        let all = case.gateway();
        all.into_iter().find(|condition| condition.type_ == "Programmed").unwrap().message
    };
    let case = away(Lag::Fresh);
    assert_eq!(behind(case.pods.iter(), &case.facts, &case.published), ["2"]);
    case.is(P, "PartiallyAcknowledged");
    assert_eq!(message(&case), "1/2 ready pods; 1 not connected yet");
    let case = away(Lag::Laggard);
    case.is(P, "PartiallyAcknowledged");
    assert_eq!(message(&case), "1/2 ready pods; behind: pod-2");
    let case = away(Lag::Stale);
    case.is(P, "Programmed");
    case.is(ConditionType::Degraded, "StaleConfig");
    assert_eq!(message(&case), "1/2 ready pods; behind: pod-2");
    // One that is connected and does not follow is a veto for as long as it is ready.
    let slow = plain().change(|case| case.facts.get_mut("2").unwrap().change = Some(4)).lag("2", Lag::Stale);
    slow.is(P, "PartiallyAcknowledged");
    // Nobody at all serves it: that is not programmed, however long it lasts.
    let nobody = away(Lag::Stale).change(|case| {
        case.facts.clear();
        case.lags.insert("1".into(), Lag::Stale);
    });
    nobody.is(P, "PartiallyAcknowledged");
}

#[test]
fn every_condition_is_of_the_generation_that_it_is_about() {
    assert!(plain().gateway().iter().all(|condition| condition.observed_generation == Some(3)));
    assert!(plain().backend().iter().all(|condition| condition.observed_generation == Some(7)));
}
