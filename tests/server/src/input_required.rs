//! Input from the user: one way to ask for tools of either generation. Changes when the input protocol does.
//!
//! A tool is written once, from top to bottom: it asks, and continues when the answers are there. In a legacy session
//! asking sends live requests. A modern call cannot wait: asking ends it with `input_required`, and the client's retry
//! runs the tool again with the answers so far, which travel in the signed `requestState`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientCapabilities, ElicitRequestParams, ErrorData, InputRequest, InputRequests, InputRequiredResult,
    InputResponses, JsonObject, RequestMetaObject, RequestStateError, SealOptions, ServerRequest,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestContext, RequestHandle};
use rmcp::{RoleServer, ServiceError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::call::Stop;
use crate::era::is_modern;
use crate::state::Shared;

/// How long a user may think. The specification recommends a short expiry for `requestState`.
const STATE_TTL: Duration = Duration::from_mins(10);

/// One question.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A form for the user, as message and schema of the answer.
    Form(String, Value),
    /// A completion by the client's model, as prompt and token limit.
    Sample(String, u32),
    /// The client's filesystem roots.
    Roots,
    /// A page for the user to visit, as message and address.
    Url(String, String),
}

impl Ask {
    /// A form of required string fields.
    pub(crate) fn strings(message: &str, fields: &[&str]) -> Self {
        let properties: JsonObject =
            fields.iter().map(|field| ((*field).to_owned(), json!({ "type": "string" }))).collect();
        Self::Form(
            message.to_owned(),
            json!({ "type": "object", "properties": properties, "required": fields }),
        )
    }

    /// A form with one required yes-or-no field.
    pub(crate) fn yes_or_no(message: &str, field: &str) -> Self {
        Self::Form(
            message.to_owned(),
            json!({
                "type": "object",
                "properties": { field: { "type": "boolean" } },
                "required": [field],
            }),
        )
    }

    /// The question as the wire knows it.
    pub(crate) fn request(&self) -> Result<InputRequest, ErrorData> {
        let request = match self {
            Self::Form(message, schema) => json!({
                "method": "elicitation/create",
                "params": { "mode": "form", "message": message, "requestedSchema": schema },
            }),
            Self::Sample(prompt, max_tokens) => json!({
                "method": "sampling/createMessage",
                "params": {
                    "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
                    "maxTokens": max_tokens,
                },
            }),
            Self::Roots => json!({ "method": "roots/list", "params": {} }),
            Self::Url(message, url) => json!({
                "method": "elicitation/create",
                "params": { "mode": "url", "message": message, "url": url },
            }),
        };
        serde_json::from_value(request)
            .map_err(|error| ErrorData::internal_error(format!("fixture asks nonsense: {error}"), None))
    }

    /// True when `answer` is a result of the right kind. An accepted form must fill its required fields.
    pub(crate) fn is_answered_by(&self, answer: &Value) -> bool {
        match self {
            Self::Form(_, schema) => match answer["action"].as_str() {
                Some("accept") => schema["required"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .all(|field| answer["content"].get(field).is_some()),
                Some("decline" | "cancel") => true,
                _ => false,
            },
            Self::Sample(..) => answer.get("content").is_some_and(|c| c.is_object() || c.is_array()),
            Self::Roots => answer["roots"].is_array(),
            Self::Url(..) => matches!(answer["action"].as_str(), Some("accept" | "decline" | "cancel")),
        }
    }

    pub(crate) fn is_supported_by(&self, client: &ClientCapabilities) -> bool {
        match self {
            // An empty elicitation capability means forms.
            Self::Form(..) => {
                client.elicitation.as_ref().is_some_and(|e| e.form.is_some() || e.url.is_none())
            }
            Self::Sample(..) => client.sampling.is_some(),
            Self::Roots => client.roots.is_some(),
            Self::Url(..) => client.elicitation.as_ref().is_some_and(|e| e.url.is_some()),
        }
    }

    /// The capability this question needs, in the form of error `-32021`.
    pub(crate) fn missing_capability(&self) -> ErrorData {
        missing(&match self {
            Self::Form(..) => json!({ "elicitation": { "form": {} } }),
            Self::Sample(..) => json!({ "sampling": {} }),
            Self::Roots => json!({ "roots": {} }),
            Self::Url(..) => json!({ "elicitation": { "url": {} } }),
        })
    }
}

/// Error `-32021` naming `required`, an object of client capabilities.
pub(crate) fn missing(required: &Value) -> ErrorData {
    match serde_json::from_value(required.clone()) {
        Ok(capabilities) => ErrorData::missing_required_client_capability(capabilities),
        Err(error) => ErrorData::internal_error(format!("fixture needs nonsense: {error}"), None),
    }
}

/// Whether `requestState` accompanies a first round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatePolicy {
    /// Only when earlier answers have to be carried.
    WhenNeeded,
    /// Always, and an answer without it does not count.
    Always,
}

