//! The tag ledgers of the server.

use std::time::Duration;

use larder::tag::{LedgerView, Pruned, Stamp, TagLedger};
use larder::{Result, Tag};

use crate::memory::{Memory, Request};
use crate::record::OperationKind;

/// The tag ledger of one namespace.
///
/// # Examples
/// ```
/// use larder::tag::TagLedger;
/// use larder::Tag;
/// use larder_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// let ledger = MemoryServer::new().connect("one").ledger("product");
/// let (bread, cake) = (Tag::new("kind", "bread"), Tag::new("kind", "cake"));
/// let stamp = ledger.stamp().await?; // before a load begins
/// ledger.invalidate(std::slice::from_ref(&bread)).await?;
/// assert!(!ledger.view(&[bread]).await?.allows(stamp));
/// assert!(ledger.view(&[cake]).await?.allows(stamp));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct MemoryLedger {
    memory: Memory,
    namespace: String,
}

impl MemoryLedger {
    pub(crate) fn new(memory: Memory, namespace: String) -> Self {
        Self { memory, namespace }
    }

    fn request(&self, kind: OperationKind, tags: &[Tag]) -> Request {
        let keys = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
        Request { kind, namespace: self.namespace.clone(), keys }
    }
}

impl TagLedger for MemoryLedger {
    async fn stamp(&self) -> Result<Stamp> {
        let namespace = self.namespace.clone();
        let request = self.request(OperationKind::LedgerStamp, &[]);
        self.memory.ask(request, move |step| step.state.stamp(&namespace)).await
    }

    async fn invalidate(&self, tags: &[Tag]) -> Result<Stamp> {
        let (namespace, all) = (self.namespace.clone(), tags.to_vec());
        let request = self.request(OperationKind::LedgerInvalidate, tags);
        self.memory.ask(request, move |step| step.state.invalidate_tags(&namespace, &all)).await
    }

    async fn view(&self, tags: &[Tag]) -> Result<LedgerView> {
        let (namespace, all) = (self.namespace.clone(), tags.to_vec());
        let request = self.request(OperationKind::LedgerView, tags);
        self.memory.ask(request, move |step| step.state.view(&namespace, &all)).await
    }

    async fn prune(&self, count: u64, longest: Duration) -> Result<Pruned> {
        let namespace = self.namespace.clone();
        let request = self.request(OperationKind::LedgerPrune, &[]);
        self.memory.ask(request, move |step| step.state.prune(&namespace, count, longest)).await
    }
}
