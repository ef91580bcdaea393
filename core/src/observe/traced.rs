//! An observer that emits `tracing` events.

use std::fmt;

use super::{BreakerState, Event, Observer, Tier};
use crate::Error;

// Each event has its own call site, as `tracing` wants it; the target is that of `Traced`.
macro_rules! tell {
    ($level:ident, $cache:expr, $event:literal $(, $name:ident = $value:expr)*) => {
        tracing::event!(target: "larder::event", tracing::Level::$level, cache = $cache, event = $event $(, $name = $value)*)
    };
}

/// An observer that emits a cache's events to `tracing`, with the target `larder::event`. The fields `cache` (the
/// name passed to [`new`](Self::new)) and `event` (one word) are stable:
///
/// | `event` | level | further fields |
/// |---|---|---|
/// | `hit` | trace | `tier` = `far`. Near hits are not emitted: they are counted in [`Stats`](crate::Stats) |
/// | `missed` | debug | `cause`, `elapsed_us` |
/// | `joined` | trace | |
/// | `loaded` | debug | `elapsed_us` |
/// | `load_failed` | warn | `elapsed_us`, `error` |
/// | `filled` | trace | |
/// | `fill_refused` | debug | |
/// | `evicted` | trace | `count` |
/// | `invalidated` | debug | `count` |
/// | `invalidation_pending` | warn | `error` |
/// | `lock_lost` | warn | |
/// | `stale_served` | debug | |
/// | `overloaded` | warn | |
/// | `backend_failed` | warn | `operation`, `error` |
/// | `undecodable` | warn | `error` |
/// | `pushed` | trace | `count` |
/// | `near_flushed` | debug | |
/// | `near_refused` | trace | |
/// | `unverified` | debug | `elapsed_us` |
/// | `breaker` | warn | `state`: `closed`, `open`, `half_open` |
///
/// Events are emitted in the span of the caller. This includes those of a load, which runs on its own task.
///
/// An observer costs a near hit one call that returns at once. Without an observer there is no cost. For numbers over
/// time use `larder-metrics`, which reads [`Stats`](crate::Stats) and adds no cost to hits. To use another observer
/// as well, pass both as a pair.
///
/// # Examples
/// `RUST_LOG=larder::event=debug` shows misses, loads and trouble:
/// ```
/// let builder = larder::Cache::<u64, u64>::builder().observer(larder::observe::Traced::new("square"));
/// # let _ = builder;
/// ```
pub struct Traced(String);

impl Traced {
    /// Creates an observer that emits the events of a cache under the name `cache`.
    ///
    /// # Examples
    /// ```
    /// let traced = larder::observe::Traced::new("square");
    /// # let _ = traced;
    /// ```
    #[must_use]
    pub fn new(cache: impl Into<String>) -> Self {
        Self(cache.into())
    }
}

impl Observer for Traced {
    fn on_event(&self, event: &Event<'_>) {
        let cache = self.0.as_str();
        let micros = |elapsed: &std::time::Duration| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        match event {
            Event::Hit { tier: Tier::Near } => {}
            Event::Hit { tier: Tier::Far } => tell!(TRACE, cache, "hit", tier = "far"),
            Event::Missed { elapsed, cause } => {
                tell!(DEBUG, cache, "missed", cause = cause.as_str(), elapsed_us = micros(elapsed));
            }
            Event::Joined => tell!(TRACE, cache, "joined"),
            Event::Loaded { elapsed, error: None } => {
                tell!(DEBUG, cache, "loaded", elapsed_us = micros(elapsed));
            }
            Event::Loaded { elapsed, error: Some(error) } => {
                let error = words(error);
                tell!(WARN, cache, "load_failed", elapsed_us = micros(elapsed), error = error);
            }
            Event::Filled => tell!(TRACE, cache, "filled"),
            Event::FillRefused => tell!(DEBUG, cache, "fill_refused"),
            Event::Evicted { count } => tell!(TRACE, cache, "evicted", count = count),
            Event::Invalidated { count } => tell!(DEBUG, cache, "invalidated", count = count),
            Event::InvalidationPending { error } => {
                tell!(WARN, cache, "invalidation_pending", error = words(error));
            }
            Event::LockLost => tell!(WARN, cache, "lock_lost"),
            Event::StaleServed => tell!(DEBUG, cache, "stale_served"),
            Event::Overloaded => tell!(WARN, cache, "overloaded"),
            Event::BackendFailed { operation, error } => {
                let error = words(error);
                tell!(WARN, cache, "backend_failed", operation = operation, error = error);
            }
            Event::Undecodable { error } => {
                tell!(WARN, cache, "undecodable", error = words(error));
            }
            Event::Pushed { count } => tell!(TRACE, cache, "pushed", count = count),
            Event::NearFlushed => tell!(DEBUG, cache, "near_flushed"),
            Event::NearRefused => tell!(TRACE, cache, "near_refused"),
            Event::Unverified { elapsed } => tell!(DEBUG, cache, "unverified", elapsed_us = micros(elapsed)),
            Event::BreakerTurned { state } => {
                let state: &BreakerState = state;
                tell!(WARN, cache, "breaker", state = state.as_str());
            }
        }
    }
}

