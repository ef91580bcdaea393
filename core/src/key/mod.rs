//! Keys: injective, readable, safe in every store.

mod call;
mod impls;
mod store_key;
mod writer;

pub use self::call::CallKey;
pub use self::store_key::StoreKey;
pub use self::writer::{IntegerKey, KeyWriter};

/// The maximum length of an encoded key that is stored as it is. A longer one keeps a readable head and a digest.
const LONGEST: usize = 200;
/// The length of the readable head of a longer key.
const HEAD: usize = 96;

/// A type that can name an entry in a shared store.
///
/// The encoding is *injective* (two different keys of one type never meet), typed (`7` is not `"7"`), printable ASCII
/// without spaces or braces, and never empty:
///
/// | value | encoded |
/// |---|---|
/// | `7u64`, `-7i32` | `7`, `-7` |
/// | `"bread"`, `"a b"`, `""` | `=bread`, `=a%20b`, `=` |
/// | `true`, `false`, `()` | `T`, `F`, `_` |
/// | `None`, `Some(7)` | `!`, `+7` |
/// | `[1u8, 2]` (bytes: identifiers, digests) | `x0102` |
/// | `("a-b", "c")`, `("a", "b-c")` | `(=a-b,=c)`, `(=a,=b-c)` |
/// | `vec![1u64, 2]`, an ordered set of them | `[1,2]` |
/// | an ordered map | `[(=a,1),(=b,2)]` |
/// | `Duration` | its nanoseconds |
/// | `IpAddr`, `Path("/tmp/a b")` | `=127.0.0.1`, `[!/,=tmp,=a%20b]` |
///
/// Bytes other than ASCII letters, digits and `-_./@~` are written as `%` and two capital hex digits. A key longer
/// than 200 bytes keeps its first 96, then `#` and a 128-bit digest; the whole key is then echoed in the stored
/// header and checked, so that a collision is a miss.
///
/// # Examples
/// A key type of one's own says which parts make it up (with the feature `macros`, `#[derive(CacheKey)]` does):
/// ```
/// use larder::key::{KeyWriter, StoreKey};
/// use larder::CacheKey;
///
/// #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Page { site: String, number: u32 }
///
/// impl CacheKey for Page {
///     fn encode(&self, key: &mut KeyWriter) {
///         (self.site.as_str(), self.number).encode(key);
///     }
/// }
///
/// let key = StoreKey::new(&Page { site: "news".into(), number: 3 });
/// assert_eq!(key.as_str(), "(=news,3)");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name an entry in a shared store",
    label = "this key type has no `CacheKey`",
    note = "derive it (`#[derive(larder::CacheKey)]`, feature `macros`) or implement it by encoding the parts: `(self.a, self.b).encode(key)`; integers, strings, options, tuples, slices, byte arrays, paths, addresses, durations and ordered maps have it",
    note = "floats have none, since `NaN` differs from itself and `0.0` equals `-0.0`: encode an integer, such as cents",
    note = "an argument of a `#[cached]` function that does not belong in the key is left out with `skip(..)`"
)]
pub trait CacheKey {
    /// Writes this key. Must be injective: different keys must be written differently.
    fn encode(&self, key: &mut KeyWriter);
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn encoded<K: CacheKey + ?Sized>(key: &K) -> String {
        StoreKey::new(key).as_str().to_owned()
    }

    #[test]
    fn every_shape_has_its_written_form() {
        assert_eq!(encoded(&7u64), "7");
        assert_eq!(encoded(&i128::MIN), i128::MIN.to_string());
        assert_eq!(encoded("a b"), "=a%20b");
        assert_eq!(encoded(""), "=");
        assert_eq!(encoded(&(true, false, ())), "(T,F,_)");
        assert_eq!(encoded(&(None::<u8>, Some(7u8))), "(!,+7)");
        assert_eq!(encoded(&[1u8, 255]), "x01ff");
        assert_eq!(encoded(&vec![1u64, 2]), "[1,2]");
        assert_eq!(encoded("naïve{\0}"), "=na%C3%AFve%7B%00%7D");
        assert_eq!(encoded(&Duration::from_micros(3)), "3000");
        assert_eq!(encoded(&std::num::NonZeroU8::MIN), "1");
        assert_eq!(encoded(&std::net::IpAddr::from([127, 0, 0, 1])), "=127.0.0.1");
        assert_eq!(encoded(Path::new("/tmp/a b")), "[!/,=tmp,=a%20b]");
        assert_eq!(encoded(&BTreeSet::from([2u8, 1])), "[1,2]");
        assert_eq!(encoded(&BTreeMap::from([("b", 2u8), ("a", 1)])), "[(=a,1),(=b,2)]");
        assert_eq!(
            encoded(&(1u8, 2u8, 3u8, 4u8, 5u8, 6u8, 7u8, 8u8, 9u8, 10u8, 11u8, 12u8)),
            "(1,2,3,4,5,6,7,8,9,10,11,12)"
        );
    }

    #[test]
    fn look_alikes_differ() {
        assert_ne!(encoded(&("a-b", "c")), encoded(&("a", "b-c")));
        assert_ne!(encoded(&("a,=b",)), encoded(&("a", "b")));
        assert_ne!(encoded("7"), encoded(&7u8));
        assert_eq!(encoded(Path::new("a//b/")), encoded(Path::new("a/b")), "they are equal paths");
        assert_ne!(encoded(Path::new("a/b")), encoded(Path::new("a,=b")));
        assert_ne!(encoded(Path::new("/a")), encoded(Path::new("a")));
        assert_ne!(encoded("%20"), encoded(" "));
        assert_ne!(encoded(&Some("")), encoded(&None::<&str>));
        assert_ne!(encoded(&vec![vec![1u64], vec![2]]), encoded(&vec![vec![1u64, 2]]));
    }

    #[test]
    fn over_long_keys_keep_a_head_and_a_digest() {
        let one = "x".repeat(10_000);
        let two = format!("{}y", "x".repeat(9_999));
        assert_ne!(encoded(&one), encoded(&two));
        assert_eq!(encoded(&one).len(), HEAD + 33);
        // golden: another language must reach the same name
        assert_eq!(
            encoded(&one)[HEAD..].to_owned(),
            format!("#{:032x}", twox_hash::XxHash3_128::oneshot(format!("={one}").as_bytes()))
        );
    }
}
