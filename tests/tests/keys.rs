//! Keys are injective, for any content.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use larder::Tag;
use larder::key::StoreKey;
use proptest::prelude::*;

/// Text that is likely to collide: few characters, all of them special somewhere.
fn tricky() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a%,=()+!\\[\\]{}# \u{0}-]{0,6}").unwrap()
}

type Part = (Option<String>, Vec<u8>, (String, i8));

fn part() -> impl Strategy<Value = Part> {
    (proptest::option::of(tricky()), proptest::collection::vec(any::<u8>(), 0..3), (tricky(), any::<i8>()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn different_tuples_are_written_differently(one in (tricky(), tricky()), two in (tricky(), tricky())) {
        prop_assert_eq!(one == two, StoreKey::new(&one) == StoreKey::new(&two));
    }

    #[test]
    fn a_text_cut_at_two_places_is_two_keys(text in tricky(), cuts in (0usize..7, 0usize..7)) {
        // what joins of parts get wrong: "a,b" as ("a", ",b") and as ("a,", "b")
        let (one, two) = (text.split_at(cuts.0.min(text.len())), text.split_at(cuts.1.min(text.len())));
        prop_assert_eq!(one == two, StoreKey::new(&one) == StoreKey::new(&two));
        prop_assert_eq!(one == two, Tag::new(one.0, one.1) == Tag::new(two.0, two.1));
    }

    #[test]
    fn different_nests_are_written_differently(one in part(), two in part()) {
        prop_assert_eq!(one == two, StoreKey::new(&one) == StoreKey::new(&two));
    }

    #[test]
    fn different_lists_are_written_differently(
        one in proptest::collection::vec(tricky(), 0..4),
        two in proptest::collection::vec(tricky(), 0..4),
    ) {
        prop_assert_eq!(one == two, StoreKey::new(&one) == StoreKey::new(&two));
    }

    #[test]
    fn tags_are_injective(one in (tricky(), tricky()), two in (tricky(), tricky())) {
        prop_assert_eq!(one == two, Tag::new(&one.0, &one.1) == Tag::new(&two.0, &two.1));
    }

    #[test]
    fn every_key_is_safe_in_every_store(text in any::<String>()) {
        let key = StoreKey::new(&text);
        let name = key.as_str();
        prop_assert!(!name.is_empty() && name.len() <= 229);
        let safe = name.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte));
        prop_assert!(safe, "a byte that is no plain ASCII");
    }
}
