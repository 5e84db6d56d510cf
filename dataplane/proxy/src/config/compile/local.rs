//! `server.stdio_frontend` and frontends of protocol `stdio` to places for local clients. Changes when they get another
//! place.

use bridge_snapshot::{LocalListener, Place};

use super::Places;
use super::served::Served;
use crate::config::decode::{At, Context, Located, Problem};
use crate::config::model::server::{FrontendProtocol, Server, StdioClients, StdioMode, StdioPlace};

pub(super) fn compile(server: &Server, places: &mut Places, cx: &mut Context<'_>) -> Vec<LocalListener> {
    let frontends = Served::of(server);
    let mut local = Vec::new();
    match &server.stdio_frontend.value {
        Some(section) if *section.enabled && frontends.may_have_stdio(server) => {
            modes(&section.modes, &section.process_management, &mut local, cx);
            if let Some(path) = &section.socket_path.value {
                let place = Place::UnixSocket(path.clone());
                add(place, &section.socket_path.at, &section.process_management, &mut local, cx);
            }
            if section.modes.is_empty() && section.socket_path.value.is_none() {
                let at = &server.stdio_frontend.at;
                add(Place::StandardStreams, at, &section.process_management, &mut local, cx);
            }
        }
        Some(section) if !*section.enabled => {}
        _ if frontends.has_stdio() => local.push(LocalListener {
            name: "stdio".to_owned(),
            place: Place::StandardStreams,
            max_clients: 1,
        }),
        _ => {}
    }
    for entry in server.frontends.iter() {
        let is_stdio = entry.protocol.value == Some(FrontendProtocol::Stdio);
        if is_stdio && *entry.enabled && *entry.config.enabled {
            if entry.config.modes.is_empty() {
                let at = &entry.protocol.at;
                add(Place::StandardStreams, at, &entry.config.process_management, &mut local, cx);
            }
            modes(&entry.config.modes, &entry.config.process_management, &mut local, cx);
        }
    }
    for listener in &local {
        places.note("listener", &listener.name, &server.stdio_frontend.at);
    }
    local
}

fn modes(
    modes: &[Located<StdioMode>],
    clients: &StdioClients,
    local: &mut Vec<LocalListener>,
    cx: &mut Context<'_>,
) {
    for mode in modes.iter().filter(|mode| *mode.enabled) {
        let place = match (mode.r#type.value, &mode.path.value) {
            (Some(StdioPlace::Streams), _) => Place::StandardStreams,
            (Some(StdioPlace::UnixSocket), Some(path)) => Place::UnixSocket(path.clone()),
            (Some(StdioPlace::UnixSocket), None) => {
                cx.error(&mode.path.at, Problem::new("missing").remedy("a Unix socket needs a path"));
                continue;
            }
            (Some(StdioPlace::NamedPipes), _) => {
                let problem =
                    "named pipes never worked in the original and are not available; this mode is left out";
                cx.warn(&mode.r#type.at, Problem::new(problem).remedy("use `unix_socket`"));
                continue;
            }
            (None, _) => {
                cx.error(
                    &mode.r#type.at,
                    Problem::new("missing").remedy("allowed: stdin_stdout, unix_socket"),
                );
                continue;
            }
        };
        add(place, &mode.r#type.at, clients, local, cx);
    }
}

fn add(place: Place, at: &At, clients: &StdioClients, local: &mut Vec<LocalListener>, cx: &mut Context<'_>) {
    if local.iter().any(|other| other.place == place) {
        cx.warn(at, Problem::new("this place is listed twice; it is served once"));
        return;
    }
    let name = match (&place, local.len()) {
        (Place::StandardStreams, _) => "stdio".to_owned(),
        (Place::UnixSocket(_), 0) => "unix".to_owned(),
        (Place::UnixSocket(_), count) => format!("unix-{count}"),
    };
    local.push(LocalListener { name, place, max_clients: clients.max_concurrent_clients.0 });
}
