//! The error type of larder.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A boxed error: the cause that a source, codec or backend returned.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// `std::result::Result` with larder's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`]. The set is small on purpose: the kind indicates which side must act.
///
/// # Examples
/// ```
/// use larder::{Error, ErrorKind};
/// let error = Error::config("ttl is zero: give a duration of at least 1 ms");
/// assert_eq!(error.kind(), ErrorKind::Config);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is invalid. The message contains a hint.
    Config,
    /// The backend (memory, Redis, ...) failed.
    Backend,
    /// The user's source or loader returned an error; see [`Error::source_as`].
    Source,
    /// A value could not be encoded or decoded.
    Codec,
    /// An operation took longer than its time limit.
    Timeout,
    /// The user's source or loader panicked. The message contains the panic message.
    Panicked,
    /// A loader read the key that it is loading, and would have waited for itself.
    Reentrant,
    /// The cache was shut down, or the runtime that ran the load was.
    Closed,
    /// The load was refused, because too many were running: try later.
    Overloaded,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "configuration",
            Self::Backend => "backend",
            Self::Source => "source",
            Self::Codec => "codec",
            Self::Timeout => "timeout",
            Self::Panicked => "panicked",
            Self::Reentrant => "re-entrant load",
            Self::Closed => "closed",
            Self::Overloaded => "overloaded",
        })
    }
}

/// The error of every larder operation: a kind, a message, whether a retry may help, and the cause.
///
/// Cheap to clone, because the error of one failed load is returned to the leader and all followers.
/// [`StdError::source`] returns the cause; the message does not repeat it.
///
/// # Examples
/// Returning the user's own error, unchanged:
/// ```
/// use larder::{Error, ErrorKind};
/// let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "no database");
/// let error = Error::from_source(refused);
/// assert_eq!(error.kind(), ErrorKind::Source);
/// let own: &std::io::Error = error.source_as().expect("an io::Error went in");
/// assert_eq!(own.kind(), std::io::ErrorKind::ConnectionRefused);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    transient: bool,
    message: String,
    operation: Option<Box<str>>,
    cause: Option<BoxError>,
}

/// Returns the message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a value that is no text")
}

impl Error {
    /// Creates an error of `kind` with a message and no cause. It is not transient.
    ///
    /// # Examples
    /// ```
    /// use larder::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::Backend, "the connection was reset").transient();
    /// assert!(error.is_transient());
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            transient: false,
            message: message.into(),
            operation: None,
            cause: None,
        }))
    }

    fn of(kind: ErrorKind, operation: &str, message: String) -> Self {
        Self(Arc::new(Inner {
            kind,
            transient: false,
            message,
            operation: Some(operation.into()),
            cause: None,
        }))
    }

    /// Creates a configuration error. The message should contain a hint on how to fix it.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::config("no backend: call `.backend(..)`");
    /// assert!(!error.is_transient());
    /// ```
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Creates the error of a panic in user code. `what` names that code.
    pub(crate) fn panicked(what: &str, panic: &(dyn Any + Send)) -> Self {
        Self::new(ErrorKind::Panicked, format!("{what} panicked: {}", panic_text(panic)))
    }

    /// Creates the error of a failed backend operation, with its cause. Transient.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::backend("GET", std::io::Error::other("reset by peer"));
    /// assert!(error.is_transient());
    /// assert_eq!(error.to_string(), "backend: GET failed");
    /// ```
    pub fn backend(operation: &str, cause: impl Into<BoxError>) -> Self {
        Self::of(ErrorKind::Backend, operation, format!("{operation} failed")).with_source(cause).transient()
    }

    /// Wraps the user's own error, from a source or a loader.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::from_source("no such table");
    /// assert_eq!(error.to_string(), "source: the load failed");
    /// ```
    pub fn from_source(cause: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Source, "the load failed").with_source(cause)
    }

    /// Creates the error of a value that could not be encoded or decoded, with its cause.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::codec("decode", "unexpected end");
    /// assert_eq!(error.to_string(), "codec: decode failed");
    /// ```
    pub fn codec(operation: &str, cause: impl Into<BoxError>) -> Self {
        Self::of(ErrorKind::Codec, operation, format!("{operation} failed")).with_source(cause)
    }

    /// Creates the error of an operation that took longer than its time limit. Transient.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::timeout("GET", std::time::Duration::from_millis(250));
    /// assert_eq!(error.to_string(), "timeout: GET took longer than 250ms");
    /// ```
    pub fn timeout(operation: &str, budget: std::time::Duration) -> Self {
        Self::of(ErrorKind::Timeout, operation, format!("{operation} took longer than {budget:?}"))
            .transient()
    }

    /// Adds the cause, which [`StdError::source`] then returns.
    ///
    /// # Examples
    /// ```
    /// use std::error::Error as _;
    /// let error = larder::Error::config("no such file").with_source(std::io::Error::other("gone"));
    /// assert_eq!(error.source().unwrap().to_string(), "gone");
    /// ```
    #[must_use]
    pub fn with_source(self, cause: impl Into<BoxError>) -> Self {
        let Inner { kind, transient, ref message, ref operation, .. } = *self.0;
        let (message, operation) = (message.clone(), operation.clone());
        Self(Arc::new(Inner { kind, transient, message, operation, cause: Some(cause.into()) }))
    }

    /// Marks the error as transient: a retry of the operation may succeed.
    ///
    /// # Examples
    /// ```
    /// use larder::{Error, ErrorKind};
    /// assert!(Error::new(ErrorKind::Backend, "busy").transient().is_transient());
    /// ```
    #[must_use]
    pub fn transient(mut self) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => {
                inner.transient = true;
                self
            }
            None => Self(Arc::new(Inner {
                kind: self.0.kind,
                transient: true,
                message: self.0.message.clone(),
                operation: self.0.operation.clone(),
                cause: Some(Box::new(self)),
            })),
        }
    }

    /// Returns the kind of the error.
    ///
    /// # Examples
    /// ```
    /// use larder::{Error, ErrorKind};
    /// assert_eq!(Error::from_source("no").kind(), ErrorKind::Source);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation of the backend or codec that failed or took too long, such as `get` or `decode`.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::timeout("get", std::time::Duration::from_millis(250));
    /// assert_eq!(error.operation(), Some("get"));
    /// assert_eq!(larder::Error::from_source("no such table").operation(), None);
    /// ```
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// Returns `true` if a retry of the same call may succeed.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::Error::from_source("no such table").is_transient());
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// Returns the first cause in the chain that is an `E`, such as the user's own error.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::from_source(std::io::Error::other("down"));
    /// assert_eq!(error.source_as::<std::io::Error>().unwrap().to_string(), "down");
    /// assert!(error.source_as::<std::fmt::Error>().is_none());
    /// ```
    #[must_use]
    pub fn source_as<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref::<E>() {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("message", &self.0.message);
        debug.field("transient", &self.0.transient);
        if let Some(cause) = &self.0.cause {
            debug.field("cause", cause);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}
