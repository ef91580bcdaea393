//! A cache on the board, with its types erased.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use larder::cache::{Key, Value};
use larder::{Error, Tag};
use serde::Serialize;

use super::series::{Point, Series};
use super::{HOT_KEYS, POINTS, Target};
use crate::reading::Gauge;
use crate::watched::Watched;
use crate::why::{Miss, Outcome};

type Invalidation<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// The interface of a watched cache for the board.
trait Shown: Send + Sync {
    fn hot_keys(&self) -> Vec<Hot>;
    fn misses(&self) -> Vec<Missed>;
    fn whys(&self) -> Vec<(&'static str, u64)>;
    fn invalidate_shown<'a>(&'a self, target: Target<'a>) -> Invalidation<'a>;
}

#[derive(Serialize)]
struct Hot {
    key: String,
    per_second: f64,
    error: f64,
    hit_rate: f64,
}

#[derive(Serialize)]
struct Missed {
    number: u64,
    key: String,
    why: &'static str,
    text: String,
    outcome: &'static str,
    error: Option<String>,
    tags: Vec<String>,
    took_ms: f64,
    ago_ms: u64,
}

/// The numbers of a cache since it was built.
#[derive(Serialize)]
struct Totals {
    reads: u64,
    near: u64,
    far: u64,
    misses: u64,
    hit_rate: f64,
    loads: u64,
    load_errors: u64,
    joins: u64,
    stale: u64,
    fills: u64,
    refused: u64,
    evictions: u64,
    invalidations: u64,
    unacknowledged: usize,
    backend_errors: u64,
    undecodable: u64,
    overloaded: u64,
    load_p50_ms: f64,
    load_p99_ms: f64,
    miss_p99_ms: f64,
    breaker: &'static str,
    in_flight: usize,
    uptime_s: f64,
}

#[derive(Serialize)]
pub(super) struct Report {
    name: String,
    totals: Totals,
    points: Vec<Point>,
    hot: Vec<Hot>,
    misses: Vec<Missed>,
    whys: Vec<(&'static str, u64)>,
}

/// The reason why an invalidation was refused or failed.
///
/// # Examples
/// ```
/// use larder_metrics::Refusal;
/// assert_eq!(Refusal::Unauthorized.status(), 401);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Refusal {
    /// The board has no token, and only shows.
    Forbidden,
    /// The token is wrong or missing.
    Unauthorized,
    /// There is no cache of this name.
    NotFound(String),
    /// The text is no key or tag.
    Invalid(String),
    /// The store did not acknowledge. The cache retries the pending invalidation, and the key bypasses the cache
    /// meanwhile.
    Unacknowledged(Error),
}

impl Refusal {
    /// Returns the HTTP status of the refusal.
    ///
    /// # Examples
    /// See [`Refusal`].
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::Unauthorized => 401,
            Self::NotFound(_) => 404,
            Self::Invalid(_) => 400,
            Self::Unacknowledged(_) => 502,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str("this board only shows: it was given no token"),
            Self::Unauthorized => f.write_str("the token is wrong or missing"),
            Self::NotFound(what) | Self::Invalid(what) => f.write_str(what),
            Self::Unacknowledged(_) => f.write_str("the store did not acknowledge yet; it is tried again"),
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unacknowledged(error) => Some(error),
            _ => None,
        }
    }
}

pub(super) struct Subject {
    name: String,
    shown: Box<dyn Shown>,
    gauge: Gauge,
    series: Mutex<Series>,
}

