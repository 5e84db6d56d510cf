"""What every Python server of the tests offers. Changes with what tests ask of such servers."""

import anyio


def equip(server, context, tool_error):
    """Registers tools, resources and a prompt; `context` and `tool_error` are the framework's own types."""

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool()
    def fail(reason: str) -> str:
        """Fails with a reason."""
        raise tool_error(f"it failed: {reason}")

    async def count(to: int, ctx) -> str:
        """Counts, reporting each number as progress."""
        for number in range(1, to + 1):
            await ctx.report_progress(number, to, f"at {number}")
            await anyio.sleep(0.05)
        return f"counted to {to}"

    # The frameworks find their context by its annotation.
    count.__annotations__["ctx"] = context
    server.tool()(count)

    @server.resource("notes://today")
    def today() -> str:
        """A note."""
        return "water the plants"

    @server.resource("notes://{day}/first")
    def first(day: str) -> str:
        """The first note of a day."""
        return f"nothing planned on {day}"

    @server.prompt()
    def greet(name: str) -> str:
        """Greets somebody."""
        return f"Say hello to {name}."
