//! Every backend of the workspace, alone, erased, tiered and decorated, under the whole suite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use larder::backend::{
    BackendContext, Breaker, EncodedBackend, IntoBackend, Local, Prefix, QuickStore, Timeout,
};
use larder::codec::{Json, Postcard};
use larder::{CacheBackend, Quick, Tiered};
use larder_memory::{MemoryBackend, MemoryLocks, MemoryServer};
use larder_moka::Moka;
use larder_testkit::{Fixture, SharedFixture, Through, Time};

/// A fixture of any backend that a function makes, with the time that its store keeps.
struct Made<M>(M, Time);

impl<M, S> Fixture for Made<M>
where
    M: Fn(&Time) -> S,
    S: IntoBackend<String, String>,
{
    type Backend = S::Backend;

    async fn open(&self) -> Self::Backend {
        let scope = BackendContext::new("suite").unwrap();
        (self.0)(&self.1).into_backend(&scope).unwrap()
    }

    fn time(&self) -> &Time {
        &self.1
    }
}

fn made<M: Fn(&Time) -> S, S: IntoBackend<String, String>>(make: M) -> Made<M> {
    Made(make, Time::default())
}

fn server(time: &Time) -> MemoryServer {
    MemoryServer::with_clock(time.clone())
}

/// Two processes on one server.
struct Two<M>(M, Time);

impl<M, S> SharedFixture for Two<M>
where
    M: Fn(&MemoryServer, &str) -> S,
    S: IntoBackend<String, String>,
{
    type Backend = S::Backend;

    async fn open_two(&self) -> [Self::Backend; 2] {
        let (server, scope) = (server(&self.1), BackendContext::new("suite").unwrap());
        ["one", "two"].map(|name| (self.0)(&server, name).into_backend(&scope).unwrap())
    }

    fn time(&self) -> &Time {
        &self.1
    }
}

macro_rules! suites {
    ($($name:ident: $make:expr;)*) => {$(
        mod $name {
            use super::*;
            larder_testkit::backend_suite!(made($make));
        }
    )*};
}

suites! {
    quick: |_| Quick::new(10_000);
    moka: |_| Moka::new(10_000);
    memory_json: |time| server(time).connect("one").encoded(Json);
    memory_postcard: |time| server(time).connect("one").encoded(Postcard);
    quick_over_memory: |time| Tiered::new(Quick::new(10_000), server(time).connect("one").encoded(Json));
    moka_over_memory: |time| Tiered::new(Moka::new(10_000), server(time).connect("one").encoded(Json));
    quick_over_moka: |_| Tiered::new(Quick::new(10_000), Moka::new(10_000));
    decorated: |time| Timeout::new(
        Breaker::new(Prefix::new("staging", server(time).connect("one").encoded(Json))),
        std::time::Duration::from_secs(60),
    );
}

mod erased_quick {
    use super::*;
    larder_testkit::backend_suite!(Through(made(|_| Quick::new(10_000))));
}

mod erased_tiers {
    use super::*;
    larder_testkit::backend_suite!(Through(made(|time| Tiered::new(
        Quick::new(10_000),
        server(time).connect("one").encoded(Json)
    ))));
}

mod two_processes {
    use super::*;
    larder_testkit::shared_suite!(Two(
        |server: &MemoryServer, name: &str| server.connect(name).encoded(Json),
        Time::default()
    ));
}

mod locks {
    use super::*;

    fn locks() -> (Time, MemoryLocks) {
        let time = Time::default();
        (time.clone(), MemoryServer::with_clock(time).connect("one").locks())
    }

    larder_testkit::lock_suite!(locks());
}

mod ledgers {
    use super::*;
    larder_testkit::ledger_suite!(MemoryServer::new().connect("one").ledger("suite"));
}

/// The suite can fail: backends broken on purpose, each caught by the property it breaks.
mod broken {
    use std::time::Duration;

