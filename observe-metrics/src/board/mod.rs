//! The live page: its data, and the invalidations from it.

mod series;
mod subject;
mod token;
#[cfg(feature = "axum")]
mod web;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use larder::cache::{Key, Value};
use serde::Serialize;
use tokio::runtime::Handle;

use self::subject::Subject;
use self::token::Token;
use crate::watched::Watched;

pub use self::subject::Refusal;

/// The live page: one HTML file with its styles and script. It sends requests only to the server that it came from.
/// They go to `api/board/` and `api/invalidate` below its own path (with or without a slash at its end).
///
/// # Examples
/// ```
/// assert!(larder_metrics::PAGE.starts_with("<!doctype html>"));
/// ```
pub const PAGE: &str = include_str!("page.html");

/// The interval between two readings, of which the last ten minutes are kept.
const PERIOD: Duration = Duration::from_secs(1);
const POINTS: usize = 600;
/// The number of hot keys on the page.
const HOT_KEYS: usize = 20;

/// The caches of a live page: their numbers over the last ten minutes, their hot keys, and the reasons of misses. A
/// visitor with the token can invalidate a key or a tag from the page; without a token the page only shows. A cheap
/// handle; clones share everything.
///
/// **The page shows confidential data**: keys, and the text of errors. Mount it where only authorised visitors
/// reach it, or behind the service's own authorisation.
///
/// With the feature `axum`, mount its [`router`](Self::router) in an axum service. Otherwise serve [`PAGE`],
/// [`report`](Self::report) and [`invalidate`](Self::invalidate) by other means.
///
/// # Examples
/// ```
/// use larder_metrics::{Board, Watched};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
/// let squares = Watched::new(squares);
/// let board = Board::new().token("a long and random one, from the configuration")?;
/// board.add("square", &squares);
/// squares.get(&3).await?;
/// board.sample();
/// assert!(board.report(0).contains(r#""name":"square""#));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    subjects: RwLock<Vec<Arc<Subject>>>,
    token: Option<Token>,
    sampling: AtomicBool,
}

/// The data that the page requests.
#[derive(Serialize)]
struct Report {
    /// Milliseconds since 1970.
    now: u64,
    /// `true` if there is a token, so that the page can invalidate.
    writable: bool,
    /// Milliseconds between two points.
    period: u64,
    caches: Vec<subject::Report>,
}

/// The target of an invalidation.
///
/// # Examples
/// ```
/// use larder_metrics::Target;
/// let (key, tag) = (Target::Key("7"), Target::Tag("category:7"));
/// assert_ne!(key, tag);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target<'a> {
    /// A key, as the page shows it.
    Key(&'a str),
    /// A tag, as [`Tag::as_str`](larder::Tag::as_str) writes it: `category:7`, or `shop:=north` for a text.
    Tag(&'a str),
}

impl Board {
    /// Returns a board without caches and without a token, which only shows.
    ///
    /// # Examples
    /// See [`Board`].
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner { subjects: RwLock::default(), token: None, sampling: AtomicBool::new(false) }))
    }

    /// Sets the token that permits invalidations. Call it before handles are cloned. The token is compared in
    /// constant time (its length is no secret).
    ///
    /// # Errors
    /// [`Config`](larder::ErrorKind::Config) for a token of less than 16 bytes.
    ///
    /// # Examples
    /// ```
    /// assert!(larder_metrics::Board::new().token("1234").is_err());
    /// ```
    pub fn token(self, token: impl Into<String>) -> larder::Result<Self> {
        let token = Token::new(token.into())?;
        let subjects = self.subjects();
        Ok(Self(Arc::new(Inner {
            subjects: RwLock::new(subjects),
            token: Some(token),
            sampling: AtomicBool::new(false),
        })))
    }

    /// Adds `cache` under `name`. If the name exists already, its cache is replaced.
    ///
    /// # Examples
    /// See [`Board`].
    pub fn add<K: Key, V: Value>(&self, name: &str, cache: &Watched<K, V>) {
        let mut subjects = self.0.subjects.write().unwrap_or_else(PoisonError::into_inner);
        subjects.retain(|other| other.name() != name);
        subjects.push(Arc::new(Subject::new(name, cache)));
    }

    fn subjects(&self) -> Vec<Arc<Subject>> {
        self.0.subjects.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the numbers of all caches now, which adds one point to each chart.
    ///
    /// # Examples
    /// See [`Board`].
    pub fn sample(&self) {
        let now = unix_millis();
        self.subjects().iter().for_each(|subject| subject.sample(now));
    }

    /// Reads the numbers every second on a separate task, until all handles of the board are dropped. Does nothing
    /// if the task already runs, or outside of a tokio runtime. The router calls it when the page is requested.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let board = larder_metrics::Board::new();
    /// board.start();
    /// # }
    /// ```
    pub fn start(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.0.sampling.swap(true, Ordering::SeqCst) {
            return;
        }
        let board = Arc::downgrade(&self.0);
        drop(runtime.spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(board) = board.upgrade() else { return };
                Self(board).sample();
            }
        }));
    }

    /// Returns all data of the page as JSON: the points after `since` (milliseconds since 1970; 0 for all).
    ///
    /// # Examples
    /// See [`Board`].
    #[must_use]
    pub fn report(&self, since: u64) -> String {
        let report = Report {
            now: unix_millis(),
            writable: self.0.token.is_some(),
            period: PERIOD.as_millis() as u64,
            caches: self.subjects().iter().map(|subject| subject.report(since)).collect(),
        };
        serde_json::to_string(&report).expect("numbers and texts can be written as JSON")
    }

    /// Invalidates a key or a tag of the cache `cache`, if the token is right. The invalidation is traced as a
    /// warning.
    ///
    /// # Errors
    /// See [`Refusal`].
    ///
    /// # Cancellation safety
    /// As [`Cache::invalidate`](larder::Cache::invalidate).
    ///
    /// # Examples
    /// ```
    /// use larder_metrics::{Board, Refusal, Target, Watched};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let board = Board::new().token("0123456789abcdef")?;
    /// board.add("square", &Watched::new(squares));
    /// let wrong = board.invalidate(b"guessed", "square", Target::Key("3")).await;
    /// assert!(matches!(wrong, Err(Refusal::Unauthorized)));
    /// board.invalidate(b"0123456789abcdef", "square", Target::Key("3")).await.unwrap();
    /// # Ok(()) }
    /// ```
    pub async fn invalidate(&self, token: &[u8], cache: &str, target: Target<'_>) -> Result<(), Refusal> {
        self.authorize(token)?;
        let subject = self.subjects().into_iter().find(|subject| subject.name() == cache);
        let subject = subject.ok_or_else(|| Refusal::NotFound(format!("there is no cache {cache:?}")))?;
        subject.invalidate(target).await?;
        tracing::warn!(target: "larder::event", cache, ?target, "invalidated from the live page");
        Ok(())
    }

    fn authorize(&self, token: &[u8]) -> Result<(), Refusal> {
        match &self.0.token {
            None => Err(Refusal::Forbidden),
            Some(right) if right.is(token) => Ok(()),
            Some(_) => Err(Refusal::Unauthorized),
        }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.subjects().iter().map(|subject| subject.name().to_owned()).collect();
        f.debug_struct("Board").field("caches", &names).field("writable", &self.0.token.is_some()).finish()
    }
}

fn unix_millis() -> u64 {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}
