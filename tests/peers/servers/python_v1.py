"""Python mcp 1.x as a server: python_v1.py websocket|sse|http, on a free port of the loopback address. Changes with that SDK line."""

import sys

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.websocket import websocket_server
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from surface import equip


class Person(BaseModel):
    name: str


server = FastMCP("bridge-python-v1")
equip(server, Context, ToolError)


@server.tool()
async def ask(question: str, ctx: Context) -> str:
    """Asks the user for a name."""
    answer = await ctx.elicit(question, schema=Person)
    return f"hello {answer.data.name}"


@server.tool()
async def think(prompt: str, ctx: Context) -> str:
    """Asks the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return f"the model says {answer.content.text}"


async def on_websocket(websocket):
    async with websocket_server(websocket.scope, websocket.receive, websocket.send) as (read, write):
        inner = server._mcp_server
        await inner.run(read, write, inner.create_initialization_options())


apps = {
    "websocket": lambda: Starlette(routes=[WebSocketRoute("/ws", on_websocket)]),
    "sse": server.sse_app,
    "http": server.streamable_http_app,
}
uvicorn.run(apps[sys.argv[1]](), host="127.0.0.1", port=0)
