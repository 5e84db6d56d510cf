"""Python mcp 1.x over Streamable HTTP, HTTP+SSE or WebSocket. Changes with that SDK line."""

import anyio
from mcp import types
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.websocket import websocket_client
from pydantic import AnyUrl

from plan import Callbacks, Events, dump, read_arguments, report, run_plan


class Sdk:
    templates = "resourceTemplates"
    uri = AnyUrl

    def __init__(self, session, callbacks):
        self.session = session
        self.callbacks = callbacks

    def list(self, method):
        return lambda cursor: method(params=types.PaginatedRequestParams(cursor=cursor) if cursor else None)

    def ref(self, ref):
        if ref["type"] == "ref/prompt":
            return types.PromptReference(**ref)
        return types.ResourceTemplateReference(**ref)

    async def watch(self, step):
        for uri in step.get("resources", []):
            await self.session.subscribe_resource(AnyUrl(uri))


async def main():
    mode, url, plan = read_arguments()
    events = Events()
    callbacks = Callbacks(types, plan, events)
    if mode == "websocket":
        transport = websocket_client(url.replace("http:", "ws:", 1))
    else:
        transport = sse_client(url) if mode == "sse" else streamable_http_client(url)
    async with transport as (read, write, *_):
        async with ClientSession(
            read,
            write,
            sampling_callback=callbacks.sampling,
            elicitation_callback=callbacks.elicitation,
            list_roots_callback=callbacks.roots,
            message_handler=callbacks.message,
        ) as session:
            opened = await session.initialize()
            connected = {
                "protocolVersion": opened.protocolVersion,
                "serverInfo": dump(opened.serverInfo),
                "capabilities": dump(opened.capabilities),
            }
            steps = await run_plan(session, plan, events, Sdk(session, callbacks))
    report(connected, steps, events)


anyio.run(main)
