//! Records the calls of a cache.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use larder::cache::{Origin, WriteGuard};
use larder::{CachedEntry, Error, ErrorKind, Result, Source as _};

use super::plan::{Fate, Read, Write};
use super::process::Process;
use super::setup::{key_tag, tag, value_tag};
use super::store::{Store, Versioned};
use super::world::World;
use crate::check::{Answer, Ask, Failure, Scope, Seen};

/// A write, and the way in which the cache is notified of it.
pub(super) struct Writing {
    pub(super) key: u64,
    pub(super) absent: bool,
    pub(super) how: Write,
    pub(super) between: Duration,
    pub(super) fate: Fate,
}

impl<S: Store> World<S> {
    pub(super) async fn read(&self, process: &Process, key: u64, how: Read, fate: Fate) {
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let ask = match how {
            Read::Get | Read::Fetch | Read::GetOrLoad => Ask::Read { key },
            Read::Lookup => Ask::Lookup { key },
            Read::Refresh => Ask::Refresh { key },
        };
        let operation = self.history.ask(process.number, ask);
        let cache = &process.cache;
        let answer = match how {
            Read::Get => waited(cache.get(&key), fate)
                .await
                .map(|got| answered(got.map(|value| value.as_deref().copied()), "get")),
            Read::Fetch => waited(cache.get_entry(&key), fate).await.map(fetched),
            Read::Refresh => waited(cache.refresh(&key), fate)
                .await
                .map(|got| answered(got.map(|value| value.as_deref().copied()), "refresh")),
            Read::GetOrLoad => {
                let rows = process.rows.clone();
                let loaded = cache.get_or_load(&key, move || async move { rows.load(&key).await });
                waited(loaded, fate)
                    .await
                    .map(|got| answered(got.map(|value| value.as_deref().copied()), "get_or_load"))
            }
            Read::Lookup => waited(cache.get_if_present(&key), fate).await.map(|found| match found {
                Ok(None) => Answer::NotCached,
                Ok(Some(found)) => fetched(Ok(found)),
                Err(error) => failed(&error),
            }),
        };
        self.answer(process, operation, answer);
    }

    /// Records an answer, unless the process has crashed.
    fn answer(&self, process: &Process, operation: u64, answer: Option<Answer>) {
        let answer = answer.filter(|_| !process.link.is_dead()).unwrap_or(Answer::Dropped);
        self.history.answer(process.number, operation, answer);
    }

    pub(super) async fn read_many(&self, process: &Process, keys: &[u64], fate: Fate) {
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let ask = |key: &u64| self.history.ask(process.number, Ask::Read { key: *key });
        let operations: Vec<u64> = keys.iter().map(ask).collect();
        let answers = waited(process.cache.get_many_entries(keys), fate).await;
        for (place, operation) in operations.into_iter().enumerate() {
            let answer = answers.as_ref().map(|answers| match answers {
                Ok(answers) => {
                    let got = answers
                        .get(place)
                        .map(|answer| answer.as_ref().map(|found| found.value.clone()).map_err(Error::clone))
                        .unwrap_or_else(|| Err(Error::backend("get_many_entries", "too few")));
                    answered(got.map(|value| value.as_deref().copied()), "get_many_entries")
                }
                Err(error) => failed(error),
            });
            self.answer(process, operation, answer);
        }
    }