    use larder::backend::{BeginOutcome, Entry, Fence, FillOutcome, LoadIntent, Recency, WriteIntent};
    use larder::clock::Timestamp;
    use larder::tag::{Pruned, Stamp};
    use larder::{Result, Tag};
    use larder_testkit::backend as properties;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        KeepsFences,
        OneNonce,
        ServesTheDead,
        Misaligned,
        IgnoresLeases,
        PeeksOld,
        IgnoresTags,
        IgnoresGuards,
    }

    type Inner = Local<String, QuickStore<String, String>>;

    #[derive(Debug)]
    struct Broken(Inner, Fault);

    impl Broken {
        fn shown(&self, fence: Fence) -> Fence {
            if self.1 == Fault::OneNonce { Fence::created(1) } else { fence }
        }
    }

    impl CacheBackend<String, String> for Broken {
        fn look<T>(
            &self,
            key: &String,
            now: Timestamp,
            recency: Recency,
            look: impl FnOnce(&mut Entry<String>) -> Option<T>,
        ) -> Option<T> {
            let now = if self.1 == Fault::ServesTheDead { Timestamp::ORIGIN } else { now };
            self.0.look(key, now, recency, look)
        }
        fn shared_name(&self, _key: &String) -> Option<String> {
            None
        }
        fn watch(&self, _watcher: std::sync::Weak<dyn larder::backend::Watcher>) -> bool {
            false
        }
        fn is_bounded(&self) -> bool {
            true
        }
        async fn get(&self, key: &String, now: Timestamp) -> Result<Option<Entry<String>>> {
            Ok(self.peek(key, now))
        }
        async fn get_many(&self, keys: &[String], now: Timestamp) -> Result<Vec<Option<Entry<String>>>> {
            let mut found = self.0.get_many(keys, now).await?;
            if self.1 == Fault::Misaligned {
                found.sort_by_key(Option::is_none);
            }
            Ok(found)
        }
        async fn begin(
            &self,
            key: &String,
            announce: LoadIntent,
            now: Timestamp,
        ) -> Result<BeginOutcome<String>> {
            Ok(match self.0.begin(key, announce, now).await? {
                BeginOutcome::Granted(fence) => BeginOutcome::Granted(self.shown(fence)),
                begun => begun,
            })
        }
        async fn fill(
            &self,
            key: &String,
            fence: Fence,
            entry: Entry<String>,
            now: Timestamp,
        ) -> Result<FillOutcome> {
            match self.1 {
                Fault::KeepsFences | Fault::OneNonce => {
                    self.0.put(key, entry, now).await?;
                    Ok(FillOutcome::Stored)
                }
                Fault::IgnoresLeases => self.0.fill(key, fence, entry, Timestamp::ORIGIN).await,
                _ => self.0.fill(key, fence, entry, now).await,
            }
        }
        async fn renew(&self, key: &String, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
            self.0.renew(key, fence, lease, now).await
        }
        async fn release(&self, key: &String, fence: Fence, now: Timestamp) -> Result<()> {
            self.0.release(key, fence, now).await
        }
        async fn put(&self, key: &String, entry: Entry<String>, now: Timestamp) -> Result<()> {
            self.0.put(key, entry, now).await
        }
        async fn remove(&self, key: &String) -> Result<()> {
            if self.1 == Fault::PeeksOld { Ok(()) } else { self.0.remove(key).await }
        }
        async fn remove_many(&self, keys: &[String]) -> Result<()> {
            self.0.remove_many(keys).await
        }
        async fn clear(&self) -> Result<()> {
            self.0.clear().await
        }
        async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
            let tags = if self.1 == Fault::IgnoresTags { &[] } else { tags };
            CacheBackend::<String, String>::invalidate_tags(&self.0, tags).await
        }
        async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
            CacheBackend::<String, String>::prune_tags(&self.0, count, longest).await
        }
        async fn guard(&self, key: &String, guard: WriteIntent, now: Timestamp) -> Result<()> {
            match self.1 {
                Fault::IgnoresGuards => self.0.remove(key).await,
                _ => self.0.guard(key, guard, now).await,
            }
        }
        async fn unguard(&self, key: &String, guard: WriteIntent, now: Timestamp) -> Result<()> {
            self.0.unguard(key, guard, now).await
        }
    }

    struct Fixed(Fault, Time);

    impl Fixture for Fixed {
        type Backend = Broken;

        async fn open(&self) -> Broken {
            let inner =
                IntoBackend::<String, String>::into_backend(Quick::new(10_000), &BackendContext::unnamed())
                    .unwrap();
            Broken(inner, self.0)
        }
        fn time(&self) -> &Time {
            &self.1
        }
    }

    macro_rules! caught {
        ($($fault:ident by $property:ident;)*) => {
            #[tokio::test]
            async fn every_broken_backend_is_caught() {
                $(
                    let property = properties::$property(Fixed(Fault::$fault, Time::default()));
                    let caught = tokio::task::LocalSet::new().run_until(async {
                        tokio::task::spawn_local(property).await
                    }).await;
                    assert!(caught.is_err(), concat!(stringify!($fault), " passes ", stringify!($property)));
                )*
            }
        };
    }

    caught! {
        KeepsFences by a_removal_defeats_loads_announced_before;
        KeepsFences by a_fill_needs_its_own_fence;
        KeepsFences by no_interleaving_revives_what_was_removed;
        OneNonce by a_lost_fence_never_stands_again;
        OneNonce by no_interleaving_revives_what_was_removed;
        ServesTheDead by an_entry_lives_exactly_its_ttl;
        Misaligned by get_many_is_aligned;
        IgnoresLeases by a_fence_ends_with_its_lease;
        PeeksOld by a_removed_key_is_gone;
        PeeksOld by no_interleaving_revives_what_was_removed;
        IgnoresTags by an_invalidated_tag_ends_its_entries;
        IgnoresTags by a_tag_invalidation_defeats_loads_announced_before;
        IgnoresGuards by a_guard_keeps_a_key_out;
    }
}

/// The types above have names that a user can write.
#[test]
fn opened_backends_can_be_named() {
    fn named<T>() {}
    named::<EncodedBackend<MemoryBackend, Json, String>>();
}
