//! The tag ledger of a namespace.

use std::collections::HashMap;
use std::result::Result as StdResult;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use larder::backend::Entry;
use larder::clock::Timestamp;
use larder::tag::{LedgerView, Pruned, Stamp, TagLedger};
use larder::{Result, Tag};

use crate::client::{Arg, Command, Failure, FailureKind, Reply};
use crate::clocks::life_ms;
use crate::names::Space;
use crate::nonce::identity;
use crate::script::{INCARNATION, TAGS};
use crate::server::{Server, head};

/// The tag ledger of one namespace.
///
/// # Examples
/// ```no_run
/// use larder::tag::TagLedger;
/// use larder::Tag;
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

/// The longest life that a ledger can record, in milliseconds: the largest whole number of the scripts.
const LONGEST_MS: i64 = 1 << 53;

/// The longest life of an entry with tags that this process has recorded in a ledger.
#[derive(Debug, Default)]
pub(crate) struct Lives(Mutex<(u64, i64)>);

impl Lives {
    /// Returns the life to record if `entry` lives longer than was recorded in its ledger: an eighth longer than it
    /// does, since lives differ a little (jitter).
    pub(crate) fn news<V>(&self, entry: &Entry<V>, ledger: u64, now: Timestamp) -> Option<i64> {
        if entry.tags().is_empty() {
            return None;
        }
        let life = life_ms(entry.remaining(now)).and_then(|life| i64::try_from(life).ok());
        let life = life.unwrap_or(LONGEST_MS).min(LONGEST_MS);
        let (known, recorded) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (known != ledger || recorded < life).then(|| (life + life / 8).min(LONGEST_MS))
    }

    pub(crate) fn note(&self, ledger: u64, life: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (ledger, life);
    }
}

/// The known tags in one state of the ledger. Every read returns the state of the ledger, so that no time limit is
/// needed: in another state the known tags are not used.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    head: Stamp,
    counts: HashMap<Tag, u64>,
}

impl Views {
    /// The maximum number of tags that are remembered.
    const MOST: usize = 10_000;

    /// Returns `true` if an entry is valid in the state `head` of the ledger, and `None` if that is not known.
    pub(crate) fn allow<V>(&self, entry: &Entry<V>, head: Stamp) -> Option<bool> {
        if entry.tags().is_empty() || entry.stamp() == head {
            return Some(true);
        }
        let stamp = entry.stamp();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.head != head || head.ledger() != stamp.ledger() {
            return None;
        }
        let counts = entry.tags().iter().map(|tag| known.counts.get(tag).copied());
        counts.map(|count| Some(count? <= stamp.count())).try_fold(true, |all, one| Some(all && one?))
    }

    pub(crate) fn note(&self, head: Stamp, tags: &[Tag], view: &LedgerView) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.head != head || known.counts.len() >= Self::MOST {
            *known = Known { head, counts: HashMap::new() };
        }
        known.counts.extend(tags.iter().cloned().zip(view.counts().iter().copied()));
    }
}

/// Reads the state of a ledger, and the tags that were invalidated after `known`, with the state after each. The
/// tags are `None` if the ledger no longer remembers them.
pub(crate) async fn since(
    server: &Server,
    space: &Space,
    known: Stamp,
) -> StdResult<(Stamp, Option<Vec<(Vec<Tag>, Stamp)>>), Failure> {
    let (fresh, ledger) = (identity(), format!("{:016x}", known.ledger()));
    let count = i64::try_from(known.count()).unwrap_or(i64::MAX);
    let arguments = [fresh.as_str().into(), "since".into(), ledger.as_str().into(), Arg::from(count)];
    let command = TAGS.call(&[&space.head, &space.tags], arguments);
    let mut parts = server.run(&[command]).await.next()?.list()?.into_iter();
    let head = stamped(parts.next().unwrap_or(Reply::Nil))?;
    if parts.next().unwrap_or(Reply::Nil).number()? == 0 {
        return Ok((head, None));
    }
    let mut ended = Vec::with_capacity(parts.len());
    for part in parts {
        let told = part.bytes()?.unwrap_or_default();
        let mut lines = std::str::from_utf8(&told).unwrap_or_default().split('\n');
        let Some(count) = lines.next().and_then(|count| count.parse().ok()) else { return Ok((head, None)) };
        ended.push((lines.map(Tag::from_stored).collect(), Stamp::new(head.ledger(), count)));
    }
    Ok((head, Some(ended)))
}

