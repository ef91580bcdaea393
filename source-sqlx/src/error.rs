//! The errors of loads.

/// The error of a load by query.
///
/// # Examples
/// sqlx's own error comes back from the cache:
/// ```
/// use larder_sqlx::SourceError;
/// let error = larder::Error::from_source(SourceError::from(sqlx::Error::PoolTimedOut));
/// assert!(matches!(error.source_as::<sqlx::Error>(), Some(sqlx::Error::PoolTimedOut)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The database, the pool or a row that does not fit its type.
    #[error("the query failed")]
    Database(#[from] sqlx::Error),
    /// A key that could not be bound.
    #[error("the key could not be bound")]
    Bind(#[source] sqlx::error::BoxDynError),
    /// A query whose number of placeholders differs from the number of the key's parts.
    #[error(
        "the query has {placeholders} placeholders and the key binds {binds}: \
         write one for each part of the key, in their order, as {write}"
    )]
    Placeholders {
        /// The number of placeholders in the query.
        placeholders: usize,
        /// The number of values that the key binds.
        binds: usize,
        /// The placeholders as this database writes them.
        write: &'static str,
    },
    /// A query with placeholders of both kinds, `?` and `?1`, which SQLite and sqlx number differently.
    #[error("the query mixes `?` with `?1`: write all of its placeholders in one way")]
    MixedPlaceholders,
    /// A batch query with placeholders of its own, for which there are no values.
    #[error(
        "the batch query has {found} placeholders of its own and only its keys are bound: \
         write the value into the query, or make it a part of the key"
    )]
    OwnPlaceholders {
        /// The number of values that they would take.
        found: usize,
    },
    /// A batch query without exactly one place for its keys.
    #[error("the batch query has {found} `{{keys}}` and needs one, as in `WHERE id IN ({{keys}})`")]
    Keys {
        /// The number of places that it has.
        found: usize,
    },
}

impl SourceError {
    /// Converts to the error that `build()` returns.
    pub(crate) fn into_config(self) -> larder::Error {
        larder::Error::config(self.to_string()).with_source(self)
    }

    /// Returns `true` if the same load may succeed when it is retried. This holds for refused, lost or unavailable
    /// connections, deadlocks, serialization failures, and a database that is starting or busy. For
    /// [`Retry::when`](larder::source::Retry::when).
    ///
    /// # Examples
    /// ```
    /// use larder::source::Retry;
    /// use larder_sqlx::{QuerySource, SourceError};
    ///
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let source = QuerySource::<(String,), _>::new(pool, "SELECT name FROM users WHERE id = ?");
    /// let patient = Retry::new(source, 3).when(SourceError::is_transient);
    /// # let _ = patient;
    /// # }
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed) => {
                true
            }
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| is_transient(&code))
            }
            _ => false,
        }
    }
}

/// Returns `true` if a lock timed out: PostgreSQL's 55P03, MySQL's 1205.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    error.code().is_some_and(|code| code == "55P03")
        || error.message().starts_with("Lock wait timeout exceeded")
}

/// Returns `true` if a prepared statement no longer fits its table, as after `ALTER TABLE` (PostgreSQL: "cached
/// plan must not change result type"). If it is prepared again, it fits.
pub(crate) fn is_outdated_statement(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "0A000")
}

/// Returns `true` for SQLSTATE classes 08 (connection), 40 (rollback: deadlock, serialization), 53 (resources), 57P
/// (shutdown, starting up); 55P03 (lock timeout); SQLite's BUSY and LOCKED in all their forms.
fn is_transient(code: &str) -> bool {
    let sqlite = || code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6) && code < 10_000);
    match code.len() {
        5 => ["08", "40", "53", "57P", "55P03"].iter().any(|class| code.starts_with(class)),
        _ => sqlite(),
    }
}
