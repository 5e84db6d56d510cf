//! Process-level test harness: starts the real binary with real peers.