/// The answers of one call, and the way to more of them.
pub(crate) struct Inputs {
    shared: Arc<Shared>,
    peer: Peer<RoleServer>,
    cancelled: CancellationToken,
    modern: bool,
    client: ClientCapabilities,
    /// What the state is bound to: method, name and arguments.
    binding: Vec<u8>,
    answers: BTreeMap<String, Value>,
    offered: InputResponses,
    state_verified: bool,
}

impl Inputs {
    /// Takes over what a retry brought. State that was changed, has expired or belongs to another call is `-32602`.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        context: &RequestContext<RoleServer>,
        binding: String,
        offered: Option<InputResponses>,
        state: Option<&str>,
    ) -> Result<Self, ErrorData> {
        let binding = binding.into_bytes();
        let answers = match state {
            None => BTreeMap::new(),
            Some(sealed) => {
                shared.state_codec.open_json_with(sealed, &binding).map_err(|error| bad_state(&error))?
            }
        };
        Ok(Self {
            shared: Arc::clone(shared),
            peer: context.peer.clone(),
            cancelled: context.ct.clone(),
            modern: is_modern(context),
            client: context.client_capabilities().unwrap_or_default(),
            binding,
            answers,
            offered: offered.unwrap_or_default(),
            state_verified: state.is_some(),
        })
    }

    pub(crate) fn is_modern(&self) -> bool {
        self.modern
    }

    pub(crate) fn client(&self) -> &ClientCapabilities {
        &self.client
    }

    /// Gets one answer.
    pub(crate) async fn ask(&mut self, key: &str, ask: Ask) -> Result<Value, Stop> {
        self.ask_all(&[(key, ask)], StatePolicy::WhenNeeded).await?;
        Ok(self.answer(key))
    }

    /// Gets the answers to all of `asks`; read them with [`Inputs::answer`].
    pub(crate) async fn ask_all(&mut self, asks: &[(&str, Ask)], policy: StatePolicy) -> Result<(), Stop> {
        for (_, ask) in asks {
            if !ask.is_supported_by(&self.client) {
                return Err(self.unsupported(ask));
            }
        }
        if self.modern { self.collect(asks, policy) } else { self.ask_live(asks).await }
    }

    /// Gets one answer as servers do that never look at capabilities: in a legacy session the question is sent whatever
    /// the client declared. A modern server cannot be as careless.
    pub(crate) async fn ask_blindly(&mut self, key: &str, ask: Ask) -> Result<Value, Stop> {
        if self.modern {
            return self.ask(key, ask).await;
        }
        self.ask_live(&[(key, ask)]).await?;
        Ok(self.answer(key))
    }

    /// An answer that was collected, else null.
    pub(crate) fn answer(&self, key: &str) -> Value {
        self.answers.get(key).cloned().unwrap_or_default()
    }

    fn unsupported(&self, ask: &Ask) -> Stop {
        let error = ask.missing_capability();
        if self.modern {
            return error.into();
        }
        let needed = error.data.map(|data| data["requiredCapabilities"].to_string()).unwrap_or_default();
        Stop::Failed(format!("the client did not declare a capability that this needs: {needed}"))
    }

    fn collect(&mut self, asks: &[(&str, Ask)], policy: StatePolicy) -> Result<(), Stop> {
        let count = policy == StatePolicy::WhenNeeded || self.state_verified;
        let mut open = InputRequests::new();
        for (key, ask) in asks {
            if self.answers.contains_key(*key) {
                continue;
            }
            match self.offered.remove(*key) {
                Some(answer) if count && ask.is_answered_by(&answer) => {
                    self.answers.insert((*key).to_owned(), answer);
                }
                _ => {
                    open.insert((*key).to_owned(), ask.request()?);
                }
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let state =
            (policy == StatePolicy::Always || !self.answers.is_empty()).then(|| self.seal()).transpose()?;
        Err(Stop::Ask(Box::new(InputRequiredResult::new(Some(open), state))))
    }

    fn seal(&self) -> Result<String, ErrorData> {
        let options = SealOptions::new().associated_data(&self.binding).ttl(STATE_TTL);
        self.shared
            .state_codec
            .seal_json_with(&self.answers, &options)
            .map_err(|error| ErrorData::internal_error(format!("cannot seal the state: {error}"), None))
    }

    /// The question as a request of its own. In a legacy session the visit of a page has an id.
    fn live(&self, request: InputRequest) -> Result<ServerRequest, ErrorData> {
        match request {
            InputRequest::CreateMessage(request) => Ok(ServerRequest::CreateMessageRequest(request)),
            InputRequest::Elicitation(mut request) => {
                if let ElicitRequestParams::UrlElicitationParams { elicitation_id, .. } = &mut request.params
                {
                    *elicitation_id = self.shared.next_visit();
                }
                Ok(ServerRequest::ElicitRequest(request))
            }
            InputRequest::ListRoots(request) => Ok(ServerRequest::ListRootsRequest(request)),
            _ => Err(ErrorData::internal_error("unknown kind of input request", None)),
        }
    }

    /// Sends all requests before it waits for the first answer, as a server with several questions would.
    async fn ask_live(&mut self, asks: &[(&str, Ask)]) -> Result<(), Stop> {
        let mut waiting = Vec::with_capacity(asks.len());
        for (key, ask) in asks {
            let request = self.live(ask.request()?)?;
            // A name for gateways that put the question to a client of 2026-07-28; anybody else ignores it.
            let mut meta = RequestMetaObject::new();
            meta.insert("mcp.bridge/inputKey".to_owned(), json!(key));
            let mut options = PeerRequestOptions::no_options();
            options.meta = Some(meta);
            match self.peer.send_request_with_option(request, options).await {
                Ok(handle) => waiting.push((*key, ask, handle)),
                Err(error) => {
                    withdraw(waiting.into_iter().map(|(_, _, handle)| handle)).await;
                    return Err(Stop::Failed(format!("cannot ask the client: {error}")));
                }
            }
        }
        let mut waiting = waiting.into_iter();
        while let Some((key, ask, mut handle)) = waiting.next() {
            let outcome = tokio::select! {
                outcome = &mut handle.rx => outcome.unwrap_or(Err(ServiceError::TransportClosed)),
                () = self.cancelled.cancelled() => {
                    tracing::info!(key, "question cancelled");
                    withdraw(std::iter::once(handle).chain(waiting.map(|(_, _, handle)| handle))).await;
                    return Err(Stop::Failed("cancelled while waiting for the client".to_owned()));
                }
            };
            let answer = outcome.map(|result| serde_json::to_value(result).unwrap_or_default());
            let problem = match answer {
                Ok(answer) if ask.is_answered_by(&answer) => {
                    self.answers.insert(key.to_owned(), answer);
                    continue;
                }
                Ok(_) => format!("the client's answer to {key:?} has the wrong form"),
                Err(error) => format!("the client did not answer {key:?}: {error}"),
            };
            withdraw(waiting.map(|(_, _, handle)| handle)).await;
            return Err(Stop::Failed(problem));
        }
        Ok(())
    }
}

fn bad_state(error: &RequestStateError) -> ErrorData {
    ErrorData::invalid_params(format!("requestState was not issued for this call: {error}"), None)
}

/// Tells the client that its answers are no longer wanted.
async fn withdraw(handles: impl Iterator<Item = RequestHandle<RoleServer>>) {
    for handle in handles {
        if let Err(error) = handle.cancel(Some("the call ended".to_owned())).await {
            tracing::debug!(%error, "cannot withdraw a request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_the_right_kind_count() {
        let form = Ask::strings("Name?", &["name"]);
        assert!(form.is_answered_by(&json!({ "action": "accept", "content": { "name": "Ann" } })));
        assert!(form.is_answered_by(&json!({ "action": "decline" })));
        for bad in [json!(12345), json!(null), json!({ "action": "accept" }), json!({ "action": "maybe" })] {
            assert!(!form.is_answered_by(&bad), "{bad} was accepted");
        }
        assert!(!Ask::Roots.is_answered_by(&json!({ "roots": "all" })));
        assert!(!Ask::Sample("hi".to_owned(), 5).is_answered_by(&json!({ "content": "text" })));
    }

    #[test]
    fn an_empty_elicitation_capability_means_forms() {
        let client = |value| serde_json::from_value::<ClientCapabilities>(value).unwrap();
        let form = Ask::yes_or_no("Sure?", "ok");
        assert!(form.is_supported_by(&client(json!({ "elicitation": {} }))));
        assert!(form.is_supported_by(&client(json!({ "elicitation": { "form": {}, "url": {} } }))));
        assert!(!form.is_supported_by(&client(json!({ "elicitation": { "url": {} } }))));
        assert!(!form.is_supported_by(&client(json!({ "sampling": {} }))));
    }
}
