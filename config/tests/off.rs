//! The error for a word whose feature is off; with all features on, each word is known.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use larder_config::StoreConfig;

macro_rules! words {
    ($($line:literal needs $feature:literal, as in $word:literal;)*) => {
        [$(($line, $word, $feature, cfg!(feature = $feature)),)*]
    };
}

#[test]
fn a_word_whose_feature_is_off_names_it() {
    let words = words! {
        "memory://" needs "memory", as in "memory://";
        "quick://" needs "quick", as in "quick://";
        "moka://" needs "moka", as in "moka://";
        "redis://h" needs "redis", as in "redis://";
        "redis+unix:///h" needs "redis", as in "redis+unix://";
        "redis-cluster://h" needs "redis", as in "redis-cluster://";
        "redis-sentinel://h/s" needs "redis", as in "redis-sentinel://";
        "rediss://h" needs "redis-tls", as in "rediss://";
        "rediss-cluster://h" needs "redis-tls", as in "rediss-cluster://";
        "rediss-sentinel://h/s" needs "redis-tls", as in "rediss-sentinel://";
        "redis://h?client=redis-rs" needs "redis", as in "client=redis-rs";
        "redis://h?client=fred" needs "fred", as in "client=fred";
        "redis://h" needs "json", as in "codec=json";
        "redis://h?codec=postcard" needs "postcard", as in "codec=postcard";
        "redis://h?codec=messagepack" needs "messagepack", as in "codec=messagepack";
        "redis://h?codec=bincode" needs "bincode", as in "codec=bincode";
        "redis://h?compression=zstd" needs "zstd", as in "compression=zstd";
        "redis://h?compression=lz4" needs "lz4", as in "compression=lz4";
        "redis://h?keys_env=KEYS" needs "encryption", as in "keys_env";
    };
    for (line, word, feature, enabled) in words {
        let wanted = format!("`{word}` is not compiled in: enable the feature `{feature}` of larder-config");
        match line.parse::<StoreConfig>() {
            Ok(_) => assert!(enabled, "{line} is taken without the feature {feature}"),
            Err(error) if enabled => {
                // another word of the line may be off
                assert!(
                    error.to_string().contains("is not compiled in") && !error.to_string().contains(&wanted),
                    "{error}"
                );
            }
            Err(error) => {
                let told = error.to_string();
                assert!(told.contains("is not compiled in"), "{line}: {told}");
                assert!(told.contains(&wanted) || !cfg!(feature = "redis"), "{line}: {told}");
            }
        }
    }
}
