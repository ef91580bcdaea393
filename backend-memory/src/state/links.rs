//! The connections of processes, and what is pushed through them.

use tokio::sync::mpsc;

use super::State;
use crate::push::{Push, Subscriber};

/// A process's connection; processes are told apart by their names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    down: bool,
    cuts: u64,
}

impl State {
    /// Which connection the process has, `None` when it is cut off. One that was cut never comes back: the next has
    /// another number, so that what was under way on the old one is lost.
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
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.process == process) {
            // a receiver that is gone does not care
            _ = subscriber.sender.send(Push::Reconnected);
        }
    }

    pub(crate) fn subscribe(&mut self, process: &str) -> mpsc::UnboundedReceiver<Push> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push(Subscriber { process: process.to_owned(), sender });
        receiver
    }

    pub(crate) fn push(&mut self, push: &Push) {
        if self.drop_pushes {
            return;
        }
        let links = &self.links;
        let is_down = |process: &str| links.get(process).is_some_and(|link| link.down);
        self.subscribers.retain(|subscriber| {
            is_down(&subscriber.process) || subscriber.sender.send(push.clone()).is_ok()
        });
    }
}
