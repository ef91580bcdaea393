//! Properties of a backend within one process.

use std::sync::Arc;
use std::time::Duration;

use larder::backend::{BeginOutcome, Entry, Fence, FillOutcome, LoadIntent, WriteIntent};
use larder::clock::Timestamp;
use larder::tag::Pruned;
use larder::{CacheBackend, Tag};

use crate::{Fixture, Time};

const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

/// A backend with its fixture, and the calls that the properties consist of.
pub(crate) struct Bench<'a, B> {
    pub(crate) backend: B,
    time: &'a Time,
}

impl<'a, B: CacheBackend<String, String>> Bench<'a, B> {
    pub(crate) fn new(backend: B, time: &'a Time) -> Self {
        Self { backend, time }
    }

    fn now(&self) -> Timestamp {
        self.time.now()
    }

    pub(crate) fn entry(&self, value: &str, ttl: Duration) -> Entry<String> {
        Entry::new(Some(Arc::new(value.to_owned())), self.now(), ttl)
    }

    pub(crate) async fn begin(&self, key: &str, announce: LoadIntent) -> BeginOutcome<String> {
        self.backend.begin(&key.to_owned(), announce, self.now()).await.expect("begin answers")
    }

    /// Asks for a fence, which must be granted.
    pub(crate) async fn fence(&self, key: &str) -> Fence {
        self.granted(key, LoadIntent::shared(self.time.lease())).await
    }

    pub(crate) async fn granted(&self, key: &str, announce: LoadIntent) -> Fence {
        match self.begin(key, announce).await {
            BeginOutcome::Granted(fence) => fence,
            other => panic!("begin of {key:?} must grant a fence, and answered {other:?}"),
        }
    }

    pub(crate) async fn fill(&self, key: &str, fence: Fence, value: &str) -> FillOutcome {
        self.fill_entry(key, fence, self.entry(value, MINUTE)).await
    }

    pub(crate) async fn fill_entry(&self, key: &str, fence: Fence, entry: Entry<String>) -> FillOutcome {
        self.backend.fill(&key.to_owned(), fence, entry, self.now()).await.expect("fill answers")
    }

    pub(crate) async fn put(&self, key: &str, entry: Entry<String>) {
        self.backend.put(&key.to_owned(), entry, self.now()).await.expect("put answers");
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Entry<String>> {
        self.backend.get(&key.to_owned(), self.now()).await.expect("get answers")
    }

    pub(crate) async fn value(&self, key: &str) -> Option<String> {
        self.get(key).await.and_then(|entry| entry.value().map(ToString::to_string))
    }

    pub(crate) async fn remove(&self, key: &str) {
        self.backend.remove(&key.to_owned()).await.expect("remove answers");
    }

    pub(crate) fn tagged(&self, value: &str, tags: &[&str]) -> Entry<String> {
        self.entry(value, MINUTE).with_tags(tags.iter().map(|tag| Tag::new("suite", tag)))
    }

    pub(crate) async fn invalidate_tags(&self, tags: &[&str]) {
        let tags: Vec<Tag> = tags.iter().map(|tag| Tag::new("suite", tag)).collect();
        self.backend.invalidate_tags(&tags).await.expect("invalidate_tags answers");
    }

    /// Returns `true` if a key has an entry. All ways of reading must agree.
    async fn is_there(&self, key: &str) -> bool {
        let name = key.to_owned();
        let peeked = self.backend.peek(&name, self.now()).is_some();
        let many =
            self.backend.get_many(std::slice::from_ref(&name), self.now()).await.expect("get_many answers");
        let found = self.get(key).await.is_some();
        assert_eq!(many[0].is_some(), found, "{key:?}: get_many and get agree");
        assert!(found || !peeked, "{key:?}: a peek finds what a get does not");
        if !found {
            let begun = self.begin(key, LoadIntent::shared(self.time.lease())).await;
            assert!(!matches!(begun, BeginOutcome::Hit(_)), "{key:?}: begin finds what a get does not");
        }
        found
    }

    pub(crate) async fn guard(&self, key: &str, guard: WriteIntent) {
        self.backend.guard(&key.to_owned(), guard, self.now()).await.expect("guard answers");
    }

    pub(crate) async fn unguard(&self, key: &str, guard: WriteIntent) {
        self.backend.unguard(&key.to_owned(), guard, self.now()).await.expect("unguard answers");
    }

    async fn load(&self, key: &str, value: &str) {
        let fence = self.granted(key, LoadIntent::shared(self.time.lease()).despite_hit()).await;
        assert_eq!(
            self.fill(key, fence, value).await,
            FillOutcome::Stored,
            "a fill with a standing fence is stored"
        );
    }
}

macro_rules! bench {
    ($bench:ident, $fixture:ident) => {
        let $bench = Bench::new($fixture.open().await, $fixture.time());
    };
}

/// A filled key is read back; a key that was never filled is absent.
pub async fn a_fill_is_read_back<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    assert!(bench.get("a").await.is_none(), "an empty backend has nothing");
    bench.load("a", "bread").await;
    assert_eq!(bench.value("a").await.as_deref(), Some("bread"));
    assert!(bench.get("b").await.is_none(), "another key is still absent");
}

