//! Notifications that the server pushes to processes.

use larder::clock::Timestamp;
use tokio::sync::mpsc;

/// A notification from the server, about a change by this process or another.
///
/// # Examples
/// See [`Pushes`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// The value of this key was written, removed or evicted, or has expired.
    Changed {
        /// The namespace.
        namespace: String,
        /// The key, as [`larder::key::StoreKey::as_str`] returns it.
        key: String,
    },
    /// A tag ledger changed.
    LedgerChanged {
        /// The namespace.
        namespace: String,
    },
    /// All data was removed or replaced, by a flush or a restart.
    Flushed,
    /// The connection was lost and restored. Pushes in between were lost.
    Reconnected,
}

/// The pushes that a process receives, in the order of the changes.
///
/// # Examples
/// ```
/// use larder_memory::{MemoryServer, Push};
/// let server = MemoryServer::new();
/// let mut pushes = server.connect("one").pushes();
/// server.flush();
/// assert_eq!(pushes.try_next(), Some(Push::Flushed));
/// assert_eq!(pushes.try_next(), None);
/// ```
#[derive(Debug)]
pub struct Pushes(pub(crate) mpsc::UnboundedReceiver<Message>);

impl Pushes {
    /// Waits for the next push. Returns `None` if the server no longer exists.
    ///
    /// # Cancellation safety
    /// Safe: no push is lost.
    pub async fn next(&mut self) -> Option<Push> {
        loop {
            if let Message::Push(push) = self.0.recv().await? {
                return Some(push);
            }
        }
    }

    /// Returns the next push if one has arrived.
    pub fn try_next(&mut self) -> Option<Push> {
        match self.0.try_recv().ok()? {
            Message::Push(push) => Some(push),
            // asked for by watchers alone
            Message::Beat { .. } => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) number: u64,
    pub(crate) process: String,
    /// The number of pushes for this subscriber, including lost ones.
    pub(crate) told: u64,
    pub(crate) sender: mpsc::UnboundedSender<Message>,
}

impl Subscriber {
    /// Sends a push, unless it is to be lost. Returns `false` if the receiver no longer exists.
    pub(crate) fn tell(&mut self, push: &Push, is_lost: bool) -> bool {
        self.told += 1;
        is_lost || self.sender.send(Message::Push(push.clone())).is_ok()
    }
}

/// A message from the server to a subscriber. Messages arrive in order.
#[derive(Debug)]
pub(crate) enum Message {
    Push(Push),
    /// The heartbeat: the number of pushes before it, and the time of its request by the subscriber's clock.
    Beat {
        told: u64,
        asked: Timestamp,
    },
}
