//! The return types of cached functions.

use std::error::Error as StdError;
use std::sync::Arc;

use crate::cache::Value;
use crate::error::BoxError;
use crate::source::Loaded;
use crate::{Error, ErrorKind};

/// A return type of a function that is cached in a cache of `V`.
#[diagnostic::on_unimplemented(
    message = "what is cached here is `{V}`, and this function returns `{Self}`",
    label = "does not fit the cache",
    note = "return `{V}` or `Arc<{V}>`, an `Option` of it, or a `Result` of any of these with an error that is an `Error + Send + Sync + 'static`",
    note = "a `{V}` that is returned by itself must be `Clone`; an `Arc` of it needs not"
)]
pub trait Returns<V>: Sized + Send {
    /// The type of its failure.
    type Failure: Into<BoxError>;

    /// Set if the function cannot express a failure.
    const IS_INFALLIBLE: bool;

    /// Returns the value to store.
    ///
    /// # Errors
    /// The function's own error.
    fn into_loaded(self) -> Result<Loaded<V>, Self::Failure>;

    /// Returns the answer of a stored value; `None` for a negative entry of a function that cannot express absence.
    fn from_found(found: Option<Arc<V>>) -> Option<Self>;

    /// Returns the answer of a failure.
    fn from_failure(failure: Self::Failure) -> Self;
}

/// The failure of a function that cannot fail.
#[derive(Debug)]
pub enum NoResult {}

impl From<NoResult> for BoxError {
    fn from(never: NoResult) -> Self {
        match never {}
    }
}

/// Implements a shape of answer, by itself and as the `Ok` of a `Result`.
macro_rules! shape {
    ([$($bound:tt)*] $shape:ty, $into:expr, $from:expr) => {
        impl<V: Value $($bound)*> Returns<V> for $shape {
            type Failure = NoResult;
            const IS_INFALLIBLE: bool = true;

            fn into_loaded(self) -> Result<Loaded<V>, NoResult> {
                Ok($into(self))
            }
            fn from_found(found: Option<Arc<V>>) -> Option<Self> {
                $from(found)
            }
            fn from_failure(never: NoResult) -> Self {
                match never {}
            }
        }

        impl<V: Value $($bound)*, E: Into<BoxError> + Send> Returns<V> for Result<$shape, E> {
            type Failure = E;
            const IS_INFALLIBLE: bool = false;

            fn into_loaded(self) -> Result<Loaded<V>, E> {
                self.map($into)
            }
            fn from_found(found: Option<Arc<V>>) -> Option<Self> {
                $from(found).map(Ok)
            }
            fn from_failure(failure: E) -> Self {
                Err(failure)
            }
        }
    };
}

shape!([+ Clone] V, Loaded::new, |found: Option<Arc<V>>| found.map(Arc::unwrap_or_clone));
shape!([] Arc<V>, Loaded::from, |found: Option<Arc<V>>| found);
shape!([+ Clone] Option<V>, Loaded::from, |found: Option<Arc<V>>| Some(found.map(Arc::unwrap_or_clone)));
shape!([] Option<Arc<V>>, Loaded::shared, |found: Option<Arc<V>>| Some(found));

/// An error that is shared by all callers of one failed call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell every caller of a cached function why it failed",
    label = "not `Error + Clone + From<larder::Error>`",
    note = "several callers may share one failed call, so the function's error is given back as a clone: derive `Clone`",
    note = "what the function does not know of (a timeout, a panic, an overload) comes as a `larder::Error`: implement `From<larder::Error>`",
    note = "or make all errors from larder's, whose `source_as` is the function's own: `error = |error: larder::Error| ..`"
)]
pub trait CallError: StdError + Clone + From<Error> + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<E: StdError + Clone + From<Error> + Send + Sync + 'static> CallError for E {}

/// The conversion of a failed call into the function's own error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell every caller of a cached function why it failed",
    label = "not `Error + Clone + From<larder::Error>`",
    note = "several callers may share one failed call, so the function's error is given back as a clone: derive `Clone`",
    note = "what the function does not know of (a timeout, a panic, an overload) comes as a `larder::Error`: implement `From<larder::Error>`",
    note = "or make all errors from larder's, whose `source_as` is the function's own: `error = |error: larder::Error| ..`"
)]
pub trait Failure: Sized {
    /// Converts the error; `None` if the function cannot express it, and must be called past the cache.
    fn of(error: Error) -> Option<Self>;
}

/// Returns a function's own error as itself, and converts all other errors.
#[diagnostic::do_not_recommend]
impl<E: CallError> Failure for E {
    fn of(error: Error) -> Option<Self> {
        let own = if error.kind() == ErrorKind::Source { error.source_as::<E>().cloned() } else { None };
        own.or_else(|| Some(Self::from(error)))
    }
}

/// Lets a function that cannot fail bypass a failing cache. Its panic, or a read of its own key, is passed on.
impl Failure for NoResult {
    fn of(error: Error) -> Option<Self> {
        assert!(!matches!(error.kind(), ErrorKind::Panicked | ErrorKind::Reentrant), "{error}");
        tracing::warn!(%error, "a cached function is called past its cache");
        None
    }
}

/// Returns the function's own error, or larder's converted into it.
pub fn own_error<E: Failure>(error: Error) -> Option<E> {
    E::of(error)
}

/// Applies the attribute's conversion of errors.
pub fn mapped<E>(map: impl FnOnce(Error) -> E) -> impl FnOnce(Error) -> Option<E> {
    |error| Some(map(error))
}
