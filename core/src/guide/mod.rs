//! The strategies, one page each: the steps of a get, the promise, and its limits.
//!
//! Strategies are parts of one pipeline, not wrappers around each other. They can be combined in any order; the order
//! makes no difference.
//!
//! | page | in one line | turned on by |
//! |---|---|---|
//! | [`aside`] | a miss loads, fills and answers | always |
//! | [`locked`] | a distributed lock: one process loads | [`Strategy::locked`](crate::Strategy::locked) |
//! | [`stale`] | an entry past its TTL, while a new value is loaded or because the load fails | [`stale_while_revalidate`](crate::Strategy::stale_while_revalidate), [`stale_if_error`](crate::Strategy::stale_if_error), [`soft_timeout`](crate::Strategy::soft_timeout), [`hard_timeout`](crate::Strategy::hard_timeout) |
//! | [`early`] | a new value before the old one is stale | [`early_refresh`](crate::Strategy::early_refresh) |
//! | [`tagged`] | many entries invalidated in one step | [`Strategy::tagged`](crate::Strategy::tagged), [`tag_keys`](crate::CacheBuilder::tag_keys), [`Loaded::tags`](crate::Loaded::tags) |
//! | [`conditional`] | a source that answers "not modified" | [`conditional_source`](crate::CacheBuilder::conditional_source) |
//! | [`batch`] | many keys in one query | [`batch_source`](crate::CacheBuilder::batch_source), [`batch_window`](crate::Strategy::batch_window) |
//! | [`overload`] | a limit on loads | [`max_concurrent_loads`](crate::Strategy::max_concurrent_loads) |
//! | [`sources`] | sources made of others: fallback, retry, timeout, limit | [`Fallback`](crate::source::Fallback), [`Retry`](crate::source::Retry), [`SourceTimeout`](crate::source::SourceTimeout), [`SourceLimit`](crate::source::SourceLimit) |
//! | [`warm`] | keys loaded before a reader asks for them | [`Cache::warm`](crate::Cache::warm) |
//! | [`tiers`] | this process's memory (L1) before a shared store (L2) | [`Tiered`](crate::Tiered) |
//! | [`numbers`] | counters, events, details of one read | [`Cache::stats`](crate::Cache::stats), [`CacheBuilder::observer`](crate::CacheBuilder::observer) |
//! | [`decorator`] | functions whose calls are answered from a cache | `#[cached]`, feature `macros` |
//! | [`writes`] | invalidate, insert, and writers that may die | [`Cache::invalidate`](crate::Cache::invalidate), [`Cache::write_guard`](crate::Cache::write_guard) |

macro_rules! pages {
    ($($name:ident: $file:literal;)*) => {$(
        #[doc = include_str!($file)]
        pub mod $name {}
    )*};
}

pages! {
    aside: "aside.md";
    locked: "locked.md";
    stale: "stale.md";
    early: "early.md";
    tagged: "tagged.md";
    conditional: "conditional.md";
    batch: "batch.md";
    overload: "overload.md";
    sources: "sources.md";
    warm: "warm.md";
    tiers: "tiers.md";
    numbers: "numbers.md";
    writes: "writes.md";
}

#[cfg_attr(feature = "macros", doc = include_str!("decorator.md"))]
#[cfg_attr(
    not(feature = "macros"),
    doc = "Functions whose calls are answered from a cache: turn on the feature `macros`."
)]
pub mod decorator {}
