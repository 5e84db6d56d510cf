//! For random legal exchanges, what a client and a server of different generations observe through the gateway equals what
//! each observes with a peer of its own, but for what belongs to the generations themselves. Changes with the mapping.
//!
//! The seeds are fixed and few; a failure names its seed, and `SEED=n` runs that one alone.

#[path = "crossing_equivalence/exchange.rs"]
mod exchange;
#[path = "crossing_equivalence/observe.rs"]
mod observe;
#[path = "crossing_equivalence/serve.rs"]
mod serve;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::{Backend, Config, Era, Gateway};
use parking_lot::Mutex;
use serde_json::json;

use exchange::Exchange;
use observe::Seen;
use serve::Scripted;

/// How many exchanges are tried.
const EXCHANGES: u64 = 100;

/// The generations, which are also the names of the servers.
const ERAS: [&str; 2] = ["legacy", "modern"];
/// A client that plays an exchange with the server at an address.
type Client = fn(&str, &Exchange) -> Result<Vec<Seen>>;
/// One for each generation.
const CLIENTS: [Client; 2] = [observe::legacy, observe::modern];

#[test]
fn crossing_changes_nothing_but_the_generation() -> Result<()> {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().context("SEED is a number")?],
        Err(_) => (0..EXCHANGES).collect(),
    };
    let script = Arc::new(Mutex::new(Exchange::random(0)));
    let servers = [Scripted::start(Era::Legacy, &script)?, Scripted::start(Era::Modern, &script)?];
    let config = ERAS.iter().zip(&servers).fold(Config::new(), |config, (era, server)| {
        config.backend(Backend::http(era, &server.url()).era(era))
    });
    let gateway = Gateway::start(&config.set("limits", "keep_alive", json!("10m")))?;
    for era in ERAS {
        gateway.wait_backends(era, &[era])?;
    }
    for seed in seeds {
        *script.lock() = Exchange::random(seed);
        let exchange = script.lock().clone();
        compare(&gateway, &servers, &exchange).with_context(|| format!("SEED={seed}: {exchange:#?}"))?;
    }
    Ok(())
}

/// Each generation by itself is what all pairs through the gateway are held to.
fn compare(gateway: &Gateway, servers: &[Scripted; 2], exchange: &Exchange) -> Result<()> {
    let alone = [0, 1].map(|era| -> Result<_> {
        let client = CLIENTS[era](&servers[era].url(), exchange)?;
        Ok((client, servers[era].take()))
    });
    let [old, new] = alone;
    let alone = [old?, new?];
    same("the two servers do not play the same exchange", &alone[0].0, &alone[1].0)?;
    for (client, server) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
        let seen = CLIENTS[client](&gateway.url(&format!("/mcp/{}", ERAS[server])), exchange);
        let pair = format!("{} client, {} server", ERAS[client], ERAS[server]);
        same(&format!("{pair}: the client"), &alone[client].0, &seen.with_context(|| pair.clone())?)?;
        same(&format!("{pair}: the server"), &alone[server].1, &servers[server].take())?;
    }
    Ok(())
}

fn same(what: &str, expected: &[Seen], observed: &[Seen]) -> Result<()> {
    ensure!(expected == observed, "{what}: expected {expected:#?}, observed {observed:#?}");
    Ok(())
}
