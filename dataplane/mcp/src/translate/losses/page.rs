//! The text of `docs/bridging.md`. Changes when crossing is explained differently; what is lost comes from the table.

use super::{Direction, Loss};

const INTRO: &str = "\
# Crossing generations

MCP has two generations. Revisions from 2024-11-05 to 2025-11-25 (*legacy* here) open with `initialize`, keep a session
and let servers send requests to clients. 2026-07-28 (*modern*) has neither sessions nor requests of servers: every
request says itself who asks, and a server that needs the person answers `input_required` and is asked again.

The gateway is a server to its clients and a client to its backends, each in the generation of the other side, and
translates between them. Between equal generations messages pass as they are. This page is written by
`UPDATE_REFERENCE=1 cargo test -p bridge-mcp --test bridging_page` from the table of what is lost in
`dataplane/mcp/src/translate/losses.rs`; a test fails when the two differ.

Clients that speak as the original gateway's did (its envelope over WebSocket or POST, dialect R of its binary protocol)
read answers and nothing else, in either generation.

In both directions messages are edited, not written anew: members that the other generation does not define, the
spelling of numbers and the order of keys stay as they came.
";

/// What crosses, and how: feature and translation.
type Row = (&'static str, &'static str);

const UPGRADE: &[Row] = &[
    (
        "Opening",
        "the gateway opens sessions with the server, one set of declared questions each, and answers \
         `server/discover` from the results of `initialize`",
    ),
    (
        "Requests",
        "go without the metadata that the specification reserves for itself; progress token, trace context and \
         foreign metadata stay",
    ),
    (
        "Results",
        "get `resultType`, and on lists and reads `ttlMs` 0 and `cacheScope` `private`; `serverInfo` in the metadata is \
         the gateway's",
    ),
    (
        "Elicitation, sampling, roots",
        "the server's call is held open and the client gets `input_required` with everything that the server asks; \
         its retry brings the answers, each goes to the server once, and what is missing or nonsense is asked again",
    ),
    (
        "Names of questions",
        "the keys of `inputRequests` are the kind and a number, such as `elicitation-1`; a server may choose another with \
         `_meta[\"mcp.bridge/inputKey\"]` in its request: up to 64 letters, digits, `_`, `-` and `.` that do not end in `-` \
         and a number, once per call",
    ),
    (
        "Pages to visit (`-32042`)",
        "are asked for as elicitations by URL; when the person agreed to all, the call is made again",
    ),
    ("Progress", "on the stream of its call"),
    ("Logs", "on the stream of a call that names a level, at or above that level"),
    ("Resource not found", "`-32002` becomes `-32602` with the URI in `data.uri`"),
    ("Prompts, resources, completions, pages of lists", "pass"),
];

const DOWNGRADE: &[Row] = &[
    ("Opening", "`initialize` is answered from `server/discover`, in the revision that the client asked for"),
    (
        "Requests",
        "get the metadata that says who asks: the revision, the client's info, and those of its capabilities that its \
         revision has a form for; the session's log level goes along",
    ),
    ("Results", "go without `resultType`, cache hints and reserved metadata"),
    (
        "`input_required`",
        "the client gets a real request for each question while its call waits; the retry carries its answers and the \
         server's `requestState` exactly",
    ),
    ("Choices with titles for a client of 2025-06-18", "`oneOf` becomes `enum` and `enumNames`"),
    (
        "Sampling messages of several blocks for a client of 2025-06-18 or older",
        "become several messages of one block",
    ),
    ("Elicitation by URL for a client of 2025-11-25", "gets an `elicitationId`"),
    (
        "Progress, logs, changes of lists and resources",
        "pass without the tag of the gateway's own listen, progress without its text for a client of 2024-11-05",
    ),
    ("Resource not found", "`-32602` that names the URI which was read becomes `-32002`"),
    ("Prompts, resources, completions, pages of lists", "pass"),
];

const ORIGINAL: &[Row] = &[
    (
        "Opening",
        "a session without `initialize` is opened when one is needed; with it, it says what the client can do",
    ),
    ("Requests and their answers", "pass, in the client's envelope"),
    (
        "Elicitation, sampling, roots",
        "a client that sends requests of 2026-07-28 gets `input_required`, which is an answer; it is asked whatever the server \
         speaks",
    ),
    (
        "Cancellation",
        "`notifications/cancelled` is understood; a POST is cancelled by closing its connection",
    ),
];

/// The page.
pub fn page() -> String {
    let sections = [
        (Direction::ToLegacy, "A modern client and a legacy server", UPGRADE),
        (Direction::ToModern, "A legacy client and a modern server", DOWNGRADE),
        (Direction::ToOriginal, "A client in the original gateway's dialects", ORIGINAL),
    ];
    let mut parts = vec![INTRO.to_owned()];
    for (direction, title, rows) in sections {
        parts.push(format!("\n## {title}\n\n| what | how it crosses |\n|---|---|\n"));
        parts.extend(rows.iter().map(|(feature, translation)| format!("| {feature} | {translation} |\n")));
        parts.push("\nWhat does not:\n\n| label | what | instead | error |\n|---|---|---|---|\n".to_owned());
        let lost = Loss::ALL.iter().filter(|loss| loss.direction() == direction);
        parts.extend(lost.map(|loss| {
            let error = loss.error().map_or_else(|| "–".to_owned(), |code| code.to_string());
            format!("| `{}` | {} | {} | {error} |\n", loss.as_str(), loss.feature(), loss.instead())
        }));
    }
    parts.concat()
}
