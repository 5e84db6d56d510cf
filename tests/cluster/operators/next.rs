//! `mcp-operator-next`: the operator as the version after this one, to run beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_operator::program::main(concat!(env!("CARGO_PKG_VERSION"), "-next"))
}
