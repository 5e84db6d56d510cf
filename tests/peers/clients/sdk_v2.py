"""What the Python clients on mcp 2.x share. Changes with that SDK line."""

import mcp_types as types
from mcp.shared.subscriptions import event_to_notification

from plan import dump


class Sdk:
    templates = "resource_templates"
    uri = str

    def __init__(self, client, listen, callbacks, events, stack, tasks, modern):
        self.client = client
        self.listen = listen
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
        listening = self.listen(
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
