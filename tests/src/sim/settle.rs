//! The end of a history: faults end, the processes recover, and nothing is left over.

use std::sync::Arc;
use std::time::Duration;

use larder::Cache;

use super::plan::{Fate, Read};
use super::store::{LONGEST_TRIP, Store, Trouble, Versioned};
use super::world::{PATIENCE, World, lock};
use crate::check::What;

impl<S: Store> World<S> {
    /// Ends the faults, waits for the recovery, and lets all processes read.
    pub(super) async fn settle(self: &Arc<Self>) {
        self.truth.recover();
        self.suffer(&Trouble::LosePushes(false));
        self.suffer(&Trouble::Repeat(Duration::ZERO));
        for (place, process) in self.living().iter().enumerate() {
            process.link.recover();
            _ = self.store.suffers(&Trouble::Mend(place.to_string()));
        }
        self.history.record(0, What::Note("faults have ended".to_owned()));
        // entries that were not invalidated still exist
        self.acknowledged().await;
        self.read_all().await;
        let bound = self.setup.near.map(|near| near.bound).unwrap_or_default();
        tokio::time::sleep(self.setup.life() + bound + LONGEST_TRIP).await;
        self.history.record(0, What::Settled);
        self.read_all().await;
        self.end().await;
    }

    /// Waits until hanging loads have timed out, and failed invalidations have been retried: each happens after 5
    /// s.
    async fn acknowledged(&self) {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let is_idle = |cache: &Cache<u64, Versioned>| cache.unacknowledged() + cache.in_flight() == 0;
            let have_ended = lock(&self.dead).iter().all(|process| process.cache.in_flight() == 0);
            if have_ended && self.living().iter().all(|process| is_idle(&process.cache)) {
                return;
            }
        }
    }

    async fn read_all(self: &Arc<Self>) {
        let reads = async {
            for process in self.living() {
                for key in 0..self.setup.keys {
                    self.read(&process, key, Read::Fetch, Fate::Well).await;
                }
            }
        };
        // the checker reports a read that hangs
        _ = tokio::time::timeout(PATIENCE, reads).await;
    }

    /// Shuts the processes down, and records everything that is left over.
    async fn end(&self) {
        let left = |what: String| self.history.record(0, What::Left(what));
        let living = std::mem::take(&mut *lock(&self.processes));
        lock(&self.dead).clear();
        for process in living {
            let shut = tokio::time::timeout(PATIENCE, process.cache.shutdown()).await;
            if !matches!(shut, Ok(Ok(()))) {
                left(format!("a cache that does not shut down: {shut:?}"));
            }
            let (flights, pending) = (process.cache.in_flight(), process.cache.unacknowledged());
            if flights + pending > 0 {
                left(format!("{flights} flights and {pending} invalidations of process {}", process.number));
            }
        }
        // the longest lease, and the tasks that check at intervals if a watcher is left
        tokio::time::sleep(self.setup.lease + Duration::from_secs(2)).await;
        self.store.left().into_iter().for_each(left);
    }

    /// Records any task that is left, in a runtime that no other history uses.
    pub(super) fn is_alone(&self) {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if tasks > 0 {
            self.history.record(0, What::Left(format!("{tasks} tasks")));
        }
    }
}
