//! What the server tells processes of its own accord.

use larder::Timestamp;
use tokio::sync::mpsc;

/// A message from the server about a change by anybody.
///
/// # Examples
/// See [`Pushes`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// The value of this key was written, removed, evicted or has expired.
    Changed {
        /// The namespace.
        namespace: String,
        /// The key, as [`larder::StoreKey::as_str`] has it.
        key: String,
    },
    /// A tag ledger changed.
    LedgerChanged {
        /// The namespace.
        namespace: String,
    },
    /// Everything is gone.
    Flushed,
    /// The connection was lost and is back: pushes between were lost.
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
    /// The next push; `None` when the server is gone.
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

    /// The next push, if it is there already.
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
    /// How many pushes there were for it, those that were lost included.
    pub(crate) told: u64,
    pub(crate) sender: mpsc::UnboundedSender<Message>,
}

impl Subscriber {
    /// Sends a push, unless it is to be lost; `false` when nobody receives any more.
    pub(crate) fn tell(&mut self, push: &Push, is_lost: bool) -> bool {
        self.told += 1;
        is_lost || self.sender.send(Message::Push(push.clone())).is_ok()
    }
}

/// What goes over a connection of its own accord, in order.
#[derive(Debug)]
pub(crate) enum Message {
    Push(Push),
    /// The answer to a beat: how many pushes there were before it, and when it was asked for by the subscriber's clock.
    Beat {
        told: u64,
        asked: Timestamp,
    },
}
