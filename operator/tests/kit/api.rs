//! An API server as far as the operator uses one: objects in memory, lists, watches, server-side apply by manager. It
//! remembers who asked for what. Changes when the operator uses another part of the API.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

type Key = (String, String, String);
type Answer = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// The server.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<State>>);

/// By collection, namespace and name: the document of each manager, and what the server says itself.
type Objects = BTreeMap<Key, BTreeMap<String, Value>>;

/// What a server has stored at one time.
pub(crate) struct Copy {
    version: u64,
    objects: Objects,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: Objects,
    watchers: Vec<(String, String, mpsc::Sender<Value>)>,
    log: Vec<String>,
    /// Tokens that are good, with what they prove.
    tokens: BTreeMap<String, Value>,
    /// Requests that begin with this fail with this status.
    faults: Vec<(String, u16)>,
    /// Requests that begin with this wait until it is true.
    held: Vec<(String, watch::Receiver<bool>)>,
    /// Requests that were made for another version of an object than the one there is.
    outdated: Vec<String>,
}

impl Api {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Applies a document as a person would.
    pub(crate) fn put(&self, document: &Value) {
        let (group, version) = match document["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group.to_owned(), version.to_owned()),
            None => (String::new(), document["apiVersion"].as_str().unwrap().to_owned()),
        };
        let plural = match document["kind"].as_str().unwrap() {
            "NetworkPolicy" => "networkpolicies".to_owned(),
            kind => format!("{}s", kind.to_ascii_lowercase()),
        };
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key =
            (format!("{group}/{version}/{plural}"), text("/metadata/namespace"), text("/metadata/name"));
        self.0.lock().apply(&key, "person", document.clone());
    }

    /// Deletes an object.
    pub(crate) fn remove(&self, collection: &str, namespace: &str, name: &str) {
        self.0.lock().delete(&(collection.to_owned(), namespace.to_owned(), name.to_owned()));
    }

