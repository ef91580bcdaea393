//! The settings for stale values and early refreshes.

use std::time::Duration;

use super::{EarlyRefresh, Strategy};

impl<V> Strategy<V> {
    /// Serves an entry for this long after its TTL, at once, while it is reloaded in the background (RFC 5861).
    ///
    /// The TTL is then the *soft* TTL, and this window ends with the *hard* one. By default nothing stale is served.
    /// Zero is refused.
    ///
    /// One refresh of a key runs at a time in a process, and with [`locked`](Self::locked) in all processes. If the
    /// source fails, the next refresh waits for the [back-off](Self::min_backoff). Negative entries are never served
    /// stale. Invalidated entries are never served, stale or not.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> =
    ///     larder::Strategy::aside(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(600));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.settings.stale.while_revalidate = Some(window);
        self
    }

    /// Serves an entry for this long after its TTL if its load fails (RFC 5861, "fail-safe").
    ///
    /// A load fails by an error, a panic, a timeout or [`Overloaded`](crate::ErrorKind::Overloaded). By default a
    /// failed load is an error. Zero is refused.
    ///
    /// After a failure the source is not called for the key during the [back-off](Self::min_backoff): readers are
    /// served at once. Invalidated entries are never served.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> =
    ///     larder::Strategy::aside(Duration::from_secs(60)).stale_if_error(Duration::from_secs(3600));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.settings.stale.if_error = Some(window);
        self
    }

    /// Sets the pause after the first failed load of a key that can be served stale. It doubles with each further
    /// failure, up to [`max_backoff`](Self::max_backoff). Default: 1 s.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60))
    ///     .stale_if_error(Duration::from_secs(3600))
    ///     .min_backoff(Duration::from_millis(200))
    ///     .max_backoff(Duration::from_secs(10));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn min_backoff(mut self, pause: Duration) -> Self {
        self.settings.stale.backoff[0] = pause;
        self
    }

    /// Sets the maximum pause between failed loads of a key that can be served stale. Default: 30 s.
    ///
    /// # Examples
    /// See [`min_backoff`](Self::min_backoff).
    #[must_use]
    pub fn max_backoff(mut self, pause: Duration) -> Self {
        self.settings.stale.backoff[1] = pause;
        self
    }

    /// Refreshes entries in the background before they are stale. Replaces an earlier setting. By default an entry is
    /// refreshed when it is stale or expired.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// use larder::strategy::EarlyRefresh;
    /// use larder::Strategy;
    /// let strategy: Strategy<String> =
    ///     Strategy::aside(Duration::from_secs(60)).early_refresh(EarlyRefresh::probabilistic(1.0));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn early_refresh(mut self, when: EarlyRefresh) -> Self {
        self.settings.early = Some(when);
        self
    }

    /// Sets the maximum time that a reader waits for a load if it can be served a stale value. It is then served
    /// stale, and the load goes on and fills.
    ///
    /// Needs [`stale_if_error`](Self::stale_if_error). By default it waits for the end of the load.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60))
    ///     .stale_if_error(Duration::from_secs(600))
    ///     .soft_timeout(Duration::from_millis(50));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn soft_timeout(mut self, wait: Duration) -> Self {
        self.settings.soft_timeout = Some(wait);
        self
    }

    /// Sets the maximum time that any reader waits for a load. It then gets a stale value, or an error of kind
    /// [`Timeout`](crate::ErrorKind::Timeout).
    ///
    /// The load goes on, within [`load_timeout`](Self::load_timeout), and fills. By default a reader waits for the
    /// end of the load.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> =
    ///     larder::Strategy::aside(Duration::from_secs(60)).hard_timeout(Duration::from_secs(2));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn hard_timeout(mut self, wait: Duration) -> Self {
        self.settings.hard_timeout = Some(wait);
        self
    }
}
