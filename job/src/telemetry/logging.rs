//! Logs: one JSON object in a line on standard output.
//!
//! Every field stands at the top of the object, those of the event and those of the spans around it, so that a query
//! for `trace_id`, `user_id`, `job_id` or `event` finds a line wherever in the code it was written. The innermost
//! value wins. `timestamp`, `level`, `component`, `hub`, `target` and `message` are ours and cannot be overwritten.

use std::fmt;
use std::io::Write;
use std::panic::PanicHookInfo;

use jiff::{Timestamp, Unit};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, error};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Sends the process's logs to standard output; `RUST_LOG` says which, `info` and above without it. Of libraries nothing
/// below `debug` is written whatever it says: there they show what they send, passwords among it.
///
/// Does nothing when the process has a log already.
pub fn init_logging(component: &str, hub: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = JsonLines {
        component: component.to_owned(),
        hub: hub.to_owned(),
        writer: std::io::stdout,
    };
    // It fails only where a log is set already, in tests.
    if tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_safe))
        .with(lines)
        .try_init()
        .is_ok()
    {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// Whether something may be written at all: everything of this project, of others what is not below `debug`.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::DEBUG || metadata.target().starts_with("flickrhub")
}

/// Writes a panic as a line of the log, with the fields of the spans that it happened in.
fn log_panic(panic: &PanicHookInfo<'_>) {
    error!(
        event = "panic",
        location = panic.location().map(tracing::field::display),
        panic = panic.payload_as_str(),
        "the program has a bug"
    );
}

/// Writes each event as a line.
struct JsonLines<W> {
    component: String,
    hub: String,
    writer: W,
}

/// The fields of a span, kept with it.
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Map::new();
        attributes.record(&mut Collect(&mut fields));
        span.extensions_mut().insert(Fields(fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(Fields(fields)) = span.extensions_mut().get_mut() {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(Fields(fields)) = span.extensions().get() {
                line.extend(fields.clone());
            }
        }
        // A span has no message of its own.
        line.remove("message");
        event.record(&mut Collect(&mut line));
        let now = Timestamp::now();
        let now = now.round(Unit::Millisecond).unwrap_or(now);
        for (name, value) in [
            ("timestamp", now.to_string()),
            ("level", event.metadata().level().to_string().to_ascii_lowercase()),
            ("component", self.component.clone()),
            ("hub", self.hub.clone()),
            ("target", event.metadata().target().to_owned()),
        ] {
            line.insert(name.to_owned(), Value::String(value));
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // In one call, so that lines of two threads do not mix. There is nobody to tell that a log cannot be written.
        let _ = self
            .writer
            .make_writer_for(event.metadata())
            .write_all(text.as_bytes());
    }
}

/// Collects fields as JSON values.
struct Collect<'a>(&'a mut Map<String, Value>);

impl Collect<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing::{info, info_span, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if let Ok(mut memory) = self.0.lock() {
                memory.extend_from_slice(bytes);
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let memory = Memory::default();
        let writer = memory.clone();
        let lines = JsonLines {
            component: "api".to_owned(),
            hub: "gallery".to_owned(),
            writer: move || writer.clone(),
        };
        let registry = tracing_subscriber::registry().with(filter_fn(is_safe));
        tracing::subscriber::with_default(registry.with(lines), log);
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn fields_of_the_event_and_of_its_spans_stand_at_the_top() {
        let lines = lines(|| {
            let outer = info_span!("request", trace_id = "4bf9", user_id = tracing::field::Empty);
            let _outer = outer.enter();
            outer.record("user_id", "12345678@N00");
            let _inner = info_span!("job", job_id = %"0197").entered();
            info!(event = "job_enqueued", attempts = 2, "accepted");
        });
        let [line] = lines.as_slice() else {
            panic!("one line, got {lines:?}");
        };
        for (name, value) in [
            ("trace_id", "4bf9"),
            ("user_id", "12345678@N00"),
            ("job_id", "0197"),
            ("event", "job_enqueued"),
            ("message", "accepted"),
            ("component", "api"),
            ("hub", "gallery"),
            ("level", "info"),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line["attempts"], 2);
        let timestamp = line["timestamp"]
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok());
        assert!(timestamp.is_some());
    }

    #[test]
    fn a_panic_is_a_line_with_the_fields_of_its_span() {
        let lines = lines(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(log_panic));
            let panicked = std::panic::catch_unwind(|| {
                let _span = info_span!("job", job_id = "0197", trace_id = "4bf9").entered();
                panic!("no such bee");
            });
            std::panic::set_hook(previous);
            assert!(panicked.is_err());
        });
        let line = lines
            .iter()
            .find(|line| line["panic"] == "no such bee")
            .cloned()
            .unwrap_or_default();
        assert_eq!(line["event"], "panic");
        assert_eq!(line["level"], "error");
        assert_eq!(
            (&line["job_id"], &line["trace_id"]),
            (&json!("0197"), &json!("4bf9"))
        );
        assert!(
            line["location"]
                .as_str()
                .is_some_and(|at| at.contains("logging.rs"))
        );
    }

    #[test]
    fn libraries_do_not_show_what_they_send() {
        let lines = lines(|| {
            tracing::trace!(target: "lapin::frames", "frame=s3cret");
            tracing::debug!(target: "lapin::frames", "connected");
            tracing::trace!("ours");
        });
        let text = Value::Array(lines).to_string();
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("connected") && text.contains("ours"), "{text}");
    }

    #[test]
    fn the_innermost_value_wins() {
        let lines = lines(|| {
            let _outer = info_span!("outer", job_id = "1", user_id = "a").entered();
            let _inner = info_span!("inner", job_id = "2").entered();
            info!(user_id = "b", "text");
        });
        assert_eq!(lines[0]["job_id"], "2");
        assert_eq!(lines[0]["user_id"], "b");
    }

    #[test]
    fn our_own_fields_cannot_be_overwritten_and_a_text_cannot_break_a_line() {
        let lines = lines(|| warn!(component = "other", level = "info", "one\ntwo \"three\""));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["component"], "api");
        assert_eq!(lines[0]["level"], "warn");
        assert_eq!(lines[0]["message"], "one\ntwo \"three\"");
    }
}
