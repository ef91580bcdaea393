//! The source: the true rows, and the time that a load takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use larder::source::{BatchSource, ConditionalSource, KnownValue};
use larder::{Loaded, Source};

use super::store::Versioned;
use crate::check::{History, What};

/// The rows that all processes load from.
#[derive(Debug)]
pub(super) struct Truth {
    rows: Mutex<HashMap<u64, Row>>,
    random: Mutex<Rng>,
    history: History,
    longest: Duration,
    /// `true` if loads fail, panic and hang now.
    unsound: Mutex<bool>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) absent: bool,
}

/// The outcome of a load.
enum End {
    Well,
    Error,
    Panic,
    Never,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Truth {
    pub(super) fn new(seed: u64, history: History, longest: Duration, unsound: bool) -> Self {
        let random = Mutex::new(Rng::with_seed(seed ^ 0x7247));
        Self { rows: Mutex::default(), random, history, longest, unsound: Mutex::new(unsound) }
    }

    /// Writes the next version of a row. Returns the previous row, and the version.
    pub(super) fn commit(&self, process: u32, key: u64, absent: bool, guard: Option<u64>) -> (Row, u64) {
        let mut rows = lock(&self.rows);
        let row = rows.entry(key).or_default();
        let before = *row;
        let version = before.version + 1;
        *row = Row { version, absent };
        self.history.record(process, What::Committed { key, version, absent, guard });
        (before, version)
    }

    /// Ends the faults of loads.
    pub(super) fn recover(&self) {
        *lock(&self.unsound) = false;
    }

    fn draw(&self) -> (Duration, Duration, End) {
        let random = &mut *lock(&self.random);
        let longest = u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX);
        let mut time = || match random.u8(..3) {
            0 => Duration::ZERO,
            _ => Duration::from_micros(random.u64(..=longest / 2)),
        };
        let (before, after) = (time(), time());
        let end = match *lock(&self.unsound) {
            true => match random.u8(..20) {
                0..3 => End::Error,
                3 => End::Panic,
                4 if random.bool() => End::Never,
                _ => End::Well,
            },
            false => End::Well,
        };
        (before, after, end)
    }

    async fn read(&self, process: u32, keys: &[u64]) -> Result<Vec<Option<Versioned>>, std::io::Error> {
        let _loads: Vec<Loading<'_>> = keys.iter().map(|key| Loading::begin(self, process, *key)).collect();
        let (before, after, end) = self.draw();
        wait(before).await;
        let rows: Vec<_> = keys.iter().map(|key| (*key, lock(&self.rows).get(key).copied())).collect();
        wait(after).await;
        match end {
            End::Well => {}
            End::Error => return Err(std::io::Error::other("the source is down")),
            // without the panic hook, which would print it
            End::Panic => std::panic::resume_unwind(Box::new("the source panics")),
            End::Never => std::future::pending().await,
        }
        let seen =
            |(key, row): (u64, Option<Row>)| row.filter(|row| !row.absent).map(|row| (key, row.version));
        Ok(rows.into_iter().map(seen).collect())
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// A running load, whose end is recorded with any outcome.
struct Loading<'a> {
    truth: &'a Truth,
    process: u32,
    load: u64,
}

impl<'a> Loading<'a> {
    fn begin(truth: &'a Truth, process: u32, key: u64) -> Self {
        let load = truth.history.number();
        truth.history.record(process, What::LoadBegan { load, key });
        Self { truth, process, load }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.truth.history.record(self.process, What::LoadEnded { load: self.load });
    }
}

/// The source of one process.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) truth: Arc<Truth>,
    pub(super) process: u32,
}

impl Source<u64> for Rows {
    type Value = Versioned;
    type Error = std::io::Error;

    async fn load(&self, key: &u64) -> Result<Option<Versioned>, std::io::Error> {
        Ok(self.truth.read(self.process, &[*key]).await?.remove(0))
    }
}

impl BatchSource<u64> for Rows {
    async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<Versioned>>, std::io::Error> {
        self.truth.read(self.process, keys).await
    }
}

/// Versions are validators.
impl ConditionalSource<u64> for Rows {
    async fn load_if_modified(
        &self,
        key: &u64,
        known: Option<KnownValue<'_, Versioned>>,
    ) -> Result<Loaded<Versioned>, std::io::Error> {
        let row = self.truth.read(self.process, &[*key]).await?.remove(0);
        let version = row.map(|(_, version)| version.to_string());
        if version.is_some() && known.and_then(|known| known.validator) == version.as_deref() {
            return Ok(Loaded::not_modified());
        }
        let loaded = Loaded::from(row);
        Ok(match version {
            Some(version) => loaded.validator(version),
            None => loaded,
        })
    }
}
