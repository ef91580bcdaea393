//! The settings of the attribute: keys, prefixes, TTLs, tags; and the companions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::{Counter, ShopError, calls, calls_at, minutes};
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::key::CallKey;
use larder::{Cache, CacheKey, Quick, Strategy, Tag, cached, source_fn};

static NAMES: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);

#[derive(Debug, Clone)]
struct User {
    id: u64,
    home: (String, u32),
}

impl CacheKey for User {
    fn encode(&self, key: &mut larder::key::KeyWriter) {
        self.id.encode(key);
    }
}

fn user(id: u64) -> User {
    User { id, home: ("north".to_owned(), 3) }
}

#[tokio::test]
async fn a_template_names_arguments_and_their_fields() {
    #[cached(cache = NAMES, prefix = "greeting", key = "by_user:{user.id}:{user.home.0}:{lang}")]
    async fn greeting(user: &User, lang: &str) -> String {
        format!("{lang} {}", user.home.1)
    }
    assert_eq!(greeting(&user(7), "en").await, "en 3");
    let key = greeting_key(&user(7), "en");
    assert_eq!(key.as_str(), "greeting(=by_user,7,=north,=en)");
    assert_eq!(key, CallKey::new("greeting", [&"by_user" as &dyn CacheKey, &7, &"north", &"en"]));
    assert!(NAMES.get_if_present(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_template_without_a_prefix_is_still_that_of_its_function() {
    #[cached(cache = NAMES, key = "{id}")]
    async fn one(id: u64) -> String {
        format!("one {id}")
    }
    #[cached(cache = NAMES, key = "{id}")]
    async fn two(id: u64) -> String {
        format!("two {id}")
    }
    assert_eq!((one(7).await, two(7).await), ("one 7".to_owned(), "two 7".to_owned()));
}

#[tokio::test]
async fn the_same_prefix_and_parts_are_the_same_entry() {
    #[cached(cache = NAMES, prefix = "shared")]
    async fn reads(id: u64) -> String {
        format!("read {id}")
    }
    #[cached(cache = NAMES, prefix = "shared", key = "{other.id}")]
    async fn reads_too(other: &User) -> String {
        format!("other {}", other.id)
    }
    assert_eq!(reads(7).await, "read 7");
    assert_eq!(reads_too(&user(7)).await, "read 7");
}

#[derive(Debug, Clone)]
struct NotAKey;

#[tokio::test]
async fn what_is_skipped_is_not_in_the_key() {
    #[cached(cache = NAMES, skip(connection))]
    async fn name(connection: &NotAKey, id: u64) -> String {
        format!("{connection:?} {id}")
    }
    #[cached(cache = NAMES, prefix = "by_id", key = "{id}", skip(_trace))]
    async fn named(id: u64, _trace: bool) -> String {
        id.to_string()
    }
    assert_eq!(name(&NotAKey, 7).await, "NotAKey 7");
    assert!(name_key(&NotAKey, 7).as_str().ends_with("::name(7)"), "{:?}", name_key(&NotAKey, 7));
    assert_eq!(named_key(7, true), named_key(7, false));
}

#[tokio::test]
async fn a_key_that_is_an_expression_is_one_of_the_caches_own() {
    static SQUARES: LazyLock<Cache<u64, u64>> = LazyLock::new(|| {
        Cache::builder()
            .backend(Quick::new(100))
            .source(source_fn(|n: u64| async move { Ok::<_, std::io::Error>(Some(n * n)) }))
            .strategy(Strategy::aside(minutes(1)))
            .build()
            .unwrap()
    });
    #[cached(cache = SQUARES, key = user.id)]
    async fn square(user: &User) -> Result<Option<u64>, ShopError> {
        Ok(Some(user.id * user.id))
    }
    assert_eq!(SQUARES.get(&3).await.unwrap().as_deref(), Some(&9));
    assert_eq!(square(&user(3)).await, Ok(Some(9)));
    assert_eq!(square(&user(4)).await, Ok(Some(16)));
    assert_eq!((SQUARES.stats().loads, SQUARES.stats().hits()), (2, 1));
    square_invalidate(&user(4)).await.unwrap();
    assert!(SQUARES.get_if_present(&4).await.unwrap().is_none());
}

#[tokio::test]
async fn a_ttl_is_kept_to_the_millisecond() {
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);
    static CACHE: LazyLock<Cache<CallKey, String>> = LazyLock::new(|| calls_at(&CLOCK));

    #[cached(cache = CACHE, ttl = "1h 1ms")]
    async fn written(id: u64) -> String {
        id.to_string()
    }
    #[cached(cache = CACHE, ttl = minutes(id))]
    async fn computed(id: u64) -> String {
        id.to_string()
    }
    #[cached(cache = CACHE)]
    async fn unsaid(id: u64) -> String {
        id.to_string()
    }

    let life = async |key: &CallKey| CACHE.get_if_present(key).await.unwrap().map(|found| found.expires_in());
    assert_eq!((written(7).await, computed(7).await), (unsaid(7).await, "7".to_owned()));
    assert_eq!(life(&written_key(7)).await, Some(Duration::from_millis(3_600_001)));
    assert_eq!(life(&computed_key(7)).await, Some(minutes(7)));
    assert_eq!(life(&unsaid_key(7)).await, Some(minutes(1)));
    written_insert(8, "8".to_owned()).await.unwrap();
    assert_eq!(life(&written_key(8)).await, Some(Duration::from_millis(3_600_001)));
}

#[tokio::test]
async fn tags_end_what_carries_them() {
    #[cached(cache = NAMES, tags = ["user:{user.id}", "home:{user.home.0}:{user.home.1}", "greetings", "lang:latin", Tag::new("kind", kind)])]
    async fn greeting(user: &User, kind: u64) -> String {
        format!("{kind} {}", user.id)
    }

    for tag in [
        Tag::new("user", 7),
        Tag::new("home", ("north", 3)),
        Tag::new("greetings", ()),
        Tag::new("lang", "latin"),
        Tag::new("kind", 1),
    ] {
        greeting(&user(7), 1).await;
        let key = greeting_key(&user(7), 1);
        assert!(NAMES.get_if_present(&key).await.unwrap().is_some());
        NAMES.invalidate_tag(&tag).await.unwrap();
        assert!(NAMES.get_if_present(&key).await.unwrap().is_none(), "{tag}");
    }
    greeting_insert(&user(7), 1, "by hand".to_owned()).await.unwrap();
    assert_eq!(greeting(&user(7), 1).await, "by hand");
    NAMES.invalidate_tag(&Tag::new("user", 7)).await.unwrap();
    assert_eq!(greeting(&user(7), 1).await, "1 7");
}

#[tokio::test]
async fn the_companions_do_what_they_say() {
    static RAN: Counter = Counter::new();

    #[cached(cache = NAMES)]
    async fn name(id: u64) -> Result<Option<String>, ShopError> {
        Ok(Some(format!("{id} {}", RAN.count())))
    }

    let run = |n: u64| Ok(Some(format!("7 {n}")));
    assert_eq!(name(7).await, run(1));
    assert_eq!(name_uncached(7).await, run(2));
    assert_eq!(name(7).await, run(1), "nothing was kept of the call past the cache");
    assert_eq!(name_refresh(7).await, run(3));
    assert_eq!(name(7).await, run(3));
    name_insert(7, Some("by hand".to_owned())).await.unwrap();
    assert_eq!(name(7).await, Ok(Some("by hand".to_owned())));
    name_invalidate(7).await.unwrap();
    assert_eq!(NAMES.get_if_present(&name_key(7)).await.unwrap().map(|found| found.origin), None);
    assert_eq!(name(7).await, run(4));
    assert_eq!(NAMES.get_entry(&name_key(7)).await.unwrap().origin, Origin::Near);
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_what_is_cached() {
    static RAN: Counter = Counter::new();

    #[cached(cache = NAMES)]
    async fn once() -> Result<String, ShopError> {
        if RAN.count() == 1 { Ok("once".to_owned()) } else { Err(ShopError::NoSuch(2)) }
    }
    assert_eq!(once().await, Ok("once".to_owned()));
    assert_eq!(once_refresh().await, Err(ShopError::NoSuch(2)));
    assert_eq!(once().await, Ok("once".to_owned()));
    // a failure by hand is told, and nothing is kept of it
    let error = once_insert_of_an_error().await.unwrap_err();
    assert_eq!(error.source_as::<ShopError>(), Some(&ShopError::NoSuch(3)));
    assert_eq!(once().await, Ok("once".to_owned()));
}

/// By another name, the value is the whole result.
type Text = Result<String, ShopError>;

async fn once_insert_of_an_error() -> larder::Result<()> {
    #[cached(cache = NAMES, prefix = "once_by_hand")]
    async fn once() -> Text {
        Ok("once".to_owned())
    }
    once_insert(Err(ShopError::NoSuch(3))).await
}

#[tokio::test]
async fn a_hit_by_a_key_of_the_caches_own_allocates_nothing() {
    static NUMBERS: LazyLock<Cache<u64, u64>> = LazyLock::new(|| {
        Cache::builder().backend(Quick::new(100)).strategy(Strategy::aside(minutes(1))).build().unwrap()
    });
    static CALLS: LazyLock<Cache<CallKey, u64>> = LazyLock::new(calls);

    #[cached(cache = NUMBERS, key = id)]
    async fn number(id: u64) -> Result<Option<u64>, ShopError> {
        Ok(Some(id))
    }
    #[cached(cache = CALLS, prefix = "called")]
    async fn called(id: u64, lang: &str) -> u64 {
        id + lang.len() as u64
    }

    let poll = |call: std::pin::Pin<&mut dyn Future<Output = ()>>| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.poll(&mut context).is_ready(), "a hit does not wait");
    };
    assert_eq!((number(7).await, called(7, "en").await), (Ok(Some(7)), 9));
    let own = allocation_counter::measure(|| {
        poll(std::pin::pin!(async { assert_eq!(number(7).await, Ok(Some(7))) }));
    });
    let call = allocation_counter::measure(|| {
        poll(std::pin::pin!(async { assert_eq!(called(7, "en").await, 9) }));
    });
    assert_eq!((own.count_total, call.count_total), (0, 1), "a key of a call is a text");
}
