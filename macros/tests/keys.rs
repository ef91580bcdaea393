//! Keys are injective: default keys of functions, and those that are derived.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::LazyLock;

use common::calls;
use larder::key::{CallKey, StoreKey};
use larder::{Cache, CacheKey, Tag, cached};
use proptest::prelude::*;

static NAMES: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);

#[derive(Debug, Clone, PartialEq, Eq, Hash, CacheKey)]
struct Page {
    site: String,
    number: Option<i8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, CacheKey)]
enum Filter {
    All,
    #[cache_key(rename = "by-name")]
    ByName(String),
    Between(i8, i8),
    Within {
        page: Page,
        #[cache_key(rename = "d")]
        depth: u8,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, CacheKey)]
struct Id(u64);

#[derive(Debug, Clone, PartialEq, Eq, Hash, CacheKey)]
struct Pair(u8, String);

#[derive(Debug, Clone, PartialEq, Eq, Hash, CacheKey)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Eq, Hash, CacheKey)]
enum Never {}

struct NotAKey;

#[derive(CacheKey)]
struct Skips<'a, T, U: ?Sized> {
    #[cache_key(skip)]
    _connection: NotAKey,
    id: T,
    #[cache_key(skip)]
    _unused: std::marker::PhantomData<U>,
    r#type: &'a str,
    list: Vec<T>,
}

#[derive(CacheKey)]
struct Wraps<T>(
    T,
    #[cache_key(skip)]
    #[allow(dead_code)]
    NotAKey,
);

fn written(key: &impl CacheKey) -> String {
    StoreKey::new(key).as_str().to_owned()
}

/// Golden: another version, and other languages, must write the same.
#[test]
fn every_derived_shape_has_its_written_form() {
    let page = Page { site: "a b".into(), number: Some(3) };
    assert_eq!(written(&page), "(site:=a%20b,number:+3)");
    assert_eq!(written(&Filter::All), "All");
    assert_eq!(written(&Filter::ByName("x".into())), "by-name(=x)");
    assert_eq!(written(&Filter::Between(-1, 2)), "Between(-1,2)");
    assert_eq!(written(&Filter::Within { page, depth: 7 }), "Within(page:(site:=a%20b,number:+3),d:7)");
    assert_eq!(written(&Id(7)), "7");
    assert_eq!(written(&Pair(7, "x".into())), "(7,=x)");
    assert_eq!(written(&Unit), "_");
    assert_eq!(written(&None::<Never>), "!");
    let skips = Skips::<_, str> {
        _connection: NotAKey,
        id: 7u8,
        _unused: std::marker::PhantomData,
        r#type: "x",
        list: vec![1, 2],
    };
    assert_eq!(written(&skips), "(id:7,type:=x,list:[1,2])");
    assert_eq!(written(&Wraps(7, NotAKey)), "7");
    assert_eq!(Tag::new("filter", Filter::All).as_str(), "filter:All");
}

/// Text that is likely to collide: few characters, all of them special somewhere.
fn tricky() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a%,:=()+!\\[\\]{}# \u{0}-]{0,6}").unwrap()
}

fn page() -> impl Strategy<Value = Page> {
    (tricky(), proptest::option::of(any::<i8>())).prop_map(|(site, number)| Page { site, number })
}

fn filter() -> impl Strategy<Value = Filter> {
    prop_oneof![
        Just(Filter::All),
        tricky().prop_map(Filter::ByName),
        (any::<i8>(), any::<i8>()).prop_map(|(low, high)| Filter::Between(low, high)),
        (page(), any::<u8>()).prop_map(|(page, depth)| Filter::Within { page, depth }),
    ]
}

#[cached(cache = NAMES)]
async fn of_texts(one: &str, two: String, three: Option<&str>, four: &[String]) -> String {
    format!("{one} {two} {three:?} {four:?}")
}

#[cached(cache = NAMES)]
async fn of_filters(filter: &Filter, number: i8, texts: (String, bool)) -> String {
    format!("{filter:?} {number} {texts:?}")
}

#[cached(cache = NAMES, prefix = "templated", key = "{one}:text:{page.site}:{page.number}")]
async fn templated(one: &str, page: &Page) -> String {
    format!("{one} {page:?}")
}

type Texts = (String, String, Option<String>, Vec<String>);

fn texts() -> impl Strategy<Value = Texts> {
    (tricky(), tricky(), proptest::option::of(tricky()), proptest::collection::vec(tricky(), 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn different_texts_have_different_keys(one in texts(), two in texts()) {
        let key = |(one, two, three, four): &Texts| of_texts_key(one, two.clone(), three.as_deref(), four);
        prop_assert_eq!(one == two, key(&one) == key(&two));
        prop_assert_eq!(one == two, StoreKey::new(&key(&one)) == StoreKey::new(&key(&two)));
    }

    /// A fault of joined parts: one text cut at two places.
    #[test]
    fn a_text_cut_at_two_places_is_two_keys(text in tricky(), cuts in (0usize..7, 0usize..7)) {
        let (one, two) = (text.split_at(cuts.0.min(text.len())), text.split_at(cuts.1.min(text.len())));
        let key = |(one, two): (&str, &str)| of_texts_key(one, two.to_owned(), None, &[]);
        prop_assert_eq!(one == two, key(one) == key(two));
        let key = |(one, two): (&str, &str)| templated_key(one, &Page { site: two.to_owned(), number: None });
        prop_assert_eq!(one == two, key(one) == key(two));
    }

    #[test]
    fn different_filters_have_different_keys(
        one in (filter(), any::<i8>(), (tricky(), any::<bool>())),
        two in (filter(), any::<i8>(), (tricky(), any::<bool>())),
    ) {
        let key = |(filter, number, texts): &(Filter, i8, (String, bool))| of_filters_key(filter, *number, texts.clone());
        prop_assert_eq!(one == two, key(&one) == key(&two));
        prop_assert_eq!(one.0 == two.0, StoreKey::new(&one.0) == StoreKey::new(&two.0));
    }

    #[test]
    fn different_names_and_parts_are_different_calls(
        one in (tricky(), proptest::collection::vec(tricky(), 0..3)),
        two in (tricky(), proptest::collection::vec(tricky(), 0..3)),
    ) {
        let key = |(name, parts): &(String, Vec<String>)| CallKey::new(name, parts.iter().map(|part| part as &dyn CacheKey));
        prop_assert_eq!(one == two, key(&one) == key(&two));
        // within another key too
        prop_assert_eq!(one == two, StoreKey::new(&(key(&one), "x")) == StoreKey::new(&(key(&two), "x")));
        prop_assert_eq!((&one, &two) == (&two, &one), StoreKey::new(&(key(&one), key(&two))) == StoreKey::new(&(key(&two), key(&one))));
    }

    #[test]
    fn every_key_is_safe_in_every_store(name in any::<String>(), text in any::<String>()) {
        let key = StoreKey::new(&CallKey::new(&name, [&text as &dyn CacheKey, &Page { site: text.clone(), number: None }]));
        let safe = key.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte));
        prop_assert!(safe && !key.as_str().is_empty(), "a byte that is no plain ASCII");
    }
}

/// A prefix cannot be mistaken for a path: only paths have colons.
#[test]
fn names_are_no_paths() {
    assert_eq!(CallKey::new("keys::of_texts", []).as_str(), "keys%3A%3Aof_texts()");
    assert!(of_texts_key("", String::new(), None, &[]).as_str().starts_with("keys::of_texts("));
}
