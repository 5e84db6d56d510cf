//! The table. Changes with what a reader wants to see in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::behaviours::{self, Behaviour};
use crate::cell::Cell;
use crate::expect::Why;

/// What became of one behaviour in one cell.
#[derive(Debug)]
pub(crate) enum Outcome {
    Works,
    /// It cannot, and shows so as declared.
    Lost(Why),
    Fails(String),
}

/// What became of one cell.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) cell: Cell,
    /// For each behaviour, in order.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) took: Duration,
}

impl Row {
    /// A cell in which nothing could be tried.
    pub(crate) fn failed(cell: Cell, why: &str) -> Self {
        let outcomes = behaviours::ALL.iter().map(|_| Outcome::Fails(why.to_owned())).collect();
        Self { cell, outcomes, took: Duration::ZERO }
    }

    /// What failed, and why.
    pub(crate) fn faults(&self) -> Vec<String> {
        let outcomes = behaviours::ALL.iter().zip(&self.outcomes);
        let fault = |(behaviour, outcome): (&Behaviour, &Outcome)| match outcome {
            Outcome::Fails(why) => Some(format!("{}: {why}", behaviour.name)),
            Outcome::Works | Outcome::Lost(_) => None,
        };
        outcomes.filter_map(fault).collect()
    }
}

/// The table and the list of faults.
pub(crate) fn render(rows: &[Row]) -> (String, Vec<String>) {
    let mut text = String::from(
        "# Matrix\n\nfrontend and client's revision, transport and generation of the server\n\n",
    );
    let width = rows.iter().map(|row| row.cell.to_string().len()).max().unwrap_or_default();
    let _ = write!(text, "| {:width$} |", "cell");
    let mut rule = format!("|-{:-<width$}-|", "");
    for behaviour in behaviours::ALL {
        let _ = write!(text, " {} |", behaviour.name);
        let _ = write!(rule, "-{:-<1$}-|", "", behaviour.name.len());
    }
    let _ = writeln!(text, " seconds |\n{rule}---------|");
    let (mut faults, mut losses) = (Vec::new(), BTreeMap::<_, usize>::new());
    for row in rows {
        let _ = write!(text, "| {:width$} |", row.cell.to_string());
        for (behaviour, outcome) in behaviours::ALL.iter().zip(&row.outcomes) {
            let mark = match outcome {
                Outcome::Works => "ok",
                Outcome::Lost(why) => {
                    *losses.entry((behaviour.name, why.to_string())).or_default() += 1;
                    "lost"
                }
                Outcome::Fails(_) => "FAIL",
            };
            let _ = write!(text, " {mark:0$} |", behaviour.name.len());
        }
        let _ = writeln!(text, " {:>7.1} |", row.took.as_secs_f64());
        faults.extend(row.faults().into_iter().map(|fault| format!("{}: {fault}", row.cell)));
    }
    text.push('\n');
    for ((behaviour, why), cells) in losses {
        let _ = writeln!(text, "- lost as declared in {cells} cells: {behaviour}: {why}");
    }
    for fault in &faults {
        let _ = writeln!(text, "- {fault}");
    }
    (text, faults)
}
