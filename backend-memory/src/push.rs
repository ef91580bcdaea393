//! What the server tells processes of its own accord.

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
pub struct Pushes(pub(crate) mpsc::UnboundedReceiver<Push>);

impl Pushes {
    /// The next push; `None` when the server is gone.
    ///
    /// # Cancellation safety
    /// Safe: no push is lost.
    pub async fn next(&mut self) -> Option<Push> {
        self.0.recv().await
    }

    /// The next push, if it is there already.
    pub fn try_next(&mut self) -> Option<Push> {
        self.0.try_recv().ok()
    }
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) process: String,
    pub(crate) sender: mpsc::UnboundedSender<Push>,
}