/// An entry that is dead at `now` is never returned, and a live one is, exact to the millisecond.
pub async fn an_entry_lives_exactly_its_ttl<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let (lease, slack) = (fixture.time().lease(), fixture.time().slack());
    for (key, ttl) in [("ms", MILLI), ("999", 999 * MILLI), ("1000", 1_000 * MILLI), ("1001", 1_001 * MILLI)]
    {
        bench.put(key, bench.entry(key, ttl)).await;
        if ttl >= slack {
            let remaining = bench.get(key).await.expect("alive when stored").remaining(fixture.time().now());
            assert!(remaining <= ttl, "{ttl:?} asked for, {remaining:?} left: a life is never lengthened");
        }
        fixture.time().advance(ttl.saturating_sub(slack)).await;
        if ttl > slack {
            assert!(bench.get(key).await.is_some(), "{ttl:?}: alive {slack:?} before its end");
        }
        fixture.time().advance(slack).await;
        assert!(bench.get(key).await.is_none(), "{ttl:?}: dead at its end");
        assert!(
            bench.backend.peek(&key.to_owned(), fixture.time().now()).is_none(),
            "{ttl:?}: dead to a peek"
        );
        let begun = bench.begin(key, LoadIntent::shared(lease)).await;
        assert!(
            matches!(begun, BeginOutcome::Granted(_)),
            "{ttl:?}: dead to a begin, which answered {begun:?}"
        );
    }
}

/// A TTL below a millisecond is rounded to at most one.
pub async fn a_tiny_ttl_does_not_become_for_ever<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    bench.put("a", bench.entry("bread", Duration::from_nanos(1))).await;
    fixture.time().advance(2 * MILLI).await;
    assert!(bench.get("a").await.is_none());
}

/// The longest duration means no expiry.
pub async fn the_longest_ttl_is_for_ever<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    bench.put("a", bench.entry("bread", Duration::MAX)).await;
    bench.put("b", bench.entry("cake", Duration::from_secs(50 * 365 * 86_400))).await;
    let entry = bench.get("a").await.expect("stored");
    assert_eq!(entry.value().map(|value| value.as_str()), Some("bread"));
    assert!(entry.remaining(fixture.time().now()) >= Duration::from_secs(86_400));
    assert!(bench.get("b").await.is_some());
}

/// Known absence is kept like a value, and differs from an unknown key.
pub async fn a_negative_entry_is_kept<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    let fence = bench.fence("a").await;
    let absent = Entry::new(None, fixture.time().now(), MINUTE);
    assert_eq!(bench.fill_entry("a", fence, absent).await, FillOutcome::Stored);
    assert!(bench.get("a").await.expect("kept").value().is_none());
    assert!(matches!(bench.begin("a", LoadIntent::shared(lease)).await, BeginOutcome::Hit(_)));
}

/// An overwrite leaves nothing of the previous entry: value, life, absence, cost.
pub async fn an_overwrite_leaves_nothing_of_before<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let short = 2 * fixture.time().slack();
    let now = fixture.time().now();
    bench.put("a", Entry::new(None, now, Duration::MAX).with_load_cost(MINUTE)).await;
    let bread = bench.entry("bread", short);
    let now = fixture.time().now();
    bench.put("a", bread).await;
    let entry = bench.get("a").await.expect("stored");
    assert_eq!(entry.value().map(|value| value.as_str()), Some("bread"));
    assert_eq!(entry.load_cost(), Duration::ZERO);
    assert!(entry.remaining(now) <= short);
    bench.put("a", bench.entry("cake", MINUTE)).await;
    fixture.time().advance(short).await;
    assert_eq!(bench.value("a").await.as_deref(), Some("cake"), "the short life is gone with its entry");
}

