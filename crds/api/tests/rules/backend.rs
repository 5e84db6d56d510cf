//! Cases for the rules of `McpBackend`. Changes when a rule is added or changed.

use super::{Case, keeps, refuses};

pub(crate) const LEAST: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpBackend
metadata: {name: tools, namespace: team-a}
spec: {protocol: StreamableHTTP, serviceRef: {name: tools, port: http}}
";

pub(crate) const CASES: [Case; 43] = [
    refuses(
        "spec.toolNamespace: must be made of a to z, 0 to 9, - and _, and begin and end with a letter or a digit",
        "{spec: {toolNamespace: My_Tools}}",
        "{spec: {toolNamespace: my_tools-2}}",
    ),
    refuses(
        "spec.timeouts.request: must be between 1ms and 24h, for example 250ms, 30s or 1h30m",
        "{spec: {timeouts: {request: '5'}}}",
        "{spec: {timeouts: {request: 5.5s}}}",
    ),
    refuses(
        ": metadata.name must have at most 57 characters; the names of the backend's objects are made from it",
        "{metadata: {name: a123456789-123456789-123456789-123456789-123456789-1234567}}",
        "{metadata: {name: a123456789-123456789-123456789-123456789-123456789-123456}}",
    ),
    refuses(
        ": spec.toolNamespace is required when metadata.name has a dot, because tool namespaces have none",
        "{metadata: {name: a.b}}",
        "{metadata: {name: a.b}, spec: {toolNamespace: a_b}}",
    ),
    refuses(
        ": metadata.name must have no dot with stdio, because no name of a Service has one",
        "{metadata: {name: a.b}, spec: {toolNamespace: a_b, protocol: Stdio, serviceRef: null, stdio: {command: [a]}}}",
        "{metadata: {name: a-b}, spec: {toolNamespace: a_b, protocol: Stdio, serviceRef: null, stdio: {command: [a]}}}",
    ),
    refuses(
        "spec: exactly one of endpoints, serviceRef, stdio and consul must say where the server is",
        "{spec: {consul: {service: tools}}}",
        "{spec: {serviceRef: null, consul: {service: tools}}}",
    ),
    refuses(
        "spec: stdio is required with protocol: Stdio, and only there",
        "{spec: {protocol: Stdio}}",
        "{spec: {protocol: Stdio, serviceRef: null, stdio: {command: [python, server.py]}}}",
    ),
    refuses(
        "spec: tls has no meaning with stdio: a child process has no connection",
        "{spec: {protocol: Stdio, serviceRef: null, stdio: {command: [a]}, tls: {mode: Simple}}}",
        "{spec: {tls: {mode: Simple}}}",
    ),
    refuses(
        "spec: tls without a mode leaves http://, ws:// and tcp:// in plain text and checks no certificate; write https://, wss:// or tls://, or mode: Simple",
        "{spec: {serviceRef: null, endpoints: [{url: 'https://a'}, {url: 'http://b'}], tls: {caRef: {name: ca}}}}",
        "{spec: {serviceRef: null, endpoints: [{url: 'https://a'}], tls: {caRef: {name: ca}}}}",
    ),
    refuses(
        "spec: path has no meaning with protocol: TCP or Stdio",
        "{spec: {protocol: TCP, path: /}}",
        "{spec: {protocol: SSE, path: /events}}",
    ),
    refuses(
        "spec: with protocol: StreamableHTTP or SSE each endpoint needs an http:// or https:// URL",
        "{spec: {serviceRef: null, endpoints: [{url: 'https://a/mcp'}, {url: 'ws://b'}]}}",
        "{spec: {serviceRef: null, endpoints: [{url: 'https://a/mcp'}, {url: 'http://b'}]}}",
    ),
    refuses(
        "spec: with protocol: WebSocket each endpoint needs a ws:// or wss:// URL",
        "{spec: {protocol: WebSocket, serviceRef: null, endpoints: [{url: 'https://a/mcp'}]}}",
        "{spec: {protocol: WebSocket, serviceRef: null, endpoints: [{url: 'wss://a/mcp'}]}}",
    ),
    refuses(
        "spec: with protocol: TCP each endpoint needs a tcp:// or tls:// URL",
        "{spec: {protocol: TCP, serviceRef: null, endpoints: [{url: 'https://a:8444'}]}}",
        "{spec: {protocol: TCP, serviceRef: null, endpoints: [{url: 'tls://a:8444', weight: 0, priority: 15}]}}",
    ),
    refuses(
        "spec: with protocol: Auto each endpoint needs an http://, https://, ws:// or wss:// URL; for the binary protocol write protocol: TCP",
        "{spec: {protocol: Auto, serviceRef: null, endpoints: [{url: 'tcp://a:8444'}]}}",
        "{spec: {protocol: Auto, serviceRef: null, endpoints: [{url: 'http://a:8444'}]}}",
    ),
    keeps(
        "spec: the kind of backend (endpoints, serviceRef, stdio or consul) cannot be changed; create another McpBackend",
        "{}",
        "{spec: {serviceRef: null, endpoints: [{url: 'http://a'}]}}",
        "{spec: {serviceRef: {name: others, port: 80}}}",
    ),
    keeps(
        "spec: toolNamespace cannot be removed, because that would rename tools under their clients",
        "{spec: {toolNamespace: a}}",
        "{}",
        "{spec: {toolNamespace: a, priority: -1}}",
    ),
    keeps(
        "spec.toolNamespace: toolNamespace cannot be changed, because that would rename tools under their clients",
        "{spec: {toolNamespace: a}}",
        "{spec: {toolNamespace: b}}",
        "{spec: {toolNamespace: a}}",
    ),
    refuses(
        "spec: headers.set must not contain Authorization when auth.type is not None",
        "{spec: {auth: {type: Passthrough}, headers: {set: [{name: AUTHORIZATION, value: a}]}}}",
        "{spec: {headers: {set: [{name: Authorization, secretRef: {name: a, key: b}}]}}}",
    ),
    refuses(
        "spec.gatewayRefs: each gateway may be named once",
        "{spec: {gatewayRefs: [{name: main}, {name: main, namespace: a}, {name: main}]}}",
        "{spec: {gatewayRefs: [{name: main}, {name: main, namespace: a}, {name: other}]}}",
    ),
    refuses(
        "spec.endpoints[0].url: must be an absolute URL with one of the schemes http, https, ws, wss, tcp and tls",
        "{spec: {protocol: Auto, serviceRef: null, endpoints: [{url: 'ftp://a'}]}}",
        "{spec: {protocol: Auto, serviceRef: null, endpoints: [{url: 'http://[::1]:80/a?b=c'}]}}",
    ),
    refuses(
        "spec.stdio.env[0]: exactly one of value and secretRef must be set",
        "{spec: {protocol: Stdio, serviceRef: null, stdio: {command: [a], env: [{name: A}]}}}",
        "{spec: {protocol: Stdio, serviceRef: null, stdio: {command: [a], env: [{name: A, value: ''}], resources: {limits: {cpu: 2, memory: 128Mi}}}}}",
    ),
    refuses(
        "spec.tls: clientCertRef is required with mode: Mutual, and only there",
        "{spec: {tls: {mode: Mutual}}}",
        "{spec: {tls: {mode: Mutual, clientCertRef: {name: a}}}}",
    ),
    refuses(
        "spec.tls: insecureSkipVerify: true checks no certificate; remove it, or caRef",
        "{spec: {tls: {insecureSkipVerify: true, caRef: {name: a}}}}",
        "{spec: {tls: {insecureSkipVerify: false, caRef: {name: a, kind: Secret}}}}",
    ),
    refuses(
        "spec.tls: mode: Disabled checks no certificate; remove caRef, serverName and insecureSkipVerify, or the mode",
        "{spec: {tls: {mode: Disabled, serverName: a}}}",
        "{spec: {tls: {mode: Simple, serverName: a}}}",
    ),
    refuses(
        "spec.auth: bearer is required with type: Bearer, and only there",
        "{spec: {auth: {type: Bearer}}}",
        "{spec: {auth: {type: Bearer, bearer: {secretRef: {name: a, key: b}}}}}",
    ),
    refuses(
        "spec.auth: apiKey is required with type: APIKey, and only there",
        "{spec: {auth: {apiKey: {secretRef: {name: a, key: b}}}}}",
        "{spec: {auth: {type: APIKey, apiKey: {secretRef: {name: a, key: b}}}}}",
    ),
    refuses(
        "spec.auth.apiKey: this header belongs to the connection or to MCP and cannot carry a key",
        "{spec: {auth: {type: APIKey, apiKey: {header: HOST, secretRef: {name: a, key: b}}}}}",
        "{spec: {auth: {type: APIKey, apiKey: {header: X-Host, secretRef: {name: a, key: b}}}}}",
    ),
    refuses(
        "spec.auth: basic is required with type: Basic, and only there",
        "{spec: {auth: {type: Basic}}}",
        "{spec: {auth: {type: Basic, basic: {secretRef: {name: a}}}}}",
    ),
    refuses(
        "spec.auth: oauth2 is required with type: OAuth2ClientCredentials, and only there",
        "{spec: {auth: {type: OAuth2ClientCredentials}}}",
        "{spec: {auth: {type: OAuth2ClientCredentials, oauth2: {tokenURL: 'https://a', clientID: a, clientSecretRef: {name: a, key: b}}}}}",
    ),
    refuses(
        "spec.auth: tokenExchange is required with type: TokenExchange, and only there",
        "{spec: {auth: {type: TokenExchange}}}",
        "{spec: {auth: {type: TokenExchange, tokenExchange: {tokenURL: 'https://a', audience: b}}}}",
    ),
    refuses(
        "spec.auth.tokenExchange: clientID and clientSecretRef need each other",
        "{spec: {auth: {type: TokenExchange, tokenExchange: {tokenURL: 'https://a', audience: b, clientID: a}}}}",
        "{spec: {auth: {type: TokenExchange, tokenExchange: {tokenURL: 'https://a', audience: b, clientID: a, clientSecretRef: {name: a, key: b}}}}}",
    ),
    refuses(
        "spec.headers.set[0]: exactly one of value and secretRef must be set",
        "{spec: {headers: {set: [{name: X-A, value: a, secretRef: {name: a, key: b}}]}}}",
        "{spec: {headers: {set: [{name: X-A, value: a}]}}}",
    ),
    refuses(
        "spec.headers.set[0]: this header belongs to the connection or to MCP and cannot be set",
        "{spec: {headers: {set: [{name: Mcp-Session-Id, value: a}]}}}",
        "{spec: {headers: {set: [{name: X-Mcp-Session-Id, value: a}]}}}",
    ),
    refuses(
        "spec.headers.forward[0]: this header belongs to the connection or to MCP and cannot be forwarded",
        "{spec: {headers: {forward: [{name: Upgrade}]}}}",
        "{spec: {headers: {forward: [{name: X-Tenant, as: X-Team}]}}}",
    ),
    refuses(
        "spec.headers.forward[0]: a header cannot be forwarded as one that belongs to the connection or to MCP",
        "{spec: {headers: {forward: [{name: X-A, as: Content-Length}]}}}",
        "{spec: {headers: {forward: [{name: X-A, as: X-Length}]}}}",
    ),
    refuses(
        "spec.headers.forward[0]: the client's credential is forwarded by auth.type: Passthrough only",
        "{spec: {headers: {forward: [{name: authorization}]}}}",
        "{spec: {auth: {type: Passthrough}}}",
    ),
    refuses(
        "spec.tools: include and includeRegex are mutually exclusive",
        "{spec: {tools: {include: [a], includeRegex: [b]}}}",
        "{spec: {tools: {include: [a], excludeRegex: [b]}}}",
    ),
    refuses(
        "spec.prompts: exclude and excludeRegex are mutually exclusive",
        "{spec: {prompts: {exclude: [a], excludeRegex: [b]}}}",
        "{spec: {prompts: {exclude: [a], includeRegex: [b]}}}",
    ),
    refuses(
        "spec.timeouts.request: must be between 1ms and 24h, for example 250ms, 30s or 1h30m",
        "{spec: {timeouts: {request: 0s}}}",
        "{spec: {timeouts: {request: 24h, connect: 1ms}}}",
    ),
    refuses(
        "spec.retries.backoff: base must not be longer than max",
        "{spec: {retries: {backoff: {base: 1m, max: 59s}}}}",
        "{spec: {retries: {backoff: {base: 1m}}}}",
    ),
    refuses(
        "spec.connectionPool: maxIdle must not be greater than maxConnections",
        "{spec: {connectionPool: {maxIdle: 3, maxConnections: 2}}}",
        "{spec: {connectionPool: {maxIdle: 300}}}",
    ),
    refuses(
        "spec.healthCheck: path has a meaning with type: Http only",
        "{spec: {healthCheck: {type: Tcp, path: /health}}}",
        "{spec: {healthCheck: {type: Http, path: /health}}}",
    ),
    refuses(
        "spec.healthCheck: timeoutSeconds must not be greater than intervalSeconds",
        "{spec: {healthCheck: {timeoutSeconds: 31, intervalSeconds: 30}}}",
        "{spec: {healthCheck: {timeoutSeconds: 31}}}",
    ),
];