/// Formats an error with its causes.
fn words(error: &Error) -> tracing::field::DisplayValue<Words<'_>> {
    tracing::field::display(Words(error))
}

struct Words<'a>(&'a Error);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(because) = cause {
            write!(f, ": {because}")?;
            cause = because.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traced").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing::field::{Field, Visit};
    use tracing::{Level, Metadata, Subscriber, span};

    use super::*;
    use crate::observe::MissCause;

    /// An event: its level, and its fields as text.
    type Line = (Level, BTreeMap<&'static str, String>);

    /// Keeps every event.
    #[derive(Clone, Default)]
    struct Record(Arc<Mutex<Vec<Line>>>);

    #[derive(Default)]
    struct Fields(BTreeMap<&'static str, String>);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }
    }

    impl Subscriber for Record {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "larder::event"
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    /// Returns the rows of the table in the documentation: word, level, and all fields.
    fn documented() -> Vec<(String, String, Vec<String>)> {
        let rows = include_str!("traced.rs").lines().filter_map(|line| line.strip_prefix("/// | `"));
        rows.map(|row| {
            let cells: Vec<&str> = row.trim_end_matches('|').split('|').collect();
            let further = cells[2]
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|name| name.contains('_') || FIELDS.contains(name));
            let further = further.filter(|name| *name != "half_open").map(str::to_owned);
            (cells[0].trim_end_matches("` ").to_owned(), cells[1].trim().to_owned(), further.collect())
        })
        .filter(|(word, ..)| word != "event")
        .collect()
    }

    const FIELDS: [&str; 6] = ["tier", "cause", "error", "count", "operation", "state"];

    #[test]
    fn every_event_is_told_as_the_table_says() {
        let error = &Error::backend("get", "down").with_source(std::io::Error::other("the wire is cut"));
        let elapsed = Duration::from_micros(7);
        let events = [
            Event::Hit { tier: Tier::Far },
            Event::Missed { elapsed, cause: MissCause::Expired },
            Event::Joined,
            Event::Loaded { elapsed, error: None },
            Event::Loaded { elapsed, error: Some(error) },
            Event::Filled,
            Event::FillRefused,
            Event::Evicted { count: 3 },
            Event::Invalidated { count: 3 },
            Event::InvalidationPending { error },
            Event::LockLost,
            Event::StaleServed,
            Event::Overloaded,
            Event::BackendFailed { operation: "get", error },
            Event::Undecodable { error },
            Event::Pushed { count: 3 },
            Event::NearFlushed,
            Event::NearRefused,
            Event::Unverified { elapsed },
            Event::BreakerTurned { state: BreakerState::Open },
        ];
        let record = Record::default();
        tracing::subscriber::with_default(record.clone(), || {
            let traced = Traced::new("bread");
            traced.on_event(&Event::Hit { tier: Tier::Near });
            events.iter().for_each(|event| traced.on_event(event));
        });
        let told = record.0.lock().unwrap();
        let documented = documented();
        assert_eq!((told.len(), documented.len()), (events.len(), events.len()), "a near hit is not told");
        for ((level, fields), (word, wanted, further)) in told.iter().zip(&documented) {
            assert_eq!((&fields["event"], fields["cache"].as_str()), (word, "bread"));
            assert_eq!(&level.to_string().to_lowercase(), wanted, "{word}");
            let names: Vec<String> = fields
                .keys()
                .filter(|name| !["event", "cache"].contains(name))
                .map(|name| (*name).to_owned())
                .collect();
            let mut further = further.clone();
            further.sort();
            assert_eq!(names, further, "{word}");
        }
        assert!(told.iter().any(|(_, fields)| {
            fields.get("error").is_some_and(|error| error.contains("the wire is cut"))
        }));
    }
}