/// The cost of the load and the time of storing come back with the entry.
pub async fn an_entry_keeps_its_cost_and_age<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    bench.put("a", bench.entry("bread", MINUTE).with_load_cost(Duration::from_micros(1_500))).await;
    fixture.time().advance(7 * MILLI).await;
    let entry = bench.get("a").await.expect("stored");
    assert_eq!(entry.load_cost(), Duration::from_micros(1_500));
    let age = entry.age(fixture.time().now());
    assert!(age >= 6 * MILLI && age <= 1_000 * MILLI + fixture.time().slack(), "{age:?} after 7 ms");
}

/// `get_many` answers each key at its own position, even if the key occurs several times.
pub async fn get_many_is_aligned<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    for number in (0..300).step_by(3) {
        bench.put(&number.to_string(), bench.entry(&format!("value {number}"), MINUTE)).await;
    }
    let keys: Vec<String> = (0..300).rev().chain([6, 6, 7]).map(|number: u32| number.to_string()).collect();
    let found = bench.backend.get_many(&keys, fixture.time().now()).await.expect("get_many answers");
    assert_eq!(found.len(), keys.len(), "one answer for each key");
    for (key, entry) in keys.iter().zip(found) {
        let value = entry.and_then(|entry| entry.value().map(ToString::to_string));
        let expected =
            key.parse::<u32>().expect("a number").is_multiple_of(3).then(|| format!("value {key}"));
        assert_eq!(value, expected, "key {key}");
    }
    assert!(bench.backend.get_many(&[], fixture.time().now()).await.expect("no keys, no error").is_empty());
}

/// A fill without a fence, or with the fence of another load, is refused.
pub async fn a_fill_needs_its_own_fence<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    assert_eq!(bench.fill("a", Fence::created(12_345), "forged").await, FillOutcome::Refused);
    let of_b = bench.fence("b").await;
    assert_eq!(bench.fill("a", of_b, "of another key").await, FillOutcome::Refused);
    let of_a = bench.fence("a").await;
    assert_eq!(bench.fill("a", Fence::created(of_a.nonce() ^ 1), "forged").await, FillOutcome::Refused);
    assert!(bench.get("a").await.is_none());
    assert_eq!(bench.fill("a", of_a, "bread").await, FillOutcome::Stored);
}

/// A fill ends its fence, which is valid for one fill only.
pub async fn a_fence_is_good_for_one_fill<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let fence = bench.fence("a").await;
    assert_eq!(bench.fill("a", fence, "first").await, FillOutcome::Stored);
    assert_eq!(bench.fill("a", fence, "second").await, FillOutcome::Refused);
    assert_eq!(bench.value("a").await.as_deref(), Some("first"));
}

/// Each removal or write of a key revokes the fences that were granted before.
pub async fn a_removal_defeats_loads_announced_before<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let key = "a".to_owned();
    for way in ["remove", "remove_many", "clear", "put", "release"] {
        bench.remove("a").await;
        let fence = bench.fence("a").await;
        match way {
            "remove" => bench.remove("a").await,
            "remove_many" => {
                bench.backend.remove_many(&["z".to_owned(), key.clone()]).await.expect("remove_many answers");
            }
            "clear" => bench.backend.clear().await.expect("clear answers"),
            "put" => bench.put("a", bench.entry("written", MINUTE)).await,
            _ => bench.backend.release(&key, fence, fixture.time().now()).await.expect("release answers"),
        }
        assert_eq!(bench.fill("a", fence, "old").await, FillOutcome::Refused, "after {way}");
        assert_ne!(bench.value("a").await.as_deref(), Some("old"), "after {way}");
    }
}

