//! The context of a backend: the cache that it serves.

use std::sync::Arc;

use crate::backend::Entry;
use crate::clock::{CacheClock, Clock, SystemClock};
use crate::observe::{Event, Recorder};
use crate::{Error, Result};

/// The maximum length of a namespace.
const LONGEST: usize = 64;

/// The context of a backend: the namespace, schema version, clock and event recorder of the cache that it serves.
///
/// # Examples
/// ```
/// use larder::backend::BackendContext;
/// let scope = BackendContext::new("product")?.with_schema(2).prefixed("staging")?;
/// assert_eq!(scope.namespace(), "staging:product@2");
/// assert!(BackendContext::new("has space").is_err());
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BackendContext {
    prefix: String,
    name: Option<String>,
    schema: u32,
    recorder: Arc<Recorder>,
    clock: CacheClock,
}

impl BackendContext {
    /// Creates the context of the namespace `name`: ASCII letters, digits and `-_./`, at most 64 bytes.
    ///
    /// Only a prefix adds a `:`, so that the namespace `b` below `a` cannot be the name of another one.
    ///
    /// # Errors
    /// If the name has another character, is empty or too long.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert_eq!(BackendContext::new("product")?.namespace(), "product");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn new(name: &str) -> Result<Self> {
        check(name)?;
        Ok(Self { name: Some(name.to_owned()), ..Self::unnamed() })
    }

    /// Creates a context without a namespace, for stores that no other cache shares.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert_eq!(BackendContext::unnamed().namespace(), "");
    /// ```
    #[must_use]
    pub fn unnamed() -> Self {
        Self {
            prefix: String::new(),
            name: None,
            schema: 0,
            recorder: Arc::default(),
            clock: CacheClock::System(SystemClock::new()),
        }
    }

    /// Sets the schema version, which becomes part of the namespace.
    ///
    /// Values of another version are not seen, so that two versions can be in use during a rollout.
    /// Default: 0, which adds nothing.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert_eq!(BackendContext::new("product")?.with_schema(2).namespace(), "product@2");
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn with_schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Returns the context below a prefix, such as an environment or a tenant.
    ///
    /// # Errors
    /// If the prefix has a character that a namespace cannot have.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert_eq!(BackendContext::new("product")?.prefixed("staging")?.namespace(), "staging:product");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn prefixed(&self, prefix: &str) -> Result<Self> {
        check(prefix)?;
        Ok(Self { prefix: format!("{prefix}:{}", self.prefix), ..self.clone() })
    }

    /// Sets the clock.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// use larder::clock::{Clock, ManualClock};
    /// let clock = ManualClock::new();
    /// assert_eq!(BackendContext::unnamed().timed(clock.clone()).clock().now(), clock.now());
    /// ```
    #[must_use]
    pub fn timed(mut self, clock: impl Clock) -> Self {
        self.clock = CacheClock::Given(Arc::new(clock));
        self
    }

    pub(crate) fn sharing(mut self, clock: CacheClock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the cache's clock, for a backend's background work. Calls carry the time with them.
    ///
    /// # Examples
    /// See [`timed`](Self::timed).
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_dyn()
    }

    pub(crate) fn recording(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = recorder;
        self
    }

    /// Returns the whole name under which a shared store keeps this cache's keys; empty if there is none.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert_eq!(BackendContext::new("product")?.namespace(), "product");
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn namespace(&self) -> String {
        let Some(name) = &self.name else { return String::new() };
        match self.schema {
            0 => format!("{}{name}", self.prefix),
            schema => format!("{}{name}@{schema}", self.prefix),
        }
    }

    /// Returns the [`namespace`](Self::namespace), for stores that several caches share.
    ///
    /// # Errors
    /// If the cache has no namespace.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert!(BackendContext::unnamed().shared_namespace().is_err());
    /// ```
    pub fn shared_namespace(&self) -> Result<String> {
        if self.name.is_none() {
            return Err(Error::config(
                "a shared store needs to know whose keys are whose: call `.namespace(\"product\")` on the builder",
            ));
        }
        Ok(self.namespace())
    }

    /// Returns the schema version. Default: 0.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// assert_eq!(BackendContext::unnamed().schema(), 0);
    /// ```
    #[must_use]
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// Sends an event, such as an eviction, to the cache's [`Stats`](crate::Stats) and
    /// [`Observer`](crate::observe::Observer).
    ///
    /// # Examples
    /// ```
    /// use larder::backend::BackendContext;
    /// BackendContext::unnamed().record(&larder::observe::Event::evicted(3));
    /// ```
    pub fn record(&self, event: &Event<'_>) {
        self.recorder.record(event);
    }

    /// Records that a bounded store in this process has evicted an entry to make room.
    ///
    /// An expired entry is not counted: a store is too small only if its evicted entries would still have been
    /// served.
    ///
    /// # Examples
    /// ```
    /// use std::{sync::Arc, time::Duration};
    /// use larder::backend::{BackendContext, Entry};
    /// let scope = BackendContext::unnamed();
    /// scope.evicted(&Entry::new(Some(Arc::new("bread")), scope.clock().now(), Duration::from_secs(60)));
    /// ```
    pub fn evicted<V>(&self, entry: &Entry<V>) {
        if entry.is_alive(self.clock.recent()) {
            self.record(&Event::evicted(1));
        }
    }
}

fn check(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(allowed) {
        return Err(Error::config(format!(
            "{name:?} cannot be a namespace or prefix: use 1 to {LONGEST} ASCII letters, digits and -_./ \
             (`Prefix::new(\"shop\", ..)` makes shop:product)"
        )));
    }
    Ok(())
}
