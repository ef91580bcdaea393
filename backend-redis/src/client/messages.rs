//! The channels of a client, and the tasks that wait for their messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The channels with waiters, shared by a client and its waiters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Messages(Arc<Mutex<HashMap<String, Channel>>>);

#[derive(Debug, Default)]
struct Channel {
    waiting: usize,
    arrived: Arc<Notify>,
}

impl Messages {
    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a waiter to a channel. Returns `true` for the first waiter, which must subscribe.
    pub(crate) fn join(&self, name: &str) -> (Arc<Notify>, bool) {
        let mut channels = self.channels();
        let channel = channels.entry(name.to_owned()).or_default();
        channel.waiting += 1;
        (Arc::clone(&channel.arrived), channel.waiting == 1)
    }

    /// Removes a waiter. Returns `true` for the last waiter, which must unsubscribe.
    pub(crate) fn leave(&self, name: &str) -> bool {
        let mut channels = self.channels();
        let Some(channel) = channels.get_mut(name) else { return false };
        channel.waiting -= 1;
        let last = channel.waiting == 0;
        if last {
            channels.remove(name);
        }
        last
    }

    /// Returns `true` if a channel has a waiter.
    pub(crate) fn is_waited_for(&self, name: &str) -> bool {
        self.channels().contains_key(name)
    }

    /// Wakes the waiters of a channel after a message.
    pub(crate) fn arrived(&self, name: &str) {
        if let Some(channel) = self.channels().get(name) {
            channel.arrived.notify_waiters();
        }
    }

    /// Wakes all waiters, after the connection was lost or replaced. They check again, since messages may have been
    /// missed.
    pub(crate) fn wake_all(&self) {
        self.channels().values().for_each(|channel| channel.arrived.notify_waiters());
    }

    /// The channels to subscribe to on a new connection.
    pub(crate) fn names(&self) -> Vec<String> {
        self.channels().keys().cloned().collect()
    }
}
