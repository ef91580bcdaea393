//! What shared state is guarded with: std's types, or shuttle's, which try out schedules, in tests under `--cfg shuttle`.

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
