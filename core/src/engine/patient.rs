//! Reads of callers that cannot be told of an overload or a timeout: cached functions without a `Result`.

use std::sync::Arc;
use std::time::Duration;

use super::load::{Approach, Load, Loader, Plan};
use super::read::Answer;
use super::{Engine, Key, Value};
use crate::{Error, ErrorKind, Result};

/// The pause of a patient load that failed because of its lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Returns `true` if `error` is about the load's wait or time, and not about its result.
pub(crate) fn is_of_load(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Timeout)
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Acts as [`read_source`](Self::read_source) for a caller that cannot be told of an overload or a timeout: such an
    /// error is answered by another load, which is shared like all others, and has no time limit.
    pub(crate) async fn read_patiently(
        self: &Arc<Self>,
        key: &K,
        approach: Approach,
        load: impl Fn() -> Loader<V> + Send,
    ) -> Result<Answer<V>> {
        let start = self.sequence.now();
        loop {
            let mut plan = Some(Plan::new(Load::Patient(load()), approach));
            match self.read_source(key, start, &mut plan).await {
                Err(error) if is_of_load(&error) => {}
                answer => return answer,
            }
            if plan.is_none() {
                // only the lock is left as the reason
                tokio::time::sleep(LOCK_PAUSE).await;
            }
        }
    }
}
