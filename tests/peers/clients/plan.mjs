// Runs a plan on a connected npm client. Changes with the plan format (README.md); what differs between SDK lines comes in
// through `sdk`.

export const AWAIT_MS = 10_000;

export function readArguments() {
  const [mode, url, plan] = process.argv.slice(2);
  return { mode, url: new URL(url), plan: JSON.parse(plan) };
}

/** Events in order of arrival, and waiting for one that nobody has taken yet. */
export class Events {
  all = [];
  #taken = new Set();
  #waiters = [];

  add(method, params) {
    this.all.push({ method, params });
    for (const wake of this.#waiters.splice(0)) wake();
  }

  async next(method) {
    const deadline = Date.now() + AWAIT_MS;
    for (;;) {
      const index = this.all.findIndex((event, at) => event.method === method && !this.#taken.has(at));
      if (index >= 0) {
        this.#taken.add(index);
        return this.all[index];
      }
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`no ${method} within ${AWAIT_MS} ms`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

/** Answers to server requests by method. */
export function answers(plan, events) {
  const { sampling = 'an answer', elicitation = {}, roots = [] } = plan.answers ?? {};
  const results = {
    'sampling/createMessage': { role: 'assistant', model: 'none', content: { type: 'text', text: sampling } },
    'elicitation/create': { action: 'accept', content: elicitation },
    'roots/list': { roots: roots.map((uri) => ({ uri })) },
  };
  return Object.entries(results).map(([method, result]) => [
    method,
    async (request) => {
      events.add(method, request.params ?? {});
      return result;
    },
  ]);
}

async function pages(list, key) {
  const items = [];
  let cursor;
  do {
    const page = await list(cursor === undefined ? {} : { cursor });
    items.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return { [key]: items };
}

export async function runPlan(client, plan, events, sdk) {
  const actions = {
    list_tools: () => pages((params) => client.listTools(params), 'tools'),
    list_prompts: () => pages((params) => client.listPrompts(params), 'prompts'),
    list_resources: () => pages((params) => client.listResources(params), 'resources'),
    list_resource_templates: () => pages((params) => client.listResourceTemplates(params), 'resourceTemplates'),
    call_tool: ({ name, arguments: args = {} }) =>
      sdk.callTool({ name, arguments: args }, {
        onprogress: (progress) => events.add('notifications/progress', progress),
      }),
    read_resource: ({ uri }) => client.readResource({ uri }),
    get_prompt: ({ name, arguments: args }) => client.getPrompt({ name, arguments: args }),
    complete: ({ ref, argument }) => client.complete({ ref, argument }),
    set_level: ({ level }) => client.setLoggingLevel(level),
    watch: (step) => sdk.watch(step),
    await: ({ method }) => events.next(method),
    ping: () => client.ping(),
  };
  const steps = [];
  for (const step of plan.steps) {
    try {
      steps.push({ do: step.do, result: (await actions[step.do](step)) ?? {} });
    } catch (error) {
      steps.push({ do: step.do, error: { code: error.code ?? null, message: String(error.message ?? error), data: error.data ?? null } });
    }
  }
  return steps;
}

export async function subscribeEach(client, { resources = [] }) {
  for (const uri of resources) await client.subscribeResource({ uri });
}

export function report(connected, steps, events) {
  process.stdout.write(`REPORT ${JSON.stringify({ connected, steps, events: events.all })}\n`);
}
