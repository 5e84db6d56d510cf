//! Limits, sessions and traffic policy. Changes when a policy starts to work.

use super::Anything;
use crate::config::shape::Status::{NoEffect, NotYetQuiet, Works};
use crate::config::shape::{choice, section};
use crate::config::values::{Count, Hidden, Interval, Number, Positive, Seconds, Size};

fn defaults() -> bridge_snapshot::Limits {
    bridge_snapshot::Limits::default()
}

section! {
    /// Bounds on what one peer can make the gateway hold or do.
    pub(crate) struct Limits {
        /// Largest body of an HTTP request.
        max_http_body: Size = Size(defaults().max_http_body), Works;
        /// Largest message from a client over WebSocket, stdio or TCP.
        max_message: Size = Size(defaults().max_message), Works;
        /// Largest message from a backend.
        max_backend_message: Size = Size(defaults().max_backend_message), Works;
        /// Deepest nesting of JSON in a message, up to 512.
        max_depth: Positive = Positive(defaults().max_depth), Works;
        /// As `server.read_timeout`, which holds when this is left out.
        read_timeout: Option<Interval>, Works;
        /// As `server.idle_timeout`, which holds when this is left out.
        idle_timeout: Option<Interval>, Works;
        /// Longest duration of one request, however much progress it reports.
        max_request_duration: Interval = Interval(defaults().max_request_duration), Works;
        /// Time between the comments that keep an event stream open.
        keep_alive: Interval = Interval(defaults().keep_alive), Works;
        /// How long a merged list waits for backends that were never listed before.
        catalogue_wait: Interval = Interval(defaults().catalogue_wait), Works;
        /// Events kept per stream for clients that resume it.
        replay_events: Positive = Positive(defaults().replay_events), Works;
        /// Bytes kept per stream for clients that resume it.
        replay_bytes: Size = Size(defaults().replay_bytes), Works;
        /// Open `subscriptions/listen` streams at once.
        max_listens: Positive = Positive(defaults().max_listens), Works;
        /// How long a call waits at a server of an earlier revision for the answers of its 2026-07-28 client.
        parked_ttl: Interval = Interval(defaults().parked_ttl), Works;
        /// Calls that wait so at once; more are refused with an error that says to retry.
        max_parked: Positive = Positive(defaults().max_parked), Works;
        /// Calls of one caller that wait so at once.
        max_parked_per_principal: Positive = Positive(defaults().max_parked_per_principal), Works;
        /// Memory for the messages of calls that wait so: requests, and what their servers ask.
        max_parked_bytes: Size = Size(defaults().max_parked_bytes), Works;
        /// Memory for the messages of one caller's calls that wait so.
        max_parked_bytes_per_principal: Size = Size(defaults().max_parked_bytes_per_principal), Works;
        /// How often a 2026-07-28 server may ask a client of an earlier revision within one call.
        max_rounds: Positive = Positive(10), Works;
        /// How long requests in flight may take to finish when the gateway is told to stop.
        drain_timeout: Interval = Interval(defaults().drain_timeout), Works;
    }
}

section! {
    /// Sessions of clients that speak a revision before 2026-07-28.
    pub(crate) struct SessionRules {
        /// Where sessions are kept. `redis` is not available yet: memory is used.
        provider: Store = Store::Memory, Works;
        /// Idle time after which a session ends.
        ttl: Seconds = Seconds(bridge_snapshot::Sessions::default().idle_ttl), Works;
        /// Sessions at once; more are refused with an error that says to retry.
        max_sessions: Positive = Positive(bridge_snapshot::Sessions::default().max_sessions), Works;
    } accepts {
        /// Time between removals of ended sessions.
        cleanup_interval: Seconds, NoEffect("ended sessions are removed as they end");
        /// The Redis of the sessions.
        redis: Redis, NotYetQuiet;
        /// Settings of the memory store.
        memory: Anything, NoEffect("ended sessions are removed as they end");
    }
}

choice! {
    /// Where state is kept.
    pub(crate) enum Store {
        /// In the process.
        Memory = "memory",
        /// In Redis.
        Redis = "redis",
    }
}

section! {
    /// A Redis server.
    pub(crate) struct Redis {
    } accepts {
        /// `redis://` URL.
        url: Hidden, NotYetQuiet;
        /// Password.
        password: Hidden, NotYetQuiet;
        /// Addresses of a cluster.
        addresses: Anything, NotYetQuiet;
        /// Database number.
        db: Count, NotYetQuiet;
        /// Connections kept open.
        pool_size: Count, NotYetQuiet;
        /// Attempts per command.
        max_retries: Count, NotYetQuiet;
        /// Time to connect.
        dial_timeout: Seconds, NotYetQuiet;
    }
}

section! {
    /// Choosing between several servers of one namespace.
    pub(crate) struct Routing {
    } accepts {
        /// Strategy of choice.
        strategy: Strategy, NotYetQuiet;
        /// Time between health checks.
        health_check_interval: Seconds, NotYetQuiet;
        /// Pausing servers that keep failing.
        circuit_breaker: RoutingBreaker, NotYetQuiet;
    }
}

choice! {
    /// Strategy of choice.
    pub(crate) enum Strategy {
        /// In turn.
        RoundRobin = "round_robin",
        /// The one with the fewest requests in flight.
        LeastConnections = "least_connections",
        /// By weight.
        Weighted = "weighted",
        /// At random.
        Random = "random",
        /// By hash of the client.
        Hash = "hash",
    }
}

section! {
    /// Pausing servers that keep failing.
    pub(crate) struct RoutingBreaker {
    } accepts {
        /// Whether it is on.
        enabled: bool, NotYetQuiet;
        /// Failures in a row that pause a server.
        failure_threshold: Count, NotYetQuiet;
        /// Successes that end the pause.
        success_threshold: Count, NotYetQuiet;
        /// Length of the pause.
        timeout: Seconds, NotYetQuiet;
        /// Length of the pause, in seconds.
        timeout_seconds: Count, NotYetQuiet;
        /// Requests that try a paused server.
        max_requests: Count, NotYetQuiet;
        /// Time over which failures count, in seconds.
        interval_seconds: Count, NotYetQuiet;
    }
}

section! {
    /// Requests per client and time.
    pub(crate) struct RateLimit {
        /// Whether it is on.
        enabled: bool = true, NotYetQuiet;
    } accepts {
        /// Where counts are kept.
        provider: Store, NotYetQuiet;
        /// Requests per second.
        requests_per_sec: Count, NotYetQuiet;
        /// Requests at once beyond that.
        burst: Count, NotYetQuiet;
        /// Length of the window.
        window_size: Seconds, NotYetQuiet;
        /// Time between removals of old counts.
        cleanup_interval: Seconds, NotYetQuiet;
        /// The Redis of the counts.
        redis: Redis, NotYetQuiet;
        /// Settings of the memory store.
        memory: Anything, NotYetQuiet;
    }
}

section! {
    /// Pausing servers that keep failing, for all servers.
    pub(crate) struct CircuitBreaker {
        /// Whether it is on.
        enabled: bool = true, NotYetQuiet;
    } accepts {
        /// Failures that pause a server.
        threshold: Count, NotYetQuiet;
        /// Length of the pause.
        timeout: Seconds, NotYetQuiet;
        /// Requests that try a paused server.
        max_requests: Count, NotYetQuiet;
        /// Time over which failures count.
        interval: Seconds, NotYetQuiet;
        /// Share of successes that ends the pause.
        success_ratio: Number, NotYetQuiet;
    }
}
