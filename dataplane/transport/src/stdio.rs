//! MCP servers that are child processes: newline-framed messages on their standard streams.
//! Changes when a child gets another property.
//!
//! [`Supervisor`] owns all children; each runs below a [`guard`], which sees to it that nothing survives: not the
//! child's own children, not daemons, not even when the gateway itself is killed. Programs are started without a shell,
//! with an environment of a fixed short list plus what the backend's configuration sets.

mod child;
mod environment;
mod exit;
pub mod guard;
mod log_lines;
mod program;
mod pump;
mod supervisor;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

pub use bridge_mcp::framing::FramingError as LineError;
pub use child::{Child, Control};
pub use environment::is_inherited;
pub use exit::Exit;
pub use program::{ProgramError, find as find_program};
pub use supervisor::{StartError, Supervisor};

/// What to start.
#[derive(Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// The backend's name, for logs, errors and the limit.
    pub name: String,
    /// Program and arguments. A program without a slash is looked up in `PATH`.
    pub command: Vec<String>,
    /// Where the program runs; the gateway's own directory when absent.
    pub working_dir: Option<PathBuf>,
    /// Variables on top of the inherited few. Taken as secrets: never logged, and replaced where the child logs them.
    pub env: BTreeMap<String, String>,
    /// Longest line accepted from the child, in bytes.
    pub max_line: usize,
    /// Children of this name at once.
    pub max_processes: usize,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of `env` and arguments may be secrets.
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("program", &self.program())
            .field("working_dir", &self.working_dir)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    fn program(&self) -> &OsStr {
        self.command.first().map_or(OsStr::new(""), OsStr::new)
    }

    fn secrets(&self) -> Vec<String> {
        self.env.values().cloned().collect()
    }
}
