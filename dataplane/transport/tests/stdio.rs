//! Child processes, with real processes: this binary is gateway, guard and test runner in one, hence its own `main`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code outside of `#[test]` functions")]

#[path = "stdio/children.rs"]
mod children;
#[path = "stdio/leaving_nothing.rs"]
mod leaving_nothing;
#[path = "stdio/logs.rs"]
mod logs;
#[path = "stdio/support.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(code) = bridge_transport::stdio::guard::dispatch() {
        return code;
    }
    if leaving_nothing::is_gateway() {
        return leaving_nothing::gateway();
    }
    logs::capture();
    let trials = children::trials().into_iter().chain(leaving_nothing::trials()).chain(logs::trials());
    let trials: Vec<Trial> = trials.map(|(name, run)| Trial::test(name, move || support::run(run))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