    pub(super) async fn write(&self, place: usize, writing: Writing) {
        let process = self.process(place);
        let Writing { key, absent, how, between, fate } = writing;
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let guard = match how {
            Write::Guard(life) => self.announce(&process, key, life).await,
            _ => None,
        };
        if guard.is_some() && !between.is_zero() {
            // the rest of the transaction
            tokio::time::sleep(between).await;
        }
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let number = guard.as_ref().map(|(operation, _)| *operation);
        let (before, version) = self.truth.commit(process.number, key, absent, number);
        if fate == Fate::Dies {
            return self.crash(place, &process);
        }
        if !between.is_zero() {
            tokio::time::sleep(between).await;
        }
        process.link.resumed().await;
        if process.link.is_dead() || how == Write::Silent {
            return;
        }
        let ask = match how {
            Write::Insert if !absent => Ask::Insert { key, version },
            Write::InvalidateMany => Ask::Invalidate(vec![Scope::Key(key), Scope::Key(self.other(key))]),
            Write::KeyTag => Ask::Invalidate(vec![Scope::Tag(key_tag(key))]),
            Write::ValueTags => {
                let old = (before.version > 0 && !before.absent).then(|| value_tag(before.version));
                let new = (!absent).then(|| value_tag(version));
                Ask::Invalidate(old.into_iter().chain(new).map(Scope::Tag).collect())
            }
            Write::Clear => Ask::Invalidate(vec![Scope::All]),
            _ => Ask::Invalidate(vec![Scope::Key(key)]),
        };
        let operation = self.history.ask(process.number, ask.clone());
        let told = match guard {
            Some((_, guard)) => waited(guard.finish(), fate).await,
            None => waited(self.tell(&process, &ask), fate).await,
        };
        let answer = told.map(|told| match told {
            Ok(()) => Answer::Acknowledged,
            Err(error) => failed(&error),
        });
        self.answer(&process, operation, answer);
    }

    fn other(&self, key: u64) -> u64 {
        (key + 1) % self.setup.keys
    }

    async fn announce(
        &self,
        process: &Process,
        key: u64,
        life: Duration,
    ) -> Option<(u64, WriteGuard<u64, Versioned>)> {
        let operation = self.history.ask(process.number, Ask::Guard { key, life });
        match process.cache.write_guard(&[key], life).await {
            Ok(guard) => {
                self.answer(process, operation, Some(Answer::Acknowledged));
                Some((operation, guard))
            }
            Err(error) => {
                self.answer(process, operation, Some(failed(&error)));
                None
            }
        }
    }

    async fn tell(&self, process: &Process, ask: &Ask) -> Result<()> {
        let cache = &process.cache;
        match ask {
            Ask::Insert { key, version } => cache.insert(key, (*key, *version)).await,
            Ask::Invalidate(scopes) => match scopes[..] {
                [Scope::All] => cache.clear().await,
                [Scope::Key(key)] => cache.invalidate(&key).await,
                [Scope::Tag(number)] => cache.invalidate_tag(&tag(number)).await,
                _ => {
                    let keys: Vec<u64> = scopes
                        .iter()
                        .filter_map(|scope| match scope {
                            Scope::Key(key) => Some(*key),
                            _ => None,
                        })
                        .collect();
                    let tags: Vec<_> = scopes
                        .iter()
                        .filter_map(|scope| match scope {
                            Scope::Tag(number) => Some(tag(*number)),
                            _ => None,
                        })
                        .collect();
                    cache.invalidate_many(&keys).await?;
                    cache.invalidate_tags(&tags).await
                }
            },
            _ => Ok(()),
        }
    }
}

/// Awaits a call. Returns `None` if its caller leaves.
async fn waited<T>(call: impl Future<Output = T>, fate: Fate) -> Option<T> {
    let Fate::Leaves { polls, after } = fate else { return Some(call.await) };
    let mut call = pin!(call);
    let mut left = polls;
    let answer = std::future::poll_fn(|context| {
        left = left.saturating_sub(1);
        match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if answer.is_none() && !after.is_zero() {
        // no longer polled, and not dropped yet
        tokio::time::sleep(after).await;
    }
    answer
}

fn answered(got: Result<Option<Versioned>>, from: &'static str) -> Answer {
    match got {
        Ok(Some((key, version))) => Answer::Found { seen: Seen::Version { key, version }, from },
        Ok(None) => Answer::Found { seen: Seen::Absent, from },
        Err(error) => failed(&error),
    }
}

fn fetched(found: Result<CachedEntry<Versioned>>) -> Answer {
    match found {
        Ok(found) => {
            let from = match found.origin {
                Origin::Near => "near",
                Origin::Far => "far",
                Origin::Loaded => "loaded",
                Origin::Joined => "joined",
                Origin::Stale => "stale",
                _ => "elsewhere",
            };
            answered(Ok(found.value.as_deref().copied()), from)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Answer {
    Answer::Failed(match error.kind() {
        ErrorKind::Source | ErrorKind::Panicked | ErrorKind::Timeout | ErrorKind::Overloaded => {
            Failure::Source
        }
        _ => Failure::Store,
    })
}
