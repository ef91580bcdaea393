//! One life of a process: a cache of its own, with the configuration of the seed.

use std::sync::Arc;
use std::time::Duration;

use larder::backend::{Breaker, Local};
use larder::lock::Locking;
use larder::strategy::EarlyRefresh;
use larder::{Cache, CacheBuilder, Strategy, Tiered};

use super::clock::Apart;
use super::locks::RemoteLocks;
use super::near::Near;
use super::network::{Link, Networked};
use super::setup::{NearTier, Setup, Sourcing, key_tag, tag, value_tag};
use super::source::Rows;
use super::store::{Store, Versioned};
use super::world::World;

const NAMESPACE: &str = "simulated";

/// One life of a process.
pub(super) struct Process {
    pub(super) number: u32,
    pub(super) cache: Cache<u64, Versioned>,
    pub(super) link: Arc<Link>,
    pub(super) rows: Rows,
}

impl<S: Store> World<S> {
    /// Starts a new life of the process at `place`.
    pub(super) fn start(&self, place: usize, number: u32) -> Arc<Process> {
        let setup = &self.setup;
        let link = Arc::new(Link::new(number, setup.seed, setup.trip, setup.loss));
        let rows = Rows { truth: Arc::clone(&self.truth), process: number };
        let name = place.to_string();
        let far = Networked { store: self.store.connect(&name), link: Arc::clone(&link) };
        let builder = Cache::builder().namespace(NAMESPACE).clock(Apart::by(setup.ahead[place]));
        let builder = with_backend(builder, far, setup);
        let builder = match setup.sourcing {
            Sourcing::Single => builder.source(rows.clone()),
            Sourcing::Batched | Sourcing::Gathered => builder.batch_source(rows.clone()),
            Sourcing::Conditional => builder.conditional_source(rows.clone()),
        };
        let builder = match setup.key_tags {
            true => builder.tag_keys(|key| [tag(key_tag(*key))]),
            false => builder,
        };
        let locks = self.store.locks(&name).filter(|_| setup.locked).map(|locks| {
            let locks = RemoteLocks { locks, link: Arc::clone(&link), history: self.history.clone() };
            // longer than the loads of all processes, one after the other, so that no waiter loads beside the holder
            Locking::new(locks).max_wait(Duration::from_secs(10))
        });
        let cache = builder.strategy(strategy(setup, locks)).build().expect("drawn to be sound");
        Arc::new(Process { number, cache, link, rows })
    }
}

fn with_backend<F>(
    builder: CacheBuilder<u64, Versioned>,
    far: Networked<F>,
    setup: &Setup,
) -> CacheBuilder<u64, Versioned>
where
    F: larder::backend::IntoBackend<u64, Versioned> + Send + 'static,
{
    if setup.local {
        return builder.backend(Local::new(Near::of(4)));
    }
    let tiers = |NearTier { bound, ttl, most }| {
        move |far| {
            let tiers = Tiered::new(Local::new(Near::of(most)), far).max_staleness(bound);
            match ttl {
                Some(ttl) => tiers.near_ttl(ttl),
                None => tiers,
            }
        }
    };
    match (setup.near, setup.breaker) {
        (None, false) => builder.backend(far),
        (None, true) => builder.backend(Breaker::new(far)),
        (Some(near), false) => builder.backend(tiers(near)(far)),
        (Some(NearTier { bound, ttl, most }), true) => {
            let tiers = Tiered::new(Local::new(Near::of(most)), Breaker::new(far)).max_staleness(bound);
            builder.backend(match ttl {
                Some(ttl) => tiers.near_ttl(ttl),
                None => tiers,
            })
        }
    }
}

fn strategy(setup: &Setup, locks: Option<Locking>) -> Strategy<Versioned> {
    let mut strategy = Strategy::aside(setup.ttl)
        .lease(setup.lease)
        .load_timeout(setup.load_timeout)
        .min_backoff(Duration::from_millis(100))
        .max_backoff(Duration::from_millis(500));
    if let Some(ttl) = setup.negative_ttl {
        strategy = strategy.negative_ttl(ttl);
    }
    if let Some(window) = setup.revalidate {
        strategy = strategy.stale_while_revalidate(window);
    }
    if let Some(window) = setup.if_error {
        strategy = strategy.stale_if_error(window);
    }
    if let Some(share) = setup.early {
        strategy = strategy.early_refresh(EarlyRefresh::after(share));
    }
    if let Some(limit) = setup.hard_timeout {
        strategy = strategy.hard_timeout(limit);
    }
    if setup.value_tags {
        strategy = strategy.tagged(|(_, version): &Versioned| [tag(value_tag(*version))]);
    }
    if setup.sourcing == Sourcing::Gathered {
        strategy = strategy.batch_window(Duration::from_millis(1)).max_batch(3);
    }
    match locks {
        Some(locks) => strategy.locked(locks),
        None => strategy,
    }
}
