//! From tracing's callbacks to lines. Changes when tracing's model of events changes.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::line::{Fields, Line, Style, Value};

/// Renders every event and hands the line to `write` in one piece.
pub(super) struct LineLayer<N, W> {
    style: Style,
    now: N,
    write: W,
}

impl<N, W> LineLayer<N, W>
where
    N: Fn() -> SystemTime + 'static,
    W: Fn(&[u8]) + 'static,
{
    pub(super) fn new(style: Style, now: N, write: W) -> Self {
        Self { style, now, write }
    }
}

impl<S, N, W> Layer<S> for LineLayer<N, W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: Fn() -> SystemTime + 'static,
    W: Fn(&[u8]) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut collector = Collector::default();
            attributes.record(&mut collector);
            span.extensions_mut().insert(collector.fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            let mut collector = Collector::default();
            record.record(&mut collector);
            fields.extend(&collector.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut collector = Collector::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                collector.fields.extend(fields);
            }
        }
        event.record(&mut collector);
        let metadata = event.metadata();
        let line = Line {
            time: (self.now)(),
            level: *metadata.level(),
            caller: metadata.file().zip(metadata.line()),
            message: &collector.message,
            fields: &collector.fields,
        };
        (self.write)(line.render(self.style).as_bytes());
    }
}

#[derive(Default)]
struct Collector {
    message: String,
    fields: Fields,
}

impl Collector {
    fn text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.set(field.name(), Value::Text(text));
        }
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.fields.set(field.name(), Value::Plain(value.to_string()));
    }
}

impl Visit for Collector {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.text(field, text);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            // JSON has no spelling for these (RFC 8259 section 6).
            self.text(field, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::Format;
    use super::*;

    fn capture(style: Style, work: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let layer = LineLayer::new(
            style,
            || UNIX_EPOCH + Duration::from_millis(1_795_339_800_123),
            move |line: &[u8]| sink.lock().extend_from_slice(line),
        );
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = written.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    const JSON: Style = Style { service: "mcp-gateway", format: Format::Json, caller: false, colour: false };
    const TEXT: Style = Style { service: "mcp-gateway", format: Format::Text, caller: false, colour: false };

    #[test]
    fn json_has_the_keys_of_the_original_and_flat_fields() {
        let line = capture(JSON, || {
            tracing::warn!(backend = "time", attempts = 3, healthy = false, "it \"failed\"\n{}", "again");
        });
        assert_eq!(
            line,
            concat!(
                r#"{"level":"warn","timestamp":"2026-11-22T09:30:00.123Z","msg":"it \"failed\"\nagain","#,
                r#""service":"mcp-gateway","backend":"time","attempts":3,"healthy":false}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_innermost_of_equal_fields_wins_and_no_key_repeats() {
        let line = capture(JSON, || {
            let outer =
                tracing::info_span!("outer", backend = "a", session = "s1", late = tracing::field::Empty);
            let _outer = outer.enter();
            outer.record("late", 7);
            let _inner = tracing::info_span!("inner", backend = "b").entered();
            tracing::info!(session = "s2", level = 9, "x");
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["backend"], "b");
        assert_eq!(value["session"], "s2");
        assert_eq!(value["late"], 7);
        assert_eq!(value["level"], "info");
        assert_eq!(value["field_level"], 9);
        assert_eq!(line.matches("\"backend\"").count(), 1);
    }

    #[test]
    fn caller_names_this_file_when_asked() {
        let line = capture(Style { caller: true, ..JSON }, || tracing::info!("x"));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let caller = value["caller"].as_str().unwrap();
        let (file, number) = caller.rsplit_once(':').unwrap();
        assert!(file.ends_with("log/layer.rs") && number.parse::<u32>().is_ok(), "{caller}");
    }

    #[test]
    fn errors_show_their_causes_and_odd_floats_stay_json() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot load")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk gone"));
        let line = capture(JSON, || {
            tracing::error!(error = &error as &(dyn Error + 'static), ratio = f64::NAN, "x");
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["error"], "cannot load: disk gone");
        assert_eq!(value["ratio"], "NaN");
    }

    #[test]
    fn text_is_one_line_whatever_the_values_hold() {
        let line = capture(TEXT, || {
            tracing::info!(
                plain = "a",
                spaced = "a b",
                hostile = "x\n2026 ERROR \x1b[31m",
                count = 2,
                "two\nlines"
            );
        });
        assert_eq!(
            line,
            "2026-11-22T09:30:00.123Z  INFO two lines plain=a spaced=\"a b\" \
             hostile=\"x\\n2026 ERROR \\u{1b}[31m\" count=2\n"
        );
        let coloured = capture(Style { colour: true, ..TEXT }, || tracing::error!("x"));
        assert_eq!(coloured, "2026-11-22T09:30:00.123Z \x1b[31mERROR\x1b[0m x\n");
    }
}
