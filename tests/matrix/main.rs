//! Every frontend, every transport of a backend, every pair of generations: the same behaviours in one table. Changes with
//! how the cells are run.
//!
//! `make matrix` runs this and prints the table, which stays in `target/matrix/report.md`. `MATRIX="http 2025-11-25 to
//! stdio"` runs only the cells whose name contains that; several are separated by `|`.

mod behaviours;
mod cell;
mod client;
mod clients;
mod expect;
mod generation;
mod place;
mod report;
mod session;

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use bridge_tests::{Era, peers};
use parking_lot::Mutex;

use behaviours::Behaviour;
use cell::{Cell, Frontend, Transport};
use generation::Revision;
use place::Place;
use report::{Outcome, Row};
use session::Session;

/// How many gateways are under test at the same time.
const WORKERS: usize = 3;
/// A cell in which so many behaviours failed is not tried further: each may have taken its whole time.
const PATIENCE_WITH_A_CELL: usize = 6;

/// The cells that share a gateway, which are tried one after the other: what one changes, the others would see.
type Group = (Transport, Era, Vec<Cell>);

#[test]
fn every_client_reaches_every_server() -> Result<()> {
    let wanted = std::env::var("MATRIX").unwrap_or_default();
    let groups = groups(&wanted);
    let count: usize = groups.iter().map(|(_, _, cells)| cells.len()).sum();
    ensure!(count > 0, "no cell is called {wanted:?}");
    let (queue, rows) = (Mutex::new(VecDeque::from(groups)), Mutex::new(Vec::new()));
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| work(&queue, &rows))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })?;
    let mut rows = rows.into_inner();
    rows.sort_by_key(|row| row.cell.to_string());
    ensure!(rows.len() == count, "{} of {count} cells were tried", rows.len());

    let (text, faults) = report::render(&rows);
    let path = out_dir()?.join("report.md");
    fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    // Past the test runner's capture: the table is the point of the run, also when it passes.
    std::io::stdout().write_all(text.as_bytes())?;
    ensure!(faults.is_empty(), "{} faults, listed above and in {}", faults.len(), path.display());
    Ok(())
}

/// Where the report goes, and the logs of gateways with which something failed.
fn out_dir() -> Result<PathBuf> {
    let dir = peers::target_dir()?.join("matrix");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn groups(wanted: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for transport in Transport::ALL {
        for server in [Era::Legacy, Era::Modern] {
            let clients = Frontend::ALL.into_iter().flat_map(|frontend| {
                let cell = move |client: &Revision| Cell { frontend, client: *client, transport, server };
                frontend.revisions().iter().map(cell)
            });
            let cells: Vec<_> = clients
                .filter(|cell| wanted.split('|').any(|part| cell.to_string().contains(part.trim())))
                .collect();
            if !cells.is_empty() {
                groups.push((transport, server, cells));
            }
        }
    }
    groups
}

fn work(queue: &Mutex<VecDeque<Group>>, rows: &Mutex<Vec<Row>>) -> Result<()> {
    loop {
        let Some((transport, server, cells)) = queue.lock().pop_front() else { return Ok(()) };
        let fixture = transport.serve(server)?;
        let mut place = match Place::open(&fixture.backend, server) {
            Ok(place) => place,
            Err(error) => {
                let why = format!("no gateway: {error:#}");
                rows.lock().extend(cells.into_iter().map(|cell| Row::failed(cell, &why)));
                continue;
            }
        };
        let mut failed = false;
        for cell in cells {
            let row = run(&place, cell);
            let faults = row.faults();
            failed |= !faults.is_empty();
            // Past the test runner's capture: minutes without a word look like a hang.
            let mut told = std::io::stderr();
            writeln!(told, "{cell}: {} faults, {:.1} s", faults.len(), row.took.as_secs_f64())?;
            faults.iter().try_for_each(|fault| writeln!(told, "    {fault}"))?;
            rows.lock().push(row);
        }
        if failed {
            let name = format!("gateway-{}-{}.log", transport.as_str(), server.as_str());
            fs::write(out_dir()?.join(name), place.gateway.process().log().join("\n"))?;
        }
    }
}

fn run(place: &Place, cell: Cell) -> Row {
    let started = Instant::now();
    let mut outcomes = Vec::new();
    let mut session = None;
    let mut failed = 0;
    for behaviour in behaviours::ALL {
        let outcome = if failed < PATIENCE_WITH_A_CELL {
            attempt(place, cell, behaviour, &mut session)
        } else {
            Err(anyhow!("not tried: too much of this cell has failed"))
        };
        let outcome = outcome.unwrap_or_else(|error| Outcome::Fails(format!("{error:#}")));
        if matches!(outcome, Outcome::Fails(_)) {
            failed += 1;
            // Whatever still comes on it belongs to what has failed.
            session = None;
        }
        outcomes.push(outcome);
    }
    Row { cell, outcomes, took: started.elapsed() }
}

fn attempt(
    place: &Place,
    cell: Cell,
    behaviour: Behaviour,
    session: &mut Option<Session>,
) -> Result<Outcome> {
    if session.is_none() {
        let client = cell.frontend.connect(place, cell.client)?;
        *session = Some(Session::open(client, cell.client).context("opening a session")?);
    }
    let session = session.as_mut().context("a session")?;
    match expect::lost(behaviour.name, cell) {
        Some(lost) => (lost.shown)(session, cell).map(|()| Outcome::Lost(lost.why)),
        None => (behaviour.run)(session, cell).map(|()| Outcome::Works),
    }
}