/// A revoked fence is never valid again, even if another is granted for its key (ABA).
pub async fn a_lost_fence_never_stands_again<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lost = bench.fence("a").await;
    bench.remove("a").await;
    let standing = bench.fence("a").await;
    assert_ne!(lost.nonce(), standing.nonce(), "a nonce is never reused");
    assert_eq!(bench.fill("a", lost, "old").await, FillOutcome::Refused);
    assert_eq!(bench.fill("a", standing, "young").await, FillOutcome::Stored);
    assert_eq!(bench.value("a").await.as_deref(), Some("young"));
}

/// A fence ends with its lease, and not earlier.
pub async fn a_fence_ends_with_its_lease<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    let (early, late) = (bench.fence("a").await, bench.fence("b").await);
    fixture.time().advance(lease - fixture.time().slack()).await;
    assert_eq!(bench.fill("a", early, "in time").await, FillOutcome::Stored);
    fixture.time().advance(fixture.time().slack()).await;
    assert_eq!(bench.fill("b", late, "too late").await, FillOutcome::Refused);
    let now = fixture.time().now();
    let renewed = bench.backend.renew(&"b".to_owned(), late, lease, now).await.expect("renew answers");
    assert!(!renewed, "a lost fence cannot be renewed");
}

/// A renewed fence is valid for another lease from then.
pub async fn a_renewed_fence_stands_longer<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    let fence = bench.fence("a").await;
    for _ in 0..3 {
        fixture.time().advance(lease - fixture.time().slack()).await;
        let now = fixture.time().now();
        assert!(bench.backend.renew(&"a".to_owned(), fence, lease, now).await.expect("renew answers"));
    }
    assert_eq!(bench.fill("a", fence, "bread").await, FillOutcome::Stored);
}

/// Shared load intents of one key get one fence. The first fill is stored, the others are refused.
pub async fn shared_announcements_join_one_fence<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let (first, second) = (bench.fence("a").await, bench.fence("a").await);
    assert_eq!(first.nonce(), second.nonce());
    assert!(!first.is_joined() && second.is_joined(), "the second joined what the first created");
    assert_eq!(bench.fill("a", second, "second").await, FillOutcome::Stored);
    assert_eq!(bench.fill("a", first, "first").await, FillOutcome::Refused);
}

/// An exclusive load intent keeps the others out, for a bounded time, until it ends.
pub async fn an_exclusive_announcement_keeps_others_out<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    let holder = bench.granted("a", LoadIntent::exclusive(lease)).await;
    for announce in [LoadIntent::exclusive(lease), LoadIntent::shared(lease)] {
        match bench.begin("a", announce).await {
            BeginOutcome::Busy(left) => {
                assert!(left <= lease && !left.is_zero(), "busy for {left:?} of {lease:?}");
            }
            other => panic!("held exclusively, and begin answered {other:?}"),
        }
    }
    bench.granted("b", LoadIntent::exclusive(lease)).await;
    let now = fixture.time().now();
    bench.backend.release(&"a".to_owned(), holder, now).await.expect("release answers");
    let next = bench.granted("a", LoadIntent::exclusive(lease)).await;
    bench.backend.release(&"a".to_owned(), holder, now).await.expect("a stranger's release is no error");
    assert_eq!(
        bench.fill("a", next, "bread").await,
        FillOutcome::Stored,
        "and does not end the holder's fence"
    );
    bench.remove("a").await;
    bench.granted("a", LoadIntent::exclusive(lease)).await;
    fixture.time().advance(lease).await;
    bench.granted("a", LoadIntent::exclusive(lease)).await;
}

/// A request for a fence reads once more, unless it is told not to.
pub async fn begin_finds_what_was_filled_meanwhile<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    bench.load("a", "bread").await;
    match bench.begin("a", LoadIntent::shared(lease)).await {
        BeginOutcome::Hit(entry) => assert_eq!(entry.value().map(|value| value.as_str()), Some("bread")),
        other => panic!("there is a value, and begin answered {other:?}"),
    }
    let fence = bench.granted("a", LoadIntent::shared(lease).despite_hit()).await;
    assert_eq!(bench.value("a").await.as_deref(), Some("bread"), "a refresh leaves the value until it fills");
    assert_eq!(bench.fill("a", fence, "cake").await, FillOutcome::Stored);
    assert_eq!(bench.value("a").await.as_deref(), Some("cake"));
}

