//! Who waits for a message of which channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The channels that somebody waits for, shared by a client and its waiters.
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

    /// Begins to wait for a channel; the first of several must subscribe.
    pub(crate) fn join(&self, name: &str) -> (Arc<Notify>, bool) {
        let mut channels = self.channels();
        let channel = channels.entry(name.to_owned()).or_default();
        channel.waiting += 1;
        (Arc::clone(&channel.arrived), channel.waiting == 1)
    }

    /// Ends a wait; `true` for the last of several, who must unsubscribe.
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

    /// Whether somebody waits for a channel.
    pub(crate) fn is_waited_for(&self, name: &str) -> bool {
        self.channels().contains_key(name)
    }

    /// A message arrived.
    pub(crate) fn arrived(&self, name: &str) {
        if let Some(channel) = self.channels().get(name) {
            channel.arrived.notify_waiters();
        }
    }

    /// The connection was lost or is new: messages may have been missed, so everybody looks for themselves.
    pub(crate) fn wake_all(&self) {
        self.channels().values().for_each(|channel| channel.arrived.notify_waiters());
    }

    /// The channels to subscribe to on a new connection.
    pub(crate) fn names(&self) -> Vec<String> {
        self.channels().keys().cloned().collect()
    }
}
