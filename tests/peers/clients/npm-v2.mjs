// npm @modelcontextprotocol/client 2.x over Streamable HTTP in either era, or over HTTP+SSE. Changes with that SDK line.
import { createRequire } from 'node:module';
import { Events, answers, readArguments, report, runPlan, subscribeEach } from './plan.mjs';

const require = createRequire(`${process.env.BRIDGE_NPM}/script.js`);
const { Client, SSEClientTransport, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');

const { mode, url, plan } = readArguments();
const modern = mode === 'modern';
const sse = mode === 'sse';
const events = new Events();
const client = new Client(
  { name: 'bridge-npm-v2', version: '1.0.0' },
  {
    capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} },
    versionNegotiation: { mode: modern ? { pin: '2026-07-28' } : 'legacy' },
  },
);
for (const [method, answer] of answers(plan, events)) client.setRequestHandler(method, answer);
client.fallbackNotificationHandler = async ({ method, params }) => events.add(method, params ?? {});

const transport = sse ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
await client.connect(transport);
const connected = {
  protocolVersion: client.getNegotiatedProtocolVersion(),
  serverInfo: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
};
const subscriptions = [];
const listen = async ({ tools, prompts, resources = [] }) => {
  const filter = {};
  if (tools) filter.toolsListChanged = true;
  if (prompts) filter.promptsListChanged = true;
  if (resources.length > 0) filter.resourceSubscriptions = resources;
  const subscription = await client.listen(filter);
  subscriptions.push(subscription);
  return { honored: subscription.honoredFilter };
};
const steps = await runPlan(client, plan, events, {
  callTool: (params, options) => client.callTool(params, options),
  watch: (step) => (modern ? listen(step) : subscribeEach(client, step)),
});
for (const subscription of subscriptions) await subscription.close();
if (!modern && !sse) await transport.terminateSession();
await client.close();
report(connected, steps, events);
