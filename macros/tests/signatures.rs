//! Signatures of all kinds, and what they cost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use common::{Counter, ShopError, calls};
use larder::key::CallKey;
use larder::{Cache, cached};

static NAMES: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);
static UNITS: LazyLock<Cache<CallKey, ()>> = LazyLock::new(calls);

#[cached(cache = NAMES)]
async fn of_a_lifetime<'a>(name: &'a str, other: Option<&'a str>) -> String
where
    'a: 'a,
{
    format!("{name} {other:?}")
}

#[cached(cache = NAMES)]
async fn r#match(r#type: u8) -> String {
    r#type.to_string()
}

#[cached(cache = NAMES, key = "{r#type}")]
async fn raw_in_a_template(r#type: u8) -> String {
    r#type.to_string()
}

#[cached(cache = UNITS)]
async fn nothing(_id: u64) {}

#[cached(cache = NAMES, skip(path))]
async fn unsized_and_shared(
    path: &Path,
    list: Arc<[u64]>,
    names: &[String],
    nested: &Option<Vec<(u8, bool)>>,
) -> String {
    format!("{} {list:?} {names:?} {nested:?}", path.display())
}

#[cached(cache = cache.clone(), skip(cache))]
async fn of_a_cache_that_is_handed_in(cache: &Cache<CallKey, String>, id: u64) -> Result<String, ShopError> {
    let _ = cache;
    Ok(id.to_string())
}

/// A cache that is made where it is first needed.
#[cached(cache = made().await)]
async fn of_a_cache_that_is_made(id: u64) -> String {
    id.to_string()
}

async fn made() -> &'static Cache<CallKey, String> {
    static MADE: tokio::sync::OnceCell<Cache<CallKey, String>> = tokio::sync::OnceCell::const_new();
    MADE.get_or_init(async || calls()).await
}

#[tokio::test]
async fn all_signatures_work() {
    for _ in 0..2 {
        assert_eq!(of_a_lifetime("a", Some("b")).await, "a Some(\"b\")");
        assert_eq!(r#match(7).await, "7");
        assert_eq!(raw_in_a_template(7).await, "7");
        nothing(7).await;
        let list: Arc<[u64]> = Arc::new([1, 2]);
        let text = unsized_and_shared(Path::new("/x"), list, &["y".to_owned()], &None).await;
        assert_eq!(text, "/x [1, 2] [\"y\"] None");
        let own = calls();
        assert_eq!(of_a_cache_that_is_handed_in(&own, 7).await, Ok("7".to_owned()));
        assert_eq!(own.stats().loads, 1);
        assert_eq!(of_a_cache_that_is_made(7).await, "7");
    }
    assert_eq!(match_key(7).as_str(), "signatures::match(7)");
    assert_eq!(UNITS.stats().loads, 1);
    assert_eq!(made().await.stats().loads, 1);
}

/// The arguments that a load owns are copied only if a value is loaded.
#[tokio::test]
async fn a_hit_copies_no_argument() {
    static COPIES: Counter = Counter::new();

    #[derive(Debug)]
    struct Copied;
    impl Clone for Copied {
        fn clone(&self) -> Self {
            COPIES.count();
            Self
        }
    }

    #[cached(cache = NAMES, skip(one, two))]
    async fn with(one: &Copied, two: Copied, id: u64) -> String {
        format!("{one:?} {two:?} {id}")
    }

    with(&Copied, Copied, 7).await;
    assert_eq!(COPIES.get(), 2);
    with(&Copied, Copied, 7).await;
    assert_eq!(COPIES.get(), 2);
}

#[tokio::test]
async fn a_call_is_small_and_can_be_sent() {
    fn sent<F: Future + Send>(future: &F) -> usize {
        size_of_val(future)
    }
    let size = sent(&r#match(7));
    assert!(size <= 512, "{size} bytes");
}
