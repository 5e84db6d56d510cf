//! A gateway that its only client started, and talks to on its standard streams. Changes with that frontend.

use anyhow::Result;
use bridge_tests::Process;
use bridge_tests::peer::Wire;
use serde_json::Value;

use crate::client::WAIT;
use crate::place::Place;

/// The gateway's process, which ends with the client.
pub(crate) struct StandardStreams {
    process: Process,
    seen: usize,
}

impl StandardStreams {
    pub(crate) fn start(place: &Place) -> Result<Self> {
        Ok(Self { process: place.start_piped()?, seen: 0 })
    }
}

impl Wire for StandardStreams {
    fn send(&mut self, text: &str) -> Result<()> {
        self.process.write_stdin(format!("{text}\n").as_bytes())
    }

    fn read(&mut self) -> Result<Option<String>> {
        // Its log goes to standard error, and is captured in between.
        let message = |line: &String| {
            serde_json::from_str::<Value>(line).is_ok_and(|line| line.get("jsonrpc").is_some())
        };
        loop {
            let line = self.process.next_line(&mut self.seen, WAIT)?;
            if line.as_ref().is_none_or(message) {
                return Ok(line);
            }
        }
    }
}
