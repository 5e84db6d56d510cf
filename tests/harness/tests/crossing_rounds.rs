//! Servers of 2026-07-28 that ask legacy clients in rounds: clients that refuse, talk nonsense, leave or change their mind,
//! and servers that never have enough. Changes when rounds become live questions differently.

#[path = "crossing_rounds/clients.rs"]
mod clients;
#[path = "crossing_rounds/servers.rs"]
mod servers;
#[path = "crossing_rounds/support.rs"]
mod support;
