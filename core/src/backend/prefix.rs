//! A prefix of a namespace.

use super::{BackendContext, IntoBackend};
use crate::Result;

/// A prefix of a store's namespace: an environment, a tenant, a test run.
///
/// It changes the context and not each key, so that it costs nothing later.
///
/// # Examples
/// ```no_run
/// # use larder::backend::{IntoBackend, Prefix};
/// # fn with<S: IntoBackend<u64, String>>(store: S) {
/// let staging = Prefix::new("staging", store);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Prefix<S> {
    prefix: String,
    inner: S,
}

impl<S> Prefix<S> {
    /// Wraps `inner` with `prefix`: ASCII letters, digits and `-_./`. Other characters are refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Prefix;
    /// let staging = Prefix::new("staging", redis);
    /// # let _ = staging;
    /// ```
    pub fn new(prefix: impl Into<String>, inner: S) -> Self {
        Self { prefix: prefix.into(), inner }
    }
}

impl<K, V, S: IntoBackend<K, V>> IntoBackend<K, V> for Prefix<S> {
    type Backend = S::Backend;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        self.inner.into_backend(&scope.prefixed(&self.prefix)?)
    }
}