/// A removed key is absent, also to a peek. The removal of an absent key is no error.
pub async fn a_removed_key_is_gone<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    bench.remove("never there").await;
    bench.load("a", "bread").await;
    bench.load("b", "cake").await;
    bench.remove("a").await;
    assert!(bench.get("a").await.is_none());
    assert!(bench.backend.peek(&"a".to_owned(), fixture.time().now()).is_none());
    assert_eq!(bench.value("b").await.as_deref(), Some("cake"), "the other key stays");
}

/// `clear` leaves no entry, and the backend is usable after it.
pub async fn clear_leaves_nothing<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    for number in 0..100 {
        bench.put(&number.to_string(), bench.entry("x", MINUTE)).await;
    }
    bench.backend.clear().await.expect("clear answers");
    for number in 0..100 {
        assert!(bench.get(&number.to_string()).await.is_none(), "key {number}");
    }
    bench.load("1", "again").await;
    assert_eq!(bench.value("1").await.as_deref(), Some("again"));
}

/// Similar keys, and keys with special characters, stay apart.
pub async fn hostile_keys_stay_apart<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let long = "x".repeat(10_000);
    let longer = format!("{}y", "x".repeat(9_999));
    let keys = [
        "",
        " ",
        "  ",
        "\0",
        "\0\0",
        "a b",
        "a\nb",
        "a\r\nb",
        "{",
        "}",
        "{}",
        "{a}",
        "a{b}c",
        "a:b",
        "a::b",
        "%",
        "%20",
        "*",
        "?",
        "[a]",
        "naïve",
        "naive",
        "日本語",
        "\u{1F980}",
        "é",
        "e\u{301}",
        "a,b",
        "(a",
        "'",
        "\"",
        "\\",
        "=a",
        &long,
        &longer,
    ];
    for (number, key) in keys.iter().enumerate() {
        bench.load(key, &number.to_string()).await;
    }
    for (number, key) in keys.iter().enumerate() {
        let head: String = key.chars().take(20).collect();
        assert_eq!(bench.value(key).await, Some(number.to_string()), "key {head:?}");
    }
    for (number, key) in keys.iter().enumerate() {
        bench.remove(key).await;
        assert!(bench.get(key).await.is_none(), "key {number} was removed");
        for other in &keys[number + 1..] {
            assert!(bench.get(other).await.is_some(), "and no other with it");
        }
    }
}

/// Values come back unchanged, also large and odd ones.
pub async fn values_come_back_unchanged<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let odd: String = (0..2_000u32).filter_map(char::from_u32).collect();
    for (key, value) in [("empty", String::new()), ("odd", odd), ("large", "0123456789abcdef".repeat(65_536))]
    {
        bench.load(key, &value).await;
        assert_eq!(bench.value(key).await, Some(value), "{key}");
    }
}

/// A peek returns nothing, or the same as a get.
pub async fn a_peek_never_contradicts_a_get<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let steps: [(&str, Option<&str>); 4] =
        [("load", Some("1")), ("put", Some("2")), ("remove", None), ("put", Some("3"))];
    for (step, value) in steps {
        match value {
            Some(value) if step == "load" => bench.load("a", value).await,
            Some(value) => bench.put("a", bench.entry(value, MINUTE)).await,
            None => bench.remove("a").await,
        }
        let got = bench.value("a").await;
        assert_eq!(got.as_deref(), value, "after {step}");
        if let Some(entry) = bench.backend.peek(&"a".to_owned(), fixture.time().now()) {
            assert_eq!(entry.value().map(ToString::to_string), got, "after {step}");
        }
    }
}

/// Seeded interleavings of begins, fills and removals: a value whose load began before a removal is never read
/// after it.
pub async fn no_interleaving_revives_what_was_removed<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    let mut drawn: u64 = 42;
    let mut draw = |below: u64| {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (drawn >> 33) % below
    };
    let (mut step, mut removed_at, mut standing): (u64, [u64; 3], Vec<(usize, Fence, u64)>) =
        (0, [0; 3], vec![]);
    for _ in 0..3_000 {
        step += 1;
        let which = draw(3) as usize;
        let key = ["a", "b", "c"][which];
        match draw(10) {
            0..4 => {
                let fence = bench.granted(key, LoadIntent::shared(lease).despite_hit()).await;
                standing.push((which, fence, step));
            }
            4..8 if !standing.is_empty() => {
                let (which, fence, began) = standing.swap_remove(draw(standing.len() as u64) as usize);
                bench.fill(["a", "b", "c"][which], fence, &began.to_string()).await;
            }
            8 => {
                bench.remove(key).await;
                removed_at[which] = step;
            }
            _ => {
                if let Some(value) = bench.value(key).await {
                    let began: u64 = value.parse().expect("a step");
                    assert!(
                        began > removed_at[which],
                        "step {step}: {key} was removed at step {}, and a load of step {began} is read",
                        removed_at[which]
                    );
                }
            }
        }
    }
}

