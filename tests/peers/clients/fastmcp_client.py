"""fastmcp over Streamable HTTP in either era, or over HTTP+SSE. Changes with fastmcp."""

from contextlib import AsyncExitStack
from functools import partial

import anyio
import mcp_types as types
from fastmcp import Client
from fastmcp.client.transports import SSETransport, StreamableHttpTransport
from mcp.client.subscriptions import listen

from plan import Callbacks, Events, dump, read_arguments, report, run_plan
from sdk_v2 import Sdk


class Whole:
    """The client's methods that return whole results, under the names that plans use."""

    def __init__(self, client):
        self.list_tools = client.list_tools_mcp
        self.list_prompts = client.list_prompts_mcp
        self.list_resources = client.list_resources_mcp
        self.list_resource_templates = client.list_resource_templates_mcp
        self.read_resource = client.read_resource_mcp
        self.get_prompt = client.get_prompt_mcp
        self.complete = client.complete_mcp
        self.set_logging_level = client.set_logging_level
        self.send_ping = client.session.send_ping
        self.subscribe_resource = client.session.subscribe_resource
        self._call = client.call_tool_mcp

    async def call_tool(self, name, arguments, progress_callback):
        return await self._call(name, arguments, progress_handler=progress_callback)


async def main():
    mode, url, plan = read_arguments()
    modern = mode == "modern"
    events = Events()
    callbacks = Callbacks(types, plan, events)

    async def sampling(_messages, params, context):
        return await callbacks.sampling(context, params)

    async def elicitation(_message, _response_type, params, context):
        return (await callbacks.elicitation(context, params)).content

    async def roots(context):
        return (await callbacks.roots(context)).roots

    client = Client(
        SSETransport(url) if mode == "sse" else StreamableHttpTransport(url),
        mode="auto" if modern else "legacy",
        sampling_handler=sampling,
        elicitation_handler=elicitation,
        roots=roots,
        message_handler=callbacks.message,
    )
    async with client, anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        connected = {
            "protocolVersion": client.protocol_version,
            "serverInfo": dump(client.server_info),
            "capabilities": dump(client.server_capabilities),
        }
        whole = Whole(client)
        sdk = Sdk(whole, partial(listen, client.session), callbacks, events, stack, tasks, modern)
        steps = await run_plan(whole, plan, events, sdk)
        tasks.cancel_scope.cancel()
    report(connected, steps, events)


anyio.run(main)
