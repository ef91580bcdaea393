//! The strategies, one page each: what happens on a get, step by step, what is promised, and where the promise ends.
//!
//! They are parts of one pipeline and not wrappers around each other, so they can be combined in any order, and the order
//! makes no difference.
//!
//! | page | in one line | turned on by |
//! |---|---|---|
//! | [`aside`] | a miss loads, fills and answers | always |
//! | [`locked`] | one loader among processes | [`Strategy::locked`](crate::Strategy::locked) |
//! | [`stale`] | an old value at once while a new one is loaded, or because none can be had | [`stale_while_revalidate`](crate::Strategy::stale_while_revalidate), [`stale_if_error`](crate::Strategy::stale_if_error), [`soft_timeout`](crate::Strategy::soft_timeout), [`hard_timeout`](crate::Strategy::hard_timeout) |
//! | [`early`] | a new value before the old one is stale | [`early_refresh`](crate::Strategy::early_refresh) |
//! | [`tagged`] | many entries ended in one step | [`Strategy::tagged`](crate::Strategy::tagged), [`tag_keys`](crate::CacheBuilder::tag_keys), [`Loaded::tags`](crate::Loaded::tags) |
//! | [`conditional`] | a source that says "not modified" | [`conditional_source`](crate::CacheBuilder::conditional_source) |
//! | [`batch`] | many keys in one query | [`batch_source`](crate::CacheBuilder::batch_source), [`batch_window`](crate::Strategy::batch_window) |
//! | [`overload`] | a limit on loads | [`max_concurrent_loads`](crate::Strategy::max_concurrent_loads) |
//! | [`sources`] | sources made of others: fallback, retry, timeout, limit | [`Fallback`](crate::source::Fallback), [`Retry`](crate::source::Retry), [`SourceTimeout`](crate::source::SourceTimeout), [`SourceLimit`](crate::source::SourceLimit) |
//! | [`warm`] | keys loaded before they are asked for | [`Cache::warm`](crate::Cache::warm) |
//! | [`tiers`] | this process's memory before a shared store | [`Tiered`](crate::Tiered) |
//! | [`numbers`] | what a cache tells of itself | [`Cache::stats`](crate::Cache::stats), [`CacheBuilder::observer`](crate::CacheBuilder::observer) |
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
