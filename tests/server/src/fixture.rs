//! The server as the SDK sees it: each method handed to the module that knows it.
//! Changes when a method is added to the protocol.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, ErrorData, GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult,
    Implementation, InitializeRequestParams, InitializeResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{Peer, RoleServer, ServerHandler};
use serde_json::Value;

use crate::call::{Call, respond};
use crate::era::{self, Era, is_modern};
use crate::input_required::Inputs;
use crate::paging::page;
use crate::state::{Session, Shared};
use crate::{completion, logging, prompts, resources};

/// How long modern clients may keep a list, in milliseconds. Change notifications end it early.
const LIST_TTL: u64 = 5_000;

/// Serves one legacy session, one modern request or one stdio connection.
pub(crate) struct Fixture {
    shared: Arc<Shared>,
    session: Arc<Session>,
}

impl Fixture {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, session: Arc::default() }
    }

    /// Notifications reach the session from now on.
    fn join(&self, peer: &Peer<RoleServer>) {
        if self.session.peer.set(peer.clone()).is_ok() {
            self.shared.hub.join(&self.session);
        }
    }

    fn hints(context: &RequestContext<RoleServer>) -> (Option<u64>, Option<CacheScope>) {
        if is_modern(context) { (Some(LIST_TTL), Some(CacheScope::Public)) } else { (None, None) }
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_completions();
        #[expect(
            deprecated,
            reason = "logging is deprecated by the specification but still part of the surface"
        )]
        let capabilities = capabilities.enable_logging();
        let capabilities = if self.shared.era == Era::Legacy {
            capabilities.build()
        } else {
            capabilities.enable_tasks().build()
        };
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("mcp-test-server", env!("CARGO_PKG_VERSION")))
            .with_instructions("A fixture for tests. Nothing it does has an effect outside its process.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.shared.era.versions()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        // Extensions came with 2026-07-28.
        result.capabilities.extensions = None;
        let _ = self.session.greeted.set(());
        Ok(result)
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.join(&context.peer);
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (tools, next_cursor) =
            page(self.shared.tools.list(&self.shared), request, self.shared.page_size)?;
        let (ttl_ms, cache_scope) = Self::hints(&context);
        Ok(ListToolsResult { next_cursor, ttl_ms, cache_scope, ..ListToolsResult::with_all_items(tools) })
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.shared.tools.get(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if logging::level_is_bad(&context) {
            return Err(ErrorData::invalid_params("the log level in _meta does not exist", None));
        }
        let _under_way = self.shared.calls.token();
        // The notification before it is handled beside it, and perhaps later.
        if self.session.greeted.get().is_some() {
            self.join(&context.peer);
        }
        let arguments = request.arguments.unwrap_or_default();
        let binding = format!("tools/call {} {}", request.name, Value::Object(arguments.clone()));
        let state = request.request_state.as_deref();
        let inputs = Inputs::new(&self.shared, &context, binding, request.input_responses, state)?;
        let call = Call {
            shared: Arc::clone(&self.shared),
            session: Arc::clone(&self.session),
            context,
            arguments,
            inputs,
        };
        respond(self.shared.tools.run(&request.name, call).await)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let (items, next_cursor) = page(resources::list(&self.shared), request, self.shared.page_size)?;
        let (ttl_ms, cache_scope) = Self::hints(&context);
        Ok(ListResourcesResult {
            next_cursor,
            ttl_ms,
            cache_scope,
            ..ListResourcesResult::with_all_items(items)
        })
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let (items, next_cursor) = page(resources::templates(), request, self.shared.page_size)?;
        let (ttl_ms, cache_scope) = Self::hints(&context);
        let result = ListResourceTemplatesResult::with_all_items(items);
        Ok(ListResourceTemplatesResult { next_cursor, ttl_ms, cache_scope, ..result })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&self.shared, &request.uri, is_modern(&context)).map(Into::into)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !resources::exists(&request.uri) {
            return Err(resources::not_found(&request.uri));
        }
        self.session.watched.lock().insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.session.watched.lock().remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(self.shared.hub.accept(&self.session.early, requested))
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        self.shared.hub.feed(&self.session.early, &subscription, &self.shared.stopping).await;
        Ok(())
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let (items, next_cursor) = page(prompts::list(&self.shared), request, self.shared.page_size)?;
        let (ttl_ms, cache_scope) = Self::hints(&context);
        Ok(ListPromptsResult { next_cursor, ttl_ms, cache_scope, ..ListPromptsResult::with_all_items(items) })
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let binding = format!("prompts/get {} {}", request.name, Value::Object(arguments.clone()));
        let state = request.request_state.as_deref();
        let mut inputs = Inputs::new(&self.shared, &context, binding, request.input_responses, state)?;
        prompts::get(&self.shared, &request.name, &arguments, &mut inputs).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        completion::complete(&request)
    }

    async fn set_level(
        &self,
        request: logging::SetLevel,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            return Err(era::unknown_method("logging/setLevel"));
        }
        logging::set_level(&self.session, &request);
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.shared.tasks.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.cancel_task(&request.task_id)
    }
}