impl RedisLedger {
    pub(crate) fn new(server: Arc<Server>, space: Space) -> Self {
        Self { server, space }
    }

    /// Reads `tags` from the ledger, and its state as it counts in these incarnations of the servers.
    pub(crate) async fn look(&self, tags: &[Tag], incarnations: &[&str]) -> Result<(Stamp, LedgerView)> {
        let (fresh, subjects) = (identity(), subjects(tags));
        let mut commands = vec![self.command(&fresh, "view", &subjects)];
        commands.extend(incarnations.iter().map(|&name| INCARNATION.call(&[name], [])));
        let mut answers = self.server.run(&commands).await;
        let looked = answers.next().and_then(viewed).and_then(|(head, counts)| {
            let head = answers.incarnate(head, incarnations.len())?;
            Ok((head, LedgerView::new(head.ledger(), counts)))
        });
        looked.map_err(|failure| failure.into_error("view tags"))
    }

    async fn ask(&self, operation: &str, what: &str, subjects: &[Arg<'_>]) -> Result<Reply> {
        let fresh = identity();
        self.server.run_one(operation, self.command(&fresh, what, subjects)).await
    }

    /// The command for the tags. `fresh` is the identity of the ledger if one must be made.
    fn command<'a>(&'a self, fresh: &'a str, what: &'a str, subjects: &[Arg<'a>]) -> Command<'a> {
        let arguments = [Arg::from(fresh), Arg::from(what)].into_iter().chain(subjects.iter().copied());
        TAGS.call(&[&self.space.head, &self.space.tags], arguments)
    }
}

/// The command that records the life of an entry. `fresh` is the identity of the ledger if one must be made.
pub(crate) fn living<'a>(space: &'a Space, fresh: &'a str, life: i64) -> Command<'a> {
    TAGS.call(&[&space.head, &space.tags], [Arg::from(fresh), Arg::from("lives"), Arg::from(life)])
}

fn subjects(tags: &[Tag]) -> Vec<Arg<'_>> {
    tags.iter().map(|tag| Arg::from(tag.as_str())).collect()
}

fn stamped(reply: Reply) -> StdResult<Stamp, Failure> {
    let unreadable = || Failure::new(FailureKind::Server, "the ledger has no head");
    reply.bytes()?.and_then(|bytes| head(&bytes)).ok_or_else(unreadable)
}

/// Reads the answer to a piece of a prune: the place of the next piece, and the number of tags that were removed.
/// The third part is the life of an entry for which nothing was removed.
fn piece(reply: Reply) -> StdResult<(String, i64, Option<Duration>), Failure> {
    let mut parts = reply.list()?.into_iter();
    let next = parts.next().unwrap_or(Reply::Nil).bytes()?.unwrap_or_default();
    let next = std::str::from_utf8(&next).ok().filter(|next| !next.is_empty()).map(str::to_owned);
    let next =
        next.ok_or_else(|| Failure::new(FailureKind::Server, "the ledger answered no place to go on at"))?;
    let pruned = parts.next().unwrap_or(Reply::Nil).number()?;
    let life = parts.next().map(|life| life.number()).transpose()?;
    Ok((next, pruned, life.and_then(|life| u64::try_from(life).ok()).map(Duration::from_millis)))
}

fn viewed(reply: Reply) -> StdResult<(Stamp, Vec<u64>), Failure> {
    let mut parts = reply.list()?.into_iter();
    let head = stamped(parts.next().unwrap_or(Reply::Nil))?;
    let counts = parts
        .map(|count| Ok(u64::try_from(count.number()?).unwrap_or(u64::MAX)))
        .collect::<Result<_, _>>()?;
    Ok((head, counts))
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
        Ok(self.look(tags, &[]).await?.1)
    }

    async fn prune(&self, count: u64, longest: Duration) -> Result<Pruned> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let longest = life_ms(longest).and_then(|life| i64::try_from(life).ok()).unwrap_or(LONGEST_MS);
        let (mut place, mut pruned) = ("0".to_owned(), 0);
        loop {
            let arguments = [Arg::from(count), Arg::from(place.as_str()), Arg::from(longest)];
            let answer = self.ask("prune tags", "prune", &arguments).await?;
            let (next, some, life) = piece(answer).map_err(|failure| failure.into_error("prune tags"))?;
            if let Some(life) = life {
                return Ok(Pruned::TooEarly(life));
            }
            pruned += usize::try_from(some).unwrap_or(0);
            if next == "0" {
                return Ok(Pruned::Removed(pruned));
            }
            place = next;
        }
    }
}
