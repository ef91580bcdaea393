//! The connections of processes, and their pushes.

use larder::Timestamp;
use tokio::sync::mpsc;

use super::State;
use crate::push::{Message, Push, Subscriber};

/// The connection of a process. Processes are identified by their names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    down: bool,
    cuts: u64,
}

impl State {
    /// Returns the number of the process's connection, or `None` if it is disconnected. A new connection has another
    /// number, so that operations in progress on the old one are lost.
    pub(crate) fn link(&self, process: &str) -> Option<u64> {
        let link = self.links.get(process).copied().unwrap_or_default();
        (!link.down).then_some(link.cuts)
    }

    pub(crate) fn cut(&mut self, process: &str) {
        let link = self.links.entry(process.to_owned()).or_default();
        link.cuts += u64::from(!link.down);
        link.down = true;
    }

    pub(crate) fn mend(&mut self, process: &str) {
        self.links.entry(process.to_owned()).or_default().down = false;
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.process == process) {
            // a receiver that is gone does not care
            _ = subscriber.tell(&Push::Reconnected, false);
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
        let links = &self.links;
        let is_up = |process: &str| links.get(process).is_none_or(|link| !link.down);
        let subscriber = self.subscribers.iter().find(|subscriber| subscriber.number == number);
        if let Some(subscriber) = subscriber.filter(|subscriber| is_up(&subscriber.process)) {
            // a receiver that is gone does not care
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
        let all_lost = self.drop_pushes;
        self.subscribers.retain_mut(|subscriber| {
            if Some(subscriber.number) == by {
                return true;
            }
            let is_lost = all_lost || is_down(&subscriber.process);
            subscriber.tell(push, is_lost)
        });
    }
}
