//! Bytes to frames and back: HTTP, SSE, child processes, TLS.
