//! What can go wrong in a load.

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
    /// The key could not be bound.
    #[error("the key could not be bound")]
    Bind(#[source] sqlx::error::BoxDynError),
    /// The query has another number of placeholders than the key has parts.
    #[error(
        "the query has {placeholders} placeholders and the key binds {binds}: \
         write one `?` for each part of the key, in their order"
    )]
    Placeholders {
        /// How many the query has.
        placeholders: usize,
        /// How many the key needs.
        binds: usize,
    },
    /// The query has placeholders of both kinds, `?` and `?1`, which SQLite and sqlx number differently.
    #[error("the query mixes `?` with `?1`: write all of its placeholders in one way")]
    MixedPlaceholders,
    /// A batch query has placeholders of its own, for which there are no values.
    #[error(
        "the batch query has {found} placeholders of its own and only its keys are bound: \
         write the value into the query, or make it a part of the key"
    )]
    OwnPlaceholders {
        /// How many values they would take.
        found: usize,
    },
    /// A batch query does not say where its keys go.
    #[error("the batch query has {found} `{{keys}}` and needs one, as in `WHERE id IN ({{keys}})`")]
    Keys {
        /// How many it has.
        found: usize,
    },
}
