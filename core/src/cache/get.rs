//! The future of a read, which is a hit most of the time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::Result;
use crate::backend::entry::Hit;
use crate::engine::{Engine, Key, Seen, Value};

/// A future that answers a hit at its first poll. If there is none, `rest` makes the future of the miss, on the heap.
///
/// An `async fn` would do the same, but it saves state for an interruption that a hit does not have, and takes a call
/// to drop it.
pub(crate) struct Get<'a, K: Key, V, R> {
    engine: &'a Arc<Engine<K, V>>,
    key: &'a K,
    state: State<'a, V, R>,
}

enum State<'a, V, R> {
    Looks(R),
    /// A future of an erased type. Otherwise the drop of a read would be too long to be inlined with a hit.
    Waits(BoxFuture<'a, Result<Option<Arc<V>>>>),
    Taken,
}

impl<'a, K: Key, V: Value, R, F> Get<'a, K, V, R>
where
    R: FnOnce(&'a Arc<Engine<K, V>>, &'a K, Seen) -> F,
    F: Future<Output = Result<Option<Arc<V>>>> + Send + 'a,
{
    #[inline]
    pub(crate) fn new(engine: &'a Arc<Engine<K, V>>, key: &'a K, rest: R) -> Self {
        Self { engine, key, state: State::Looks(rest) }
    }

    #[inline(never)]
    fn wait(&mut self, seen: Seen, context: &mut Context<'_>) -> Poll<Result<Option<Arc<V>>>> {
        let state = std::mem::replace(&mut self.state, State::Taken);
        let mut rest = match state {
            State::Looks(rest) => Box::pin(rest(self.engine, self.key, seen)) as BoxFuture<'a, _>,
            State::Waits(rest) => rest,
            State::Taken => {
                unreachable!("it is put back below, unless that panicked: then nobody polls again")
            }
        };
        let answer = rest.as_mut().poll(context);
        self.state = State::Waits(rest);
        answer
    }
}

// nothing in it is pinned in place: the waiting future is on the heap
impl<K: Key, V, R> Unpin for Get<'_, K, V, R> {}

impl<'a, K: Key, V: Value, R, F> Future for Get<'a, K, V, R>
where
    R: FnOnce(&'a Arc<Engine<K, V>>, &'a K, Seen) -> F,
    F: Future<Output = Result<Option<Arc<V>>>> + Send + 'a,
{
    type Output = Result<Option<Arc<V>>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Option<Arc<V>>>> {
        let mut seen = Seen::Nothing;
        if matches!(self.state, State::Looks(_))
            && let Some(Hit(value)) = self.engine.hit(self.key, &mut seen)
        {
            return Poll::Ready(Ok(value));
        }
        self.wait(seen, context)
    }
}
