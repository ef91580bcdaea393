//! The tag ledger of a namespace.

use std::sync::Arc;

use larder::{LedgerView, Result, Stamp, Tag, TagLedger};

use crate::client::{Arg, Failure, FailureKind, Reply};
use crate::names::Space;
use crate::nonce::identity;
use crate::script::TAGS;
use crate::server::{Server, head};

/// The tag ledger of one namespace.
///
/// # Examples
/// ```no_run
/// use larder::{Tag, TagLedger};
/// use larder_redis::RedisBackend;
///
/// # async fn with() -> larder::Result<()> {
/// let ledger = RedisBackend::connect("redis://localhost").await?.ledger("product");
/// let bread = Tag::new("kind", "bread");
/// let stamp = ledger.stamp().await?; // before a load begins
/// ledger.invalidate(std::slice::from_ref(&bread)).await?;
/// assert!(!ledger.view(&[bread]).await?.allows(stamp));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RedisLedger {
    server: Arc<Server>,
    space: Space,
}

impl RedisLedger {
    pub(crate) fn new(server: Arc<Server>, space: Space) -> Self {
        Self { server, space }
    }

    async fn ask(&self, operation: &str, what: &str, subjects: &[Arg<'_>]) -> Result<Reply> {
        let fresh = identity();
        let arguments =
            [Arg::from(fresh.as_str()), Arg::from(what)].into_iter().chain(subjects.iter().copied());
        self.server.run_one(operation, TAGS.call(&[&self.space.head, &self.space.tags], arguments)).await
    }
}

fn subjects(tags: &[Tag]) -> Vec<Arg<'_>> {
    tags.iter().map(|tag| Arg::from(tag.as_str())).collect()
}

fn stamped(reply: Reply) -> std::result::Result<Stamp, Failure> {
    let unreadable = || Failure::new(FailureKind::Server, "the ledger has no head");
    reply.bytes()?.and_then(|bytes| head(&bytes)).ok_or_else(unreadable)
}

fn viewed(reply: Reply) -> std::result::Result<LedgerView, Failure> {
    let mut parts = reply.list()?.into_iter();
    let head = stamped(parts.next().unwrap_or(Reply::Nil))?;
    let counts = parts
        .map(|count| Ok(u64::try_from(count.number()?).unwrap_or(u64::MAX)))
        .collect::<Result<_, _>>()?;
    Ok(LedgerView::new(head.ledger(), counts))
}

impl TagLedger for RedisLedger {
    async fn stamp(&self) -> Result<Stamp> {
        self.server.stamp("stamp", &self.space, false, &self.space.head).await
    }

    async fn invalidate(&self, tags: &[Tag]) -> Result<Stamp> {
        let operation = "invalidate tags";
        let answer = self.ask(operation, "invalidate", &subjects(tags)).await?;
        stamped(answer).map_err(|failure| failure.into_error(operation))
    }

    async fn view(&self, tags: &[Tag]) -> Result<LedgerView> {
        let operation = "view tags";
        let answer = self.ask(operation, "view", &subjects(tags)).await?;
        viewed(answer).map_err(|failure| failure.into_error(operation))
    }

    async fn prune(&self, count: u64) -> Result<usize> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let answer = self.ask("prune tags", "prune", &[Arg::from(count)]).await?;
        let pruned = answer.number().map_err(|failure| failure.into_error("prune tags"))?;
        Ok(usize::try_from(pruned).unwrap_or(0))
    }
}
