//! Reads of callers that cannot be told of an overload or a timeout: cached functions without a `Result`.

use std::sync::Arc;
use std::time::Duration;

use super::load::{Approach, Load, Loader, Plan};
use super::read::Answer;
use super::{Engine, Key, Value};
use crate::{Error, ErrorKind, Result};

/// The pause before a patient read tries again.
const PAUSE: Duration = Duration::from_millis(10);

/// Returns `true` if `error` is about the load's wait or time, and not about its result.
pub(crate) fn is_of_load(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Timeout)
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Acts as [`read_source`](Self::read_source), or as [`refresh`](Self::refresh) by that approach, for a caller that
    /// cannot be told of an overload or a timeout: such an error is answered by another load, which is shared like all
    /// others, and has no time limit.
    pub(crate) async fn read_patiently(
        self: &Arc<Self>,
        key: &K,
        approach: Approach,
        load: impl Fn() -> Loader<V> + Send,
    ) -> Result<Answer<V>> {
        let start = self.sequence.now();
        loop {
            let load = Load::Patient(load());
            let answer = match approach {
                Approach::Refresh => self.refresh(key, load).await,
                _ => self.read_source(key, start, &mut Some(Plan::new(load, approach))).await,
            };
            match answer {
                // of the flight of another caller, or of the lock: this load is neither refused nor limited
                Err(error) if is_of_load(&error) => tokio::time::sleep(PAUSE).await,
                answer => return answer,
            }
        }
    }
}
