//! Dispatch of the server's pushes to a watcher.

use std::sync::{Arc, Weak};

use larder::backend::Watcher;
use larder::tag::Stamp;
use tokio::sync::mpsc;

use crate::memory::Memory;
use crate::mutation;
use crate::push::{Message, Push};

/// Starts the dispatch of the changes in a namespace to `watcher`. Returns the number of the new subscriber, or `None`
/// if there is no tokio runtime.
pub(crate) fn watch(memory: &Memory, namespace: String, watcher: Weak<dyn Watcher>) -> Option<u64> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let (number, messages) = memory.subscribe();
    let ledger = memory.server().state().stamp(&namespace);
    let teller = Teller { memory: memory.clone(), namespace, watcher, number, heard: 0, ledger };
    runtime.spawn(teller.run(messages));
    Some(number)
}

struct Teller {
    memory: Memory,
    namespace: String,
    watcher: Weak<dyn Watcher>,
    /// The number of this subscriber.
    number: u64,
    /// The number of pushes that have arrived.
    heard: u64,
    /// The stamp of the tag ledger that the watcher knows.
    ledger: Stamp,
}

impl Teller {
    /// Runs until the watcher is dropped: requests a heartbeat, and dispatches messages until the next one is due.
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        while let Some(watcher) = self.watcher.upgrade() {
            let (asked, pause) = (watcher.now(), watcher.max_staleness() / 3);
            drop(watcher);
            self.memory.server().state().beat(self.number, asked);
            let pause = tokio::time::sleep(pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    Some(message) = messages.recv() => {
                        let Some(watcher) = self.watcher.upgrade() else { return };
                        self.tell(&watcher, message);
                    }
                    () = &mut pause => break,
                }
            }
        }
    }

    fn tell(&mut self, watcher: &Arc<dyn Watcher>, message: Message) {
        match message {
            Message::Beat { told, asked } if told == self.heard => watcher.proven(asked),
            Message::Beat { asked, .. } if mutation::on("lost pushes are not noticed") => {
                watcher.proven(asked);
            }
            Message::Beat { told, .. } => {
                self.heard = told;
                self.lost(watcher);
            }
            Message::Push(push) => {
                self.heard += 1;
                match push {
                    Push::Changed { namespace, key } if namespace == self.namespace => {
                        watcher.changed(&format!("{namespace}:{key}"));
                    }
                    Push::LedgerChanged { namespace } if namespace == self.namespace => {
                        self.ledger_changed(watcher);
                    }
                    Push::Flushed | Push::Reconnected => self.lost(watcher),
                    Push::Changed { .. } | Push::LedgerChanged { .. } => {}
                }
            }
        }
    }

    fn lost(&mut self, watcher: &Arc<dyn Watcher>) {
        // in this order; prevents: an invalidation between the two that is neither received nor part of the stamp
        self.ledger = self.memory.server().state().stamp(&self.namespace);
        watcher.lost();
    }

    fn ledger_changed(&mut self, watcher: &Arc<dyn Watcher>) {
        let (ledger, ended) = self.memory.server().state().tags_since(&self.namespace, self.ledger);
        match ended {
            Some(ended) => {
                for (tag, count) in ended {
                    watcher.tags_ended(std::slice::from_ref(&tag), Stamp::new(ledger.ledger(), count));
                }
                self.ledger = ledger;
            }
            None => self.lost(watcher),
        }
    }
}
