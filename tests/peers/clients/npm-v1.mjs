// npm @modelcontextprotocol/sdk 1.x over Streamable HTTP or HTTP+SSE. Changes with that SDK line.
import { createRequire } from 'node:module';
import { Events, answers, readArguments, report, runPlan, subscribeEach } from './plan.mjs';

const require = createRequire(`${process.env.BRIDGE_NPM}/script.js`);
const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { SSEClientTransport } = require('@modelcontextprotocol/sdk/client/sse.js');
const types = require('@modelcontextprotocol/sdk/types.js');

const { mode, url, plan } = readArguments();
const events = new Events();
const client = new Client(
  { name: 'bridge-npm-v1', version: '1.0.0' },
  { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
);
const schemas = {
  'sampling/createMessage': types.CreateMessageRequestSchema,
  'elicitation/create': types.ElicitRequestSchema,
  'roots/list': types.ListRootsRequestSchema,
};
for (const [method, answer] of answers(plan, events)) client.setRequestHandler(schemas[method], answer);
client.fallbackNotificationHandler = async ({ method, params }) => events.add(method, params ?? {});

const sse = mode === 'sse';
const transport = sse ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
await client.connect(transport);
const connected = {
  protocolVersion: sse ? transport._protocolVersion : transport.protocolVersion,
  serverInfo: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
};
const steps = await runPlan(client, plan, events, {
  callTool: (params, options) => client.callTool(params, undefined, options),
  watch: (step) => subscribeEach(client, step),
});
if (!sse) await transport.terminateSession();
await client.close();
report(connected, steps, events);
