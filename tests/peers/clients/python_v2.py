"""Python mcp 2.x over Streamable HTTP in either era, or over HTTP+SSE. Changes with that SDK line."""

from contextlib import AsyncExitStack

import anyio
import mcp_types as types
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.shared.subscriptions import event_to_notification

from plan import Callbacks, Events, dump, read_arguments, report, run_plan


class Sdk:
    templates = "resource_templates"
    uri = str

    def __init__(self, client, callbacks, events, stack, tasks, modern):
        self.client = client
        self.callbacks = callbacks
        self.events = events
        self.stack = stack
        self.tasks = tasks
        self.modern = modern

    def list(self, method):
        return lambda cursor: method(cursor=cursor)

    def ref(self, ref):
        if ref["type"] == "ref/prompt":
            return types.PromptReference(**ref)
        return types.ResourceTemplateReference(**ref)

    async def watch(self, step):
        if not self.modern:
            for uri in step.get("resources", []):
                await self.client.subscribe_resource(uri)
            return None
        listening = self.client.listen(
            tools_list_changed=step.get("tools", False),
            prompts_list_changed=step.get("prompts", False),
            resource_subscriptions=step.get("resources", []),
        )
        subscription = await self.stack.enter_async_context(listening)
        self.tasks.start_soon(self._forward, subscription)
        return {"honored": dump(subscription.honored)}

    async def _forward(self, subscription):
        async for event in subscription:
            notification = event_to_notification(event, {})
            self.events.add(notification.method, dump(notification.params) or {})


async def main():
    mode, url, plan = read_arguments()
    modern = mode == "modern"
    events = Events()
    callbacks = Callbacks(types, plan, events)
    client = Client(
        sse_client(url) if mode == "sse" else url,
        mode="auto" if modern else "legacy",
        sampling_callback=callbacks.sampling,
        elicitation_callback=callbacks.elicitation,
        list_roots_callback=callbacks.roots,
        message_handler=callbacks.message,
    )
    async with client, anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        connected = {
            "protocolVersion": client.protocol_version,
            "serverInfo": dump(client.server_info),
            "capabilities": dump(client.server_capabilities),
        }
        steps = await run_plan(client, plan, events, Sdk(client, callbacks, events, stack, tasks, modern))
        tasks.cancel_scope.cancel()
    report(connected, steps, events)


anyio.run(main)
