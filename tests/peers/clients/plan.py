"""Runs a plan on a connected Python client. Changes with the plan format (README.md); what differs between SDK lines
comes in through `sdk`."""

import json
import sys

import anyio

AWAIT_SECONDS = 10


def read_arguments():
    mode, url, plan = sys.argv[1:4]
    return mode, url, json.loads(plan)


def dump(value):
    """An SDK object as the JSON of the wire."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


class Events:
    """Events in order of arrival, and waiting for one that nobody has taken yet."""

    def __init__(self):
        self.all = []
        self._taken = set()
        self._changed = anyio.Event()

    def add(self, method, params):
        self.all.append({"method": method, "params": params})
        self._changed.set()

    async def next(self, method):
        try:
            with anyio.fail_after(AWAIT_SECONDS):
                while True:
                    changed = self._changed
                    for index, event in enumerate(self.all):
                        if event["method"] == method and index not in self._taken:
                            self._taken.add(index)
                            return event
                    await changed.wait()
                    self._changed = anyio.Event()
        except TimeoutError:
            raise TimeoutError(f"no {method} within {AWAIT_SECONDS} s") from None


class Callbacks:
    """Answers to server requests, in the SDKs' own types."""

    def __init__(self, types, plan, events):
        self._types = types
        self._answers = plan.get("answers", {})
        self._events = events

    async def sampling(self, _context, params):
        self._events.add("sampling/createMessage", dump(params))
        text = self._types.TextContent(type="text", text=self._answers.get("sampling", "an answer"))
        return self._types.CreateMessageResult(role="assistant", model="none", content=text)

    async def elicitation(self, _context, params):
        self._events.add("elicitation/create", dump(params))
        return self._types.ElicitResult(action="accept", content=self._answers.get("elicitation", {}))

    async def roots(self, _context):
        self._events.add("roots/list", {})
        roots = [self._types.Root(uri=uri) for uri in self._answers.get("roots", [])]
        return self._types.ListRootsResult(roots=roots)

    async def message(self, message):
        # Line 1.x wraps notifications in a root model and also passes requests here, which the callbacks above record.
        message = getattr(message, "root", message)
        method = getattr(message, "method", "")
        if method.startswith("notifications/") and method != "notifications/progress":
            params = getattr(message, "params", None)
            self._events.add(method, {} if params is None else dump(params))

    async def progress(self, progress, total, message):
        params = {"progress": progress, "total": total, "message": message}
        self._events.add("notifications/progress", {key: value for key, value in params.items() if value is not None})


async def pages(fetch, attribute, key):
    items, cursor = [], None
    while True:
        page = await fetch(cursor)
        items += [dump(item) for item in getattr(page, attribute)]
        cursor = page.next_cursor if hasattr(page, "next_cursor") else page.nextCursor
        if cursor is None:
            return {key: items}


async def run_plan(client, plan, events, sdk):
    async def act(step):
        match step["do"]:
            case "list_tools":
                return await pages(sdk.list(client.list_tools), "tools", "tools")
            case "list_prompts":
                return await pages(sdk.list(client.list_prompts), "prompts", "prompts")
            case "list_resources":
                return await pages(sdk.list(client.list_resources), "resources", "resources")
            case "list_resource_templates":
                return await pages(sdk.list(client.list_resource_templates), sdk.templates, "resourceTemplates")
            case "call_tool":
                return await client.call_tool(
                    step["name"], step.get("arguments", {}), progress_callback=sdk.callbacks.progress
                )
            case "read_resource":
                return await client.read_resource(sdk.uri(step["uri"]))
            case "get_prompt":
                return await client.get_prompt(step["name"], step.get("arguments"))
            case "complete":
                return await client.complete(sdk.ref(step["ref"]), step["argument"])
            case "set_level":
                return await client.set_logging_level(step["level"])
            case "watch":
                return await sdk.watch(step)
            case "await":
                return await events.next(step["method"])
            case "ping":
                return await client.send_ping()
            case other:
                raise ValueError(f"unknown step {other}")

    steps = []
    for step in plan["steps"]:
        try:
            steps.append({"do": step["do"], "result": dump(await act(step)) or {}})
        except Exception as error:
            detail = getattr(error, "error", None)
            steps.append(
                {
                    "do": step["do"],
                    "error": {
                        "code": getattr(detail, "code", None),
                        "message": str(getattr(detail, "message", error)),
                        "data": dump(getattr(detail, "data", None)),
                    },
                }
            )
    return steps


def report(connected, steps, events):
    print("REPORT " + json.dumps({"connected": connected, "steps": steps, "events": events.all}), flush=True)