impl Subject {
    pub(super) fn new<K: Key, V: Value>(name: &str, cache: &Watched<K, V>) -> Self {
        let gauge = Gauge::of(cache.cache());
        let series = Mutex::new(Series::new(gauge.read().stats, POINTS));
        Self { name: name.to_owned(), shown: Box::new(cache.clone()), gauge, series }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sample(&self, now: u64) {
        let reading = self.gauge.read();
        self.series().sample(reading, now);
    }

    pub(super) async fn invalidate(&self, target: Target<'_>) -> Result<(), Refusal> {
        self.shown.invalidate_shown(target).await
    }

    pub(super) fn report(&self, since: u64) -> Report {
        Report {
            name: self.name.clone(),
            totals: self.totals(),
            points: self.series().after(since),
            hot: self.shown.hot_keys(),
            misses: self.shown.misses(),
            whys: self.shown.whys(),
        }
    }

    fn totals(&self) -> Totals {
        let reading = self.gauge.read();
        let stats = reading.stats;
        let millis =
            |latency: &larder::observe::Latency, share| latency.percentile(share).as_secs_f64() * 1_000.0;
        Totals {
            reads: stats.reads(),
            near: stats.near_hits,
            far: stats.far_hits,
            misses: stats.misses,
            hit_rate: stats.hit_rate(),
            loads: stats.loads,
            load_errors: stats.load_errors,
            joins: stats.joins,
            stale: stats.stale_served,
            fills: stats.fills,
            refused: stats.refused_fills,
            evictions: stats.evictions,
            invalidations: stats.invalidations,
            unacknowledged: reading.unacknowledged,
            backend_errors: stats.backend_errors,
            undecodable: stats.undecodable,
            overloaded: stats.overloaded,
            load_p50_ms: millis(&stats.load_latency, 0.5),
            load_p99_ms: millis(&stats.load_latency, 0.99),
            miss_p99_ms: millis(&stats.miss_latency, 0.99),
            breaker: stats.breaker.as_str(),
            in_flight: reading.in_flight,
            uptime_s: stats.elapsed.as_secs_f64(),
        }
    }
}

impl<K: Key, V: Value> Shown for Watched<K, V> {
    fn hot_keys(&self) -> Vec<Hot> {
        let hot = Watched::hot_keys(self, HOT_KEYS).into_iter();
        hot.map(|hot| Hot {
            key: self.show(&hot.key),
            per_second: hot.per_second,
            error: hot.error,
            hit_rate: hot.hit_rate,
        })
        .collect()
    }

    fn misses(&self) -> Vec<Missed> {
        /// The number of misses on the page.
        const SHOWN: usize = 50;
        let shown = |miss: &Miss<K>| Missed {
            number: miss.number,
            key: self.show(&miss.key),
            why: miss.why.as_str(),
            text: miss.why.to_string(),
            outcome: miss.outcome.as_str(),
            error: match &miss.outcome {
                Outcome::Failed(error) => Some(error.clone()),
                _ => None,
            },
            tags: miss.tags.iter().map(ToString::to_string).collect(),
            took_ms: miss.took.as_secs_f64() * 1_000.0,
            ago_ms: u64::try_from(miss.ago.as_millis()).unwrap_or(u64::MAX),
        };
        Watched::misses(self).iter().rev().take(SHOWN).map(shown).collect()
    }

    fn whys(&self) -> Vec<(&'static str, u64)> {
        Watched::whys(self)
    }

    fn invalidate_shown<'a>(&'a self, target: Target<'a>) -> Invalidation<'a> {
        Box::pin(async move {
            let done = match target {
                Target::Key(text) => {
                    let key = self.parse(text);
                    let key =
                        key.ok_or_else(|| Refusal::Invalid(format!("{text:?} is no key of this cache")))?;
                    self.invalidate(&key).await
                }
                Target::Tag(text) => self.invalidate_tag(&tag(text)?).await,
            };
            done.map_err(Refusal::Unacknowledged)
        })
    }
}

/// Parses a tag.
fn tag(text: &str) -> Result<Tag, Refusal> {
    let is_one = text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.split_once(':').is_some_and(|(kind, key)| !kind.is_empty() && !key.is_empty());
    match is_one {
        true => Ok(Tag::from_stored(text)),
        false => Err(Refusal::Invalid(format!(
            "{text:?} is no tag: write it as `category:7`, or as `shop:=north` for a text"
        ))),
    }
}
