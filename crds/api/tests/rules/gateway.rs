//! Cases for the rules of `McpGateway`. Changes when a rule is added or changed.

use super::{Case, keeps, refuses};

pub(crate) const LEAST: &str = "
apiVersion: mcp.bridge/v1alpha1
kind: McpGateway
metadata: {name: main, namespace: mcp-system}
spec: {listeners: [{name: http, protocol: StreamableHTTP, port: 8080, tls: {mode: Disabled}}]}
";

pub(crate) const CASES: [Case; 34] = [
    refuses(
        ": metadata.name must have at most 46 characters; the names of the gateway's objects are made from it",
        "{metadata: {name: a123456789-123456789-123456789-123456789-123456}}",
        "{metadata: {name: a123456789-123456789-123456789-123456789-12345}}",
    ),
    refuses(
        ": metadata.name must begin with a letter and have no dot, because a Service gets the same name",
        "{metadata: {name: 2nd.edge}}",
        "{metadata: {name: edge-2}}",
    ),
    refuses(
        "spec: replicas and autoscaling are mutually exclusive",
        "{spec: {replicas: 2, autoscaling: {maxReplicas: 3}}}",
        "{spec: {autoscaling: {maxReplicas: 3}}}",
    ),
    refuses(
        "spec: each listener needs a port of its own; the default is 8443",
        "{spec: {listeners: [{name: a, protocol: WebSocket, tls: {mode: Disabled}}, {name: b, protocol: SSE, port: 8443, tls: {mode: Disabled}}]}}",
        "{spec: {listeners: [{name: a, protocol: WebSocket, tls: {mode: Disabled}}, {name: b, protocol: SSE, port: 8444, tls: {mode: Disabled}}]}}",
    ),
    refuses(
        "spec: observability.metrics.port is the port of a listener, too",
        "{spec: {observability: {metrics: {port: 8080}}}}",
        "{spec: {observability: {metrics: {port: 9090}}}}",
    ),
    refuses(
        "spec: auth.mtls needs a listener with tls.mode: Mutual",
        "{spec: {auth: {mtls: {caRef: {name: clients}}}}}",
        "{spec: {auth: {mtls: {caRef: {name: clients}}}, listeners: [{name: a, protocol: SSE, tls: {mode: Mutual, certificateRefs: [{name: a}], clientCARef: {name: clients}}}]}}",
    ),
    refuses(
        "spec: rateLimit.store: Redis needs session.redis",
        "{spec: {rateLimit: {store: Redis}}}",
        "{spec: {rateLimit: {store: Redis}, session: {redis: {mode: Standalone, addresses: ['redis:6379']}}}}",
    ),
    keeps(
        "spec: className cannot be added or removed; create another McpGateway",
        "{spec: {className: edge}}",
        "{}",
        "{spec: {className: edge, replicas: 3}}",
    ),
    keeps(
        "spec.className: className cannot be changed; create another McpGateway",
        "{spec: {className: edge}}",
        "{spec: {className: core}}",
        "{spec: {className: edge}}",
    ),
    refuses(
        "spec.listeners[0]: path has no meaning with protocol: TCP",
        "{spec: {listeners: [{name: tcp, protocol: TCP, path: /, tls: {mode: Disabled}}]}}",
        "{spec: {listeners: [{name: tcp, protocol: TCP, tls: {mode: Disabled}}]}}",
    ),
    refuses(
        "spec.listeners[0]: tls is required: name a certificate in certificateRefs, or write mode: Disabled to serve in plain text",
        "{spec: {listeners: [{name: tcp, protocol: TCP}]}}",
        "{spec: {listeners: [{name: tcp, protocol: TCP, tls: {certificateRefs: [{name: a}]}}]}}",
    ),
    refuses(
        "spec.listeners[0].tls: mode: Mutual needs clientCARef, the authorities that sign client certificates",
        "{spec: {listeners: [{name: a, protocol: TCP, tls: {mode: Mutual, certificateRefs: [{name: a}]}}]}}",
        "{spec: {listeners: [{name: a, protocol: TCP, tls: {mode: Mutual, certificateRefs: [{name: a}], clientCARef: {name: ca}}}]}}",
    ),
    refuses(
        "spec.listeners[0].tls: certificateRefs needs at least one Secret unless mode is Disabled",
        "{spec: {listeners: [{name: a, protocol: TCP, tls: {minVersion: '1.2', certificateRefs: []}}]}}",
        "{spec: {listeners: [{name: a, protocol: TCP, tls: {minVersion: '1.2', certificateRefs: [{name: a}]}}]}}",
    ),
    refuses(
        "spec.listeners[0].tls: mode: Disabled uses no certificates; remove certificateRefs and clientCARef, or the mode",
        "{spec: {listeners: [{name: a, protocol: TCP, tls: {mode: Disabled, certificateRefs: [{name: a}]}}]}}",
        "{spec: {listeners: [{name: a, protocol: TCP, tls: {mode: Terminate, certificateRefs: [{name: a}]}}]}}",
    ),
    refuses(
        "spec.auth.jwt.providers[0]: exactly one of jwksURL, discovery: true and hmacSecretRef must say where the keys are",
        "{spec: {auth: {jwt: {providers: [{name: a, issuer: 'https://a', discovery: true, jwksURL: 'https://a/keys'}]}}}}",
        "{spec: {auth: {jwt: {providers: [{name: a, issuer: 'https://a', discovery: false, jwksURL: 'https://a/keys'}]}}}}",
    ),
    refuses(
        "spec.auth.jwt.providers[0]: discovery: true needs an issuer that is an https:// URL",
        "{spec: {auth: {jwt: {providers: [{name: a, issuer: mcp-gateway, discovery: true}]}}}}",
        "{spec: {auth: {jwt: {providers: [{name: a, issuer: 'https://a', discovery: true}]}}}}",
    ),
    refuses(
        "spec.authorization.rules[0]: a rule needs at least one of scopes, claims, backends and tools; use defaultAction for all requests",
        "{spec: {authorization: {rules: [{action: Deny}]}}}",
        "{spec: {authorization: {defaultAction: Deny, rules: [{action: Allow, claims: {tenant: [a, b]}}]}}}",
    ),
    refuses(
        "spec.session.redis: mode: Standalone needs exactly one address",
        "{spec: {session: {redis: {mode: Standalone, addresses: ['a:1', 'b:1']}}}}",
        "{spec: {session: {redis: {mode: Cluster, addresses: ['a:1', 'b:1']}}}}",
    ),
    refuses(
        "spec.session.redis: masterName is required with mode: Sentinel, and only there",
        "{spec: {session: {redis: {mode: Sentinel, addresses: ['a:1', 'b:1']}}}}",
        "{spec: {session: {redis: {mode: Sentinel, masterName: mcp, addresses: ['a:1', 'b:1']}}}}",
    ),
    refuses(
        "spec.session.redis: a Redis Cluster has database 0 only",
        "{spec: {session: {redis: {mode: Cluster, db: 1, addresses: ['a:1']}}}}",
        "{spec: {session: {redis: {mode: Standalone, db: 1, addresses: ['[::1]:1'], keyPrefix: 'mcp:'}}}}",
    ),
    refuses(
        "spec.limits: maxConnectionsPerIP must not be greater than maxConnections",
        "{spec: {limits: {maxConnections: 10, maxConnectionsPerIP: 11}}}",
        "{spec: {limits: {maxConnections: 10, maxConnectionsPerIP: 10}}}",
    ),
    refuses(
        "spec.backends.namespaces: selector is required with from: Selector, and only there",
        "{spec: {backends: {namespaces: {selector: {matchLabels: {a: b}}}}}}",
        "{spec: {backends: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}}}",
    ),
    refuses(
        "spec.discovery.services.namespaces: names is required with from: Names, and only there",
        "{spec: {discovery: {services: {namespaces: {from: All, names: [team-a]}}}}}",
        "{spec: {discovery: {services: {namespaces: {from: Names, names: [team-a, 'dev-*', '*']}, selector: {matchLabels: {a: b}}}}}}",
    ),
    refuses(
        "spec.discovery.consul: caRef has a meaning with an https:// address only",
        "{spec: {discovery: {consul: {address: 'http://consul:8500', caRef: {name: ca}}}}}",
        "{spec: {discovery: {consul: {address: 'https://consul:8501', caRef: {name: ca}}}}}",
    ),
    refuses(
        "spec.autoscaling: minReplicas must not be greater than maxReplicas",
        "{spec: {autoscaling: {minReplicas: 4, maxReplicas: 3}}}",
        "{spec: {autoscaling: {minReplicas: 3, maxReplicas: 3, behavior: {scaleDown: {policies: [{type: Pods}]}}}}}",
    ),
    refuses(
        "spec.service: loadBalancerClass has a meaning with type: LoadBalancer only",
        "{spec: {service: {loadBalancerClass: a}}}",
        "{spec: {service: {type: LoadBalancer, loadBalancerClass: a}}}",
    ),
    refuses(
        "spec.service: externalTrafficPolicy has a meaning with type: NodePort or LoadBalancer only",
        "{spec: {service: {type: ClusterIP, externalTrafficPolicy: Local}}}",
        "{spec: {service: {type: NodePort, externalTrafficPolicy: Local}}}",
    ),
    refuses(
        "spec.drain: minSeconds must not be greater than timeoutSeconds",
        "{spec: {drain: {minSeconds: 20, timeoutSeconds: 10}}}",
        "{spec: {drain: {minSeconds: 20, timeoutSeconds: 20}}}",
    ),
    refuses(
        "spec.disruption: exactly one of minAvailable, maxUnavailable and disabled: true must be set",
        "{spec: {disruption: {minAvailable: 1, maxUnavailable: 25%}}}",
        "{spec: {disruption: {maxUnavailable: 25%}}}",
    ),
    refuses(
        "spec.observability.metrics.serviceMonitor.interval: must be between 1ms and 24h, for example 250ms, 30s or 1h30m",
        "{spec: {observability: {metrics: {serviceMonitor: {interval: 25h}}}}}",
        "{spec: {observability: {metrics: {serviceMonitor: {interval: 1h30m}}}}}",
    ),
    refuses(
        "spec.routing.defaults.retries.backoff: base must not be longer than max",
        "{spec: {routing: {defaults: {retries: {backoff: {base: 2s, max: 1500ms}}}}}}",
        "{spec: {routing: {defaults: {retries: {backoff: {base: 100ms, max: 5s}, retryOn: [Timeout]}}}}}",
    ),
    refuses(
        "spec.routing.defaults.connectionPool: maxIdle must not be greater than maxConnections",
        "{spec: {routing: {defaults: {connectionPool: {maxIdle: 3, maxConnections: 2}}}}}",
        "{spec: {routing: {defaults: {connectionPool: {maxIdle: 2, maxConnections: 2}}}}}",
    ),
    refuses(
        "spec.routing.defaults.healthCheck: path has a meaning with type: Http only",
        "{spec: {routing: {defaults: {healthCheck: {path: /health}}}}}",
        "{spec: {routing: {defaults: {healthCheck: {type: Http, path: /health}}}}}",
    ),
    refuses(
        "spec.routing.defaults.healthCheck: timeoutSeconds must not be greater than intervalSeconds",
        "{spec: {routing: {defaults: {healthCheck: {timeoutSeconds: 31, intervalSeconds: 30}}}}}",
        "{spec: {routing: {defaults: {healthCheck: {timeoutSeconds: 30, intervalSeconds: 30}}}}}",
    ),
];
