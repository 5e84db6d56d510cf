//! Where the cells of one server are tried: a gateway that serves every frontend at once. Changes when a frontend needs
//! something of its own.

use std::path::PathBuf;

use anyhow::Result;
use bridge_tests::{Backend, Config, Era, Gateway, Process, TempDir};
use serde_json::json;

use crate::cell::BACKEND;

/// A running gateway in front of one server.
pub(crate) struct Place {
    pub(crate) gateway: Gateway,
    /// Of its clients on this machine.
    pub(crate) socket: PathBuf,
    /// Of a gateway whose only client started it.
    piped: PathBuf,
    _dir: TempDir,
}

impl Place {
    pub(crate) fn open(backend: &Backend, era: Era) -> Result<Self> {
        let dir = TempDir::new("place")?;
        let socket = dir.path().join("gateway.sock");
        let modes = json!({ "modes": [{ "type": "unix_socket", "path": socket }] });
        let config = Config::new()
            .set("server", "protocol", json!("universal"))
            .set("server", "stdio_frontend", modes)
            .backend(backend.clone());
        let piped = Config::new().set("server", "protocol", json!("stdio")).backend(backend.clone());
        let piped = dir.write("piped.yaml", &piped.to_yaml())?;
        let gateway = Gateway::start(&config)?;
        gateway.wait_backends(era.as_str(), &[BACKEND])?;
        Ok(Self { gateway, socket, piped, _dir: dir })
    }

    /// Starts another gateway for a client on its standard streams.
    pub(crate) fn start_piped(&self) -> Result<Process> {
        Gateway::spawn(&self.piped, &[], &[])
    }
}
