//! The key of a call.

use std::any::type_name_of_val;

use crate::cache::{Key, Value};
use crate::key::CallKey;
use crate::{Cache, CacheKey};

/// The key type by which functions share a cache.
#[diagnostic::on_unimplemented(
    message = "a function is cached by `CallKey`s, and the keys of this cache are of type `{Self}`",
    label = "not a cache of calls",
    note = "make it a `Cache<larder::key::CallKey, _>`, or say which of its keys is meant with an expression: `key = id`"
)]
pub trait IsCallKey: Key {
    fn of_calls<V>(cache: &Cache<Self, V>) -> &Cache<CallKey, V>
    where
        Self: Sized;
}

impl IsCallKey for CallKey {
    fn of_calls<V>(cache: &Cache<Self, V>) -> &Cache<CallKey, V> {
        cache
    }
}

/// Returns the cache that an attribute names, which must be one of calls.
pub fn of_calls<K: IsCallKey, V: Value>(cache: &Cache<K, V>) -> &Cache<CallKey, V> {
    K::of_calls(cache)
}

/// Returns the key of a function with a name of its own.
pub fn call_key(name: &str, parts: &[&dyn CacheKey]) -> CallKey {
    CallKey::new(name, parts.iter().copied())
}

/// Returns the key of a function that is named by its path.
///
/// The path is that of `here`, an item in a function called `within`, with the name of the cached function in its
/// place. `owner` is the type that the function belongs to.
///
/// The path of an item contains modules, functions around it and traits, but neither the arguments of a generic type
/// nor the type that implements a trait. So the type is the first part, unless the path is that of the type.
pub fn path_key<H>(
    here: &H,
    within: &str,
    name: &str,
    owner: Option<&str>,
    parts: &[&dyn CacheKey],
) -> CallKey {
    let path = type_name_of_val(here);
    let end = path.rfind(within).unwrap_or(path.len());
    let parent = path.get(..end).unwrap_or(path);
    let owner = owner.filter(|owner| parent.strip_suffix("::") != Some(owner));
    let mut full = String::with_capacity(parent.len() + name.len());
    full.push_str(parent);
    full.push_str(name);
    let owner = owner.as_ref().map(|owner| owner as &dyn CacheKey);
    CallKey::at(&full, owner.into_iter().chain(parts.iter().copied()))
}
