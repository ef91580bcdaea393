//! Pushes in flight: late, and in order.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use larder::Tag;
use larder::backend::Watcher;
use larder::clock::Timestamp;
use larder::tag::Stamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::network::Link;

enum Message {
    Changed(String),
    TagsEnded(Vec<Tag>, Stamp),
    Lost,
    Proven(Timestamp),
}

/// Passes the store's notifications to a process after a delay.
pub(super) struct Delayed {
    watcher: Weak<dyn Watcher>,
    messages: mpsc::UnboundedSender<Message>,
}

impl fmt::Debug for Delayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delayed").finish_non_exhaustive()
    }
}

impl Delayed {
    pub(super) fn new(watcher: Weak<dyn Watcher>, link: Arc<Link>) -> Self {
        let (messages, arriving) = mpsc::unbounded_channel();
        tokio::spawn(deliver(Weak::clone(&watcher), arriving, link));
        Self { watcher, messages }
    }

    fn send(&self, message: Message) {
        // the process may have crashed
        _ = self.messages.send(message);
    }
}

async fn deliver(
    watcher: Weak<dyn Watcher>,
    mut arriving: mpsc::UnboundedReceiver<Message>,
    link: Arc<Link>,
) {
    let mut last = Instant::now();
    while let Some(message) = arriving.recv().await {
        let trip = link.push_trip();
        if !trip.is_zero() {
            last = last.max(Instant::now() + trip);
            tokio::time::sleep_until(last).await;
        }
        link.resumed().await;
        let Some(watcher) = watcher.upgrade() else { return };
        match message {
            Message::Changed(name) => watcher.changed(&name),
            Message::TagsEnded(tags, at) => watcher.tags_ended(&tags, at),
            Message::Lost => watcher.lost(),
            Message::Proven(since) => watcher.proven(since),
        }
    }
}

impl Watcher for Delayed {
    fn changed(&self, name: &str) {
        self.send(Message::Changed(name.to_owned()));
    }

    fn tags_ended(&self, tags: &[Tag], at: Stamp) {
        self.send(Message::TagsEnded(tags.to_vec(), at));
    }

    fn lost(&self) {
        self.send(Message::Lost);
    }

    fn now(&self) -> Timestamp {
        self.watcher.upgrade().map_or(Timestamp::ORIGIN, |watcher| watcher.now())
    }

    fn proven(&self, since: Timestamp) {
        self.send(Message::Proven(since));
    }

    fn max_staleness(&self) -> Duration {
        self.watcher.upgrade().map_or(Duration::from_secs(1), |watcher| watcher.max_staleness())
    }
}
