//! The connections of processes, and their pushes.

use larder::clock::Timestamp;
use tokio::sync::mpsc;

use super::State;
use crate::push::{Message, Push, Subscriber};

/// The connection of a process. Processes are identified by their names. The server's own
/// network is one more link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    down: bool,
    cuts: u64,
}

impl Link {
    fn cut(&mut self) {
        self.cuts += u64::from(!self.down);
        self.down = true;
    }
}

impl State {
    /// Returns the number of the process's connection, or `None` if it is disconnected or the server is
    /// down. A new connection has another number, so that operations in progress on the old one are lost.
    pub(crate) fn link(&self, process: &str) -> Option<u64> {
        let link = self.links.get(process).copied().unwrap_or_default();
        // both only grow, so a sum that is the same means that neither was cut
        (!link.down && !self.network.down).then_some(link.cuts + self.network.cuts)
    }

    pub(crate) fn cut(&mut self, process: &str) {
        self.links.entry(process.to_owned()).or_default().cut();
    }

    pub(crate) fn mend(&mut self, process: &str) {
        self.links.entry(process.to_owned()).or_default().down = false;
        let is_lost = self.network.down;
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.process == process) {
            // a receiver that was dropped needs no push
            _ = subscriber.tell(&Push::Reconnected, is_lost);
        }
    }

    pub(crate) fn cut_all(&mut self) {
        self.network.cut();
    }

    /// Ends the cut of the server. Processes that are cut off by themselves stay so.
    pub(crate) fn mend_all(&mut self) {
        if std::mem::take(&mut self.network.down) {
            self.push(&Push::Reconnected);
        }
    }

    /// Adds a subscriber. Returns its number and the receiver of its messages.
    pub(crate) fn subscribe(&mut self, process: &str) -> (u64, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let number = self.fresh();
        self.subscribers.push(Subscriber { number, process: process.to_owned(), told: 0, sender });
        (number, receiver)
    }

    /// Sends a heartbeat to a subscriber, if it is connected: the number of pushes so far, after these pushes.
    pub(crate) fn beat(&mut self, number: u64, asked: Timestamp) {
        let subscriber = self.subscribers.iter().find(|subscriber| subscriber.number == number);
        if let Some(subscriber) = subscriber.filter(|subscriber| self.link(&subscriber.process).is_some()) {
            // a receiver that was dropped needs no heartbeat
            _ = subscriber.sender.send(Message::Beat { told: subscriber.told, asked });
        }
    }

    pub(crate) fn push(&mut self, push: &Push) {
        self.push_unless(push, None);
    }

    /// Sends a push to all subscribers except `by`.
    pub(crate) fn push_unless(&mut self, push: &Push, by: Option<u64>) {
        let links = &self.links;
        let is_down = |process: &str| links.get(process).is_some_and(|link| link.down);
        let all_lost = self.drop_pushes || self.network.down;
        self.subscribers.retain_mut(|subscriber| {
            if Some(subscriber.number) == by {
                return true;
            }
            let is_lost = all_lost || is_down(&subscriber.process);
            subscriber.tell(push, is_lost)
        });
    }
}
