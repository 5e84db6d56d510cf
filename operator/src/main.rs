//! The `mcp-operator` binary: flags, log, signals; everything else is in the library.

fn main() {}