/// An entry that is kept longer than it is fresh comes back with both times, and is kept until the later one.
pub async fn a_stale_entry_is_kept<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let (fresh, slack) = (fixture.time().lease(), fixture.time().slack());
    let entry = bench.entry("bread", fresh).with_stale(2 * fresh);
    bench.put("put", entry.clone()).await;
    let fence = bench.fence("filled").await;
    assert_eq!(bench.fill_entry("filled", fence, entry).await, FillOutcome::Stored);
    let now = fixture.time().now();
    for key in ["put", "filled"] {
        let entry = bench.get(key).await.expect("fresh");
        assert!(entry.is_fresh(now), "{key}: fresh at first");
        assert!(
            entry.freshness(now) <= fresh && entry.remaining(now) <= 3 * fresh,
            "{key}: never lengthened"
        );
    }
    fixture.time().advance(fresh + slack).await;
    for key in ["put", "filled"] {
        let now = fixture.time().now();
        let entry = bench.get(key).await.expect("stale, and kept");
        assert!(!entry.is_fresh(now) && entry.is_alive(now), "{key}: stale after {fresh:?}");
    }
    fixture.time().advance(2 * fresh).await;
    assert!(bench.get("put").await.is_none() && bench.get("filled").await.is_none(), "dead at the hard TTL");
}

/// Tags and validator come back with the entry. Another entry under the key has none of them.
pub async fn an_entry_keeps_its_tags_and_validator<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let tagged = bench.tagged("bread", &["b", "a", "a", "a:b {c}"]).with_validator(Some("W/\"7\"".into()));
    bench.put("a", tagged.clone()).await;
    let found = bench.get("a").await.expect("stored");
    assert_eq!((found.tags(), found.validator()), (tagged.tags(), Some("W/\"7\"")));
    assert_eq!(found.tags().len(), 3, "each tag once");
    bench.put("a", bench.entry("cake", MINUTE)).await;
    let found = bench.get("a").await.expect("stored");
    assert!(found.tags().is_empty() && found.validator().is_none());
}

/// An invalidated tag ends the entries that carry it, put or filled, and no others.
pub async fn an_invalidated_tag_ends_its_entries<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    bench.put("red", bench.tagged("1", &["red"])).await;
    bench.put("both", bench.tagged("2", &["red", "blue"])).await;
    bench.put("blue", bench.tagged("3", &["blue"])).await;
    bench.put("none", bench.entry("4", MINUTE)).await;
    let fence = bench.fence("filled").await;
    assert_eq!(bench.fill_entry("filled", fence, bench.tagged("5", &["red"])).await, FillOutcome::Stored);
    for key in ["red", "both", "blue", "none", "filled"] {
        assert!(bench.is_there(key).await, "{key}");
    }
    bench.invalidate_tags(&["green"]).await;
    for key in ["red", "both", "blue", "none", "filled"] {
        assert!(bench.is_there(key).await, "{key}: nobody carries the green tag");
    }
    bench.invalidate_tags(&["red", "other"]).await;
    for key in ["red", "both", "filled"] {
        assert!(!bench.is_there(key).await, "{key} carried the tag");
    }
    assert!(bench.is_there("blue").await && bench.is_there("none").await, "the others stay");
    bench.put("red", bench.tagged("6", &["red"])).await;
    assert_eq!(bench.value("red").await.as_deref(), Some("6"), "the tag can be used again");
    bench.invalidate_tags(&["blue"]).await;
    assert!(!bench.is_there("blue").await && bench.is_there("red").await);
}

