//! Properties of a source of many keys.

use std::fmt::Debug;

use larder::source::BatchSource;

/// `load_many` answers each key as `load` does, at its own position. An empty list of keys is no error.
pub async fn load_many_agrees_with_load<K, S>(source: &S, keys: &[K])
where
    K: Debug,
    S: BatchSource<K>,
    S::Value: PartialEq + Debug,
    S::Error: Debug,
{
    let many = source.load_many(keys).await.expect("load_many answers");
    assert_eq!(many.len(), keys.len(), "one answer for each key");
    for (key, value) in keys.iter().zip(many) {
        assert_eq!(value, source.load(key).await.expect("load answers"), "key {key:?}");
    }
    assert!(source.load_many(&[]).await.expect("no keys, no error").is_empty());
}
