//! How a child ended. Changes when the guard reports an end differently.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::guard;

/// How a child ended. The guard passes the program's end on as the shell does, so a program that itself exits with 128
/// plus a signal's number counts as ended by that signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, unless a signal ended the program.
    pub code: Option<i32>,
    /// Number of the signal that ended the program.
    pub signal: Option<i32>,
}

impl Exit {
    /// From the end of the guard.
    pub(super) fn from_guard(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::from_guard_code(code),
            (None, signal) => Self { code: None, signal },
        }
    }

    pub(super) fn from_guard_code(code: i32) -> Self {
        // 64 is the highest signal number (signal(7)).
        match code - guard::SIGNAL_BASE {
            signal @ 1..=64 => Self { code: None, signal: Some(signal) },
            _ => Self { code: Some(code), signal: None },
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.map(u8::try_from), self.signal) {
            (_, Some(signal)) => write!(f, "ended by signal {signal}{}", signal_name(signal)),
            (Some(Ok(guard::EXIT_NOT_FOUND)), _) => write!(f, "exited with code 127 (command not found)"),
            (Some(Ok(guard::EXIT_CANNOT_EXECUTE)), _) => {
                write!(f, "exited with code 126 (cannot be executed)")
            }
            (Some(_), None) => write!(f, "exited with code {}", self.code.unwrap_or_default()),
            (None, None) => f.write_str("ended for an unknown reason"),
        }
    }
}

/// The signals that servers really end by.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        6 => " (SIGABRT)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shells_convention_is_read_back() {
        for (code, text) in [
            (0, "exited with code 0"),
            (1, "exited with code 1"),
            (127, "exited with code 127 (command not found)"),
            (128, "exited with code 128"),
            (137, "ended by signal 9 (SIGKILL)"),
            (143, "ended by signal 15 (SIGTERM)"),
            (162, "ended by signal 34"),
            (255, "exited with code 255"),
        ] {
            assert_eq!(Exit::from_guard_code(code).to_string(), text);
        }
        assert_eq!(Exit::from_guard(ExitStatus::from_raw(9)), Exit { code: None, signal: Some(9) });
    }
}