    /// An object as it is.
    pub(crate) fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().object(&(collection.to_owned(), namespace.to_owned(), name.to_owned()))
    }

    /// The objects of a collection in a namespace.
    pub(crate) fn all(&self, collection: &str, namespace: &str) -> Vec<Value> {
        let state = self.0.lock();
        let keys = state.objects.keys().filter(|key| (&*key.0, &*key.1) == (collection, namespace));
        keys.filter_map(|key| state.object(key)).collect()
    }

    /// Makes a token good.
    pub(crate) fn token(&self, token: &str, user: Value) {
        self.0.lock().tokens.insert(token.to_owned(), user);
    }

    /// Requests that write, so far: method, path and manager.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.0.lock().log.iter().filter(|line| !line.starts_with("GET ")).cloned().collect()
    }

    /// Every request so far: method, path and manager.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.lock().log.clone()
    }

    /// Lets requests that begin so fail.
    pub(crate) fn fail(&self, begin: &str, status: u16) {
        self.0.lock().faults.push((begin.to_owned(), status));
    }

    /// Lets nothing fail any more.
    pub(crate) fn heal(&self) {
        self.0.lock().faults.clear();
    }

    /// Everything as it is, for [`Api::restore`].
    pub(crate) fn copy(&self) -> Copy {
        let state = self.0.lock();
        Copy { version: state.version, objects: state.objects.clone() }
    }

    /// Puts everything back as it was. Watches that go on are told nothing, as those of a real one are not.
    pub(crate) fn restore(&self, copy: Copy) {
        let mut state = self.0.lock();
        (state.version, state.objects) = (copy.version, copy.objects);
    }

    /// Holds requests that begin so until the sender says true or is dropped.
    pub(crate) fn hold(&self, begin: &str) -> watch::Sender<bool> {
        let (gate, opens) = watch::channel(false);
        self.0.lock().held.push((begin.to_owned(), opens));
        gate
    }

    /// Requests so far that were refused because somebody else had written since: method, path and manager.
    pub(crate) fn outdated(&self) -> Vec<String> {
        self.0.lock().outdated.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query: BTreeMap<String, String> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect();
        let path = head.uri.path().to_owned();
        let manager = query.get("fieldManager").cloned().unwrap_or_default();
        let line = format!("{} {path} {manager}", head.method).trim().to_owned();
        let gate = {
            let mut state = self.0.lock();
            state.log.push(line.clone());
            state.held.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, opens)| opens.clone())
        };
        if let Some(mut opens) = gate {
            // Whoever held it has ended.
            let _ = opens.wait_for(|open| *open).await;
        }
        let mut state = self.0.lock();
        let fault = state.faults.iter().find(|(begin, _)| line.starts_with(begin)).map(|(_, status)| *status);
        if let Some(status) = fault {
            return failure(status, "scripted");
        }
        let (collection, namespace, name, subresource) = route(&path);
        if collection.ends_with("/tokenreviews") {
            let token = body["spec"]["token"].as_str().unwrap_or_default();
            let status = match state.tokens.get(token) {
                Some(user) => {
                    json!({ "authenticated": true, "user": user, "audiences": body["spec"]["audiences"] })
                }
                None => json!({ "authenticated": false }),
            };
            return json_answer(201, &json!({ "metadata": {}, "spec": {}, "status": status }));
        }
        if let Some(plural) = collection.strip_prefix("mcp.bridge/v1alpha1/") {
            let definitions = "apiextensions.k8s.io/v1/customresourcedefinitions".to_owned();
            let definition = (definitions, String::new(), format!("{plural}.mcp.bridge"));
            if !state.objects.contains_key(&definition) {
                return failure(404, "NotFound");
            }
        }
        let key = (collection.clone(), namespace.clone(), name.clone());
        match (head.method, name.is_empty()) {
            (Method::GET, true)
                if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") =>
            {
                // More events than any test makes; a watch that falls behind ends, as those of an API server do.
                let (sender, events) = mpsc::channel(4096);
                let selector = query.get("labelSelector").cloned().unwrap_or_default();
                state.watchers.push((collection, selector, sender));
                drop(state);
                let seconds = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
                let until = tokio::time::Instant::now() + Duration::from_secs(seconds.unwrap_or(290));
                let lines = stream::unfold(events, move |mut events| async move {
                    let event: Value = tokio::time::timeout_at(until, events.recv()).await.ok()??;
                    Some((Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{event}\n")))), events))
                });
                Response::new(BodyExt::boxed_unsync(StreamBody::new(lines)))
            }
            (Method::GET, true) => {
                let selector = query.get("labelSelector").cloned().unwrap_or_default();
                let keys: Vec<_> = state.objects.keys().filter(|key| key.0 == collection).cloned().collect();
                let items =
                    keys.iter().filter_map(|key| state.object(key)).filter(|item| selects(&selector, item));
                // Items of lists do not say what they are.
                let mut items: Vec<_> = items.collect();
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    item.remove("apiVersion");
                    item.remove("kind");
                }
                let metadata = json!({ "resourceVersion": state.version.to_string() });
                json_answer(
                    200,
                    &json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }),
                )
            }
            (Method::GET, false) => match state.object(&key) {
                Some(object) => json_answer(200, &object),
                None => failure(404, "NotFound"),
            },
            (Method::POST, _) => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let key = (collection, namespace, name);
                if state.objects.contains_key(&key) {
                    return failure(409, "AlreadyExists");
                }
                let object = state.apply(&key, "create", body);
                json_answer(201, &object)
            }
            (Method::PUT, _) => {
                let current = state.object(&key);
                if current.is_none_or(|current| {
                    current["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]
                }) {
                    return failure(409, "Conflict");
                }
                let object = state.apply(&key, "create", body);
                json_answer(200, &object)
            }
            (Method::PATCH, _) => {
                // Whoever merges names no manager.
                let manager = if manager.is_empty() { "merge".to_owned() } else { manager };
                let manager = format!("{manager}{subresource}");
                if !subresource.is_empty() && !state.objects.contains_key(&key) {
                    return failure(404, "NotFound");
                }
                if state.is_outdated(&key, &body["metadata"]["resourceVersion"]) {
                    state.outdated.push(line);
                    return failure(409, "Conflict");
                }
                let object = state.apply(&key, &manager, body);
                json_answer(200, &object)
            }
            (Method::DELETE, _) => {
                if state.is_outdated(&key, &body["preconditions"]["resourceVersion"]) {
                    state.outdated.push(line);
                    return failure(409, "Conflict");
                }
                state.delete(&key);
                json_answer(200, &json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }
}

impl State {
    fn apply(&mut self, key: &Key, manager: &str, document: Value) -> Value {
        let before = self.object(key);
        let documents = self.objects.entry(key.clone()).or_default();
        documents.insert(manager.to_owned(), document);
        if before.is_none() {
            let uid = format!("uid-{}", self.version + 1);
            let metadata = json!({ "name": key.2, "namespace": key.1, "uid": uid, "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z" });
            let documents = self.objects.entry(key.clone()).or_default();
            documents.insert(String::new(), json!({ "metadata": metadata }));
        }
        let after = self.object(key).unwrap_or_default();
        if before.as_ref() == Some(&after) {
            return after;
        }
        self.version += 1;
        let version = json!({ "metadata": { "resourceVersion": self.version.to_string() } });
        self.objects.entry(key.clone()).or_default().insert("~version".to_owned(), version);
        let after = self.object(key).unwrap_or_default();
        self.tell(&key.0, if before.is_some() { "MODIFIED" } else { "ADDED" }, &after);
        after
    }

    /// Whether a request is for a version that an object does not have.
    fn is_outdated(&self, key: &Key, version: &Value) -> bool {
        let there = self.object(key).map(|object| object["metadata"]["resourceVersion"].clone());
        !version.is_null() && there.is_some_and(|there| there != *version)
    }

    fn delete(&mut self, key: &Key) {
        if let Some(mut object) = self.object(key) {
            self.objects.remove(key);
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.tell(&key.0, "DELETED", &object);
        }
    }

    fn tell(&mut self, collection: &str, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.watchers.retain(|(watched, selector, sender)| {
            watched != collection || !selects(selector, object) || sender.try_send(event.clone()).is_ok()
        });
    }

    /// What the documents of all managers make together.
    fn object(&self, key: &Key) -> Option<Value> {
        let documents = self.objects.get(key)?;
        let mut object = json!({});
        let mut managed = Vec::new();
        for (manager, document) in documents {
            merge(&mut object, document);
            if document.pointer("/spec/replicas").is_some() {
                let fields = json!({ "f:spec": { "f:replicas": {} } });
                managed.push(json!({ "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields }));
            }
        }
        if key.0 == "apps/v1/deployments" {
            if object.pointer("/spec/replicas").is_none() {
                object["spec"]["replicas"] = json!(1);
            }
            object["metadata"]["managedFields"] = managed.into();
        }
        Some(object)
    }
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (member, value) in over {
                if value.is_null() {
                    base.remove(member);
                } else {
                    merge(base.entry(member).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => base.clone_from(over),
    }
}

/// Collection, namespace, name and subresource of a path.
fn route(path: &str) -> (String, String, String, String) {
    let mut parts = path.trim_start_matches('/').split('/');
    let group = if parts.next() == Some("apis") { parts.next().unwrap_or_default() } else { "" };
    let version = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let text = |part: Option<&&str>| part.copied().unwrap_or_default().to_owned();
    let (namespace, rest) = match &*rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => ((*namespace).to_owned(), rest.to_vec()),
        _ => (String::new(), rest),
    };
    let collection = format!("{group}/{version}/{}", text(rest.first()));
    (collection, namespace, text(rest.get(1)), text(rest.get(2)))
}

fn selects(selector: &str, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
        Some((name, value)) => labels[name.trim_end_matches('=')] == value.trim_start_matches('='),
        None => labels.get(part).is_some(),
    })
}

fn decode(text: &str) -> String {
    text.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",").replace('+', " ")
}

fn json_answer(status: u16, value: &Value) -> Response<Answer> {
    let body = http_body_util::Full::new(Bytes::from(value.to_string()));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    response
}

fn failure(status: u16, reason: &str) -> Response<Answer> {
    let value = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": reason });
    json_answer(status, &value)
}