/// A load that began before the invalidation of a tag stores no entry that carries it. A later load does.
pub async fn a_tag_invalidation_defeats_loads_announced_before<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let (old, other) = (bench.fence("a").await, bench.fence("b").await);
    bench.invalidate_tags(&["red"]).await;
    assert_eq!(bench.fill_entry("a", old, bench.tagged("old", &["red"])).await, FillOutcome::Refused);
    assert!(!bench.is_there("a").await);
    assert_eq!(bench.fill_entry("b", other, bench.tagged("other", &["blue"])).await, FillOutcome::Stored);
    assert!(bench.is_there("b").await);
    let young = bench.granted("a", LoadIntent::shared(fixture.time().lease()).despite_hit()).await;
    assert_eq!(bench.fill_entry("a", young, bench.tagged("young", &["red"])).await, FillOutcome::Stored);
    assert_eq!(bench.value("a").await.as_deref(), Some("young"));
}

/// A pruned tag ends only entries that are older than the pruning, and never restores one.
pub async fn pruning_tags_revives_nothing<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    bench.put("old", bench.tagged("1", &["red"])).await;
    let tags = [Tag::new("suite", "red")];
    let count = bench.backend.invalidate_tags(&tags).await.expect("invalidate_tags answers").count();
    bench.put("young", bench.tagged("2", &["red", "blue"])).await;
    assert_eq!(
        bench.backend.prune_tags(count, Duration::MAX).await.expect("prune_tags answers"),
        Pruned::Removed(1)
    );
    assert!(!bench.is_there("old").await, "still ended");
    assert!(bench.is_there("young").await, "stamped at the floor, and not below");
    bench.invalidate_tags(&["blue"]).await;
    assert!(!bench.is_there("young").await);
}

/// While a write guard exists, its key is absent and cannot be stored, by a load or by a put.
pub async fn a_guard_keeps_a_key_out<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let lease = fixture.time().lease();
    let [one, two] = [WriteIntent::new(1, 10 * MINUTE), WriteIntent::new(2, 10 * MINUTE)];
    bench.put("a", bench.entry("old", MINUTE)).await;
    let announced = bench.granted("a", LoadIntent::shared(lease).despite_hit()).await;
    bench.guard("a", one).await;
    assert!(!bench.is_there("a").await, "gone when the write begins");
    assert_eq!(
        bench.fill("a", announced, "old").await,
        FillOutcome::Refused,
        "a load announced before stores nothing"
    );
    assert!(matches!(bench.begin("a", LoadIntent::shared(lease)).await, BeginOutcome::Guarded));
    bench.put("a", bench.entry("put", MINUTE)).await;
    assert!(!bench.is_there("a").await, "a put stores nothing");
    bench.guard("a", two).await;
    bench.unguard("a", one).await;
    assert!(
        matches!(bench.begin("a", LoadIntent::shared(lease)).await, BeginOutcome::Guarded),
        "the other write goes on"
    );
    bench.put("b", bench.entry("bread", MINUTE)).await;
    assert!(bench.is_there("b").await, "another key is free");
    bench.guard("a", one).await;
    bench.unguard("a", one).await;
    bench.unguard("a", one).await;
    assert!(
        matches!(bench.begin("a", LoadIntent::shared(lease)).await, BeginOutcome::Guarded),
        "whichever ends first"
    );
    bench.unguard("a", two).await;
    bench.load("a", "new").await;
    assert_eq!(bench.value("a").await.as_deref(), Some("new"));
}

/// The write guard of a crashed writer expires.
pub async fn a_guard_ends_with_its_life<F: Fixture>(fixture: F) {
    bench!(bench, fixture);
    let life = fixture.time().lease();
    bench.guard("a", WriteIntent::new(1, life)).await;
    assert!(matches!(bench.begin("a", LoadIntent::shared(life)).await, BeginOutcome::Guarded));
    fixture.time().advance(life + MILLI).await;
    bench.load("a", "bread").await;
    assert!(bench.is_there("a").await);
    // a writer that outlived its guard: an entry stored meanwhile may be older than its commit
    let late = bench.granted("b", LoadIntent::shared(life)).await;
    bench.unguard("a", WriteIntent::new(1, life)).await;
    bench.unguard("b", WriteIntent::new(2, life)).await;
    assert!(!bench.is_there("a").await, "the end of a write is an invalidation");
    assert_eq!(bench.fill("b", late, "old").await, FillOutcome::Refused);
}
