"""Python mcp 2.x over Streamable HTTP in either era, or over HTTP+SSE. Changes with that SDK line."""

from contextlib import AsyncExitStack

import anyio
import mcp_types as types
from mcp.client.client import Client
from mcp.client.sse import sse_client

from plan import Callbacks, Events, dump, read_arguments, report, run_plan
from sdk_v2 import Sdk


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
        steps = await run_plan(client, plan, events, Sdk(client, client.listen, callbacks, events, stack, tasks, modern))
        tasks.cancel_scope.cancel()
    report(connected, steps, events)


anyio.run(main)
