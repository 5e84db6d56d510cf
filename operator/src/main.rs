//! The `mcp-operator` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_operator::program::main(mcp_operator::VERSION)
}
