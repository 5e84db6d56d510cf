//! Structured logs on standard error. Changes when a format, a level name or the destination changes.
//!
//! One line per event, written whole. Fields of the surrounding spans and of the event are flattened to the top level;
//! the innermost wins. Secrets are kept out by their types, not here.

mod layer;
mod line;

use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;
use std::time::SystemTime;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use layer::LineLayer;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    Text,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "text" | "console" => Ok(Self::Text),
            _ => Err(FormatError(text.to_owned())),
        }
    }
}

/// Not a log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log format `{0}` is unknown; use json or text")]
pub struct FormatError(String);

/// Not a log level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "log level `{0}` is unknown; use debug, info, warn or error (also trace, fatal, panic), or filters such as \
     `info,bridge_transport=debug`"
)]
pub struct LevelError(String);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is not one.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Somebody set a subscriber before.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// What to log, and how.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The program, in each line.
    pub service: &'static str,
    /// Lowest level shown; see [`LevelError`] for what is allowed.
    pub level: &'a str,
    /// How lines look.
    pub format: Format,
    /// Whether each line names the source file and line that wrote it.
    pub caller: bool,
}

/// Changes the level while running.
#[derive(Debug, Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// Shows `level` and above from now on. A bad level changes nothing.
    pub fn set_level(&self, level: &str) -> Result<(), LevelError> {
        let filter = filter(level)?;
        // Fails only when the subscriber is gone, and then there is nothing left to filter.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

/// Checks a level without using it, for configuration that is only validated.
pub fn check_level(level: &str) -> Result<(), LevelError> {
    filter(level).map(drop)
}

/// Sends all events of this process to standard error, and panics too, as errors. Call it once, first thing in `main`.
pub fn init(settings: Settings<'_>) -> Result<LogHandle, InitError> {
    let (filter, handle) = reload::Layer::new(filter(settings.level)?);
    let colour = settings.format == Format::Text
        && std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let Settings { service, format, caller, .. } = settings;
    let style = line::Style { service, format, caller, colour };
    let lines = LineLayer::new(style, SystemTime::now, |line: &[u8]| {
        // Nowhere is left to report that standard error is gone.
        let _ = std::io::stderr().lock().write_all(line);
    });
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines))
        .map_err(|_already| InitError::AlreadySet)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogHandle(handle))
}

fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => Some(backtrace.to_string()),
        _ => None,
    };
    tracing::error!(
        panic = info.payload_as_str().unwrap_or("payload is not text"),
        location,
        thread = thread.name().unwrap_or("unnamed"),
        backtrace,
        "panic: this is a bug in the gateway"
    );
}

/// Libraries below us are capped at info for the plain level names: their debug output drowns ours.
const LIBRARIES: &str = "hyper=info,hyper_util=info,h2=info,rustls=info,tokio=info,mio=info";

fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    let wrong = || LevelError(level.to_owned());
    let directives = match level.to_ascii_lowercase().as_str() {
        plain @ ("trace" | "debug") => format!("{plain},{LIBRARIES}"),
        plain @ ("info" | "error") => plain.to_owned(),
        "warn" | "warning" => "warn".to_owned(),
        // Levels of the original gateway above error.
        "fatal" | "panic" => "error".to_owned(),
        filters if filters.contains('=') => level.to_owned(),
        _ => return Err(wrong()),
    };
    EnvFilter::try_new(directives).map_err(|_error| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_the_original_are_known() {
        for (level, shown) in [
            ("INFO", "info"),
            ("warn", "warn"),
            ("warning", "warn"),
            ("error", "error"),
            ("fatal", "error"),
            ("panic", "error"),
            ("info,bridge_transport=debug", "bridge_transport=debug,info"),
        ] {
            assert_eq!(filter(level).unwrap().to_string(), shown, "{level}");
        }
        assert!(filter("debug").unwrap().to_string().contains("hyper=info"));
    }

    #[test]
    fn other_words_are_refused_with_what_is_allowed() {
        for level in ["verbose", "", "x=loud", "3"] {
            let text = filter(level).unwrap_err().to_string();
            assert!(text.contains(&format!("`{level}`")) && text.contains("debug, info, warn"), "{text}");
        }
        assert_eq!(
            "yaml".parse::<Format>().unwrap_err().to_string(),
            "log format `yaml` is unknown; use json or text"
        );
        assert_eq!("TEXT".parse(), Ok(Format::Text));
    }
}
