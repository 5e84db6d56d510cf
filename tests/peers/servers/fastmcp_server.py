"""fastmcp as a server: fastmcp_server.py stdio|http|sse, the latter two on a free port of the loopback address. Changes with fastmcp."""

import sys

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError

from surface import equip

server = FastMCP("bridge-fastmcp")
equip(server, Context, ToolError)


@server.tool()
async def ask(question: str, ctx: Context) -> str:
    """Asks the user for a name."""
    answer = await ctx.elicit(question, str)
    return f"hello {answer.data}"


transport = sys.argv[1]
place = {} if transport == "stdio" else {"host": "127.0.0.1", "port": 0}
server.run(transport, show_banner=False, **place)
