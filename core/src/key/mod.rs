//! Keys: injective, readable, safe in every store.

mod call;

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

pub use self::call::CallKey;

/// The longest encoded key that is kept as it is; a longer one keeps a readable head and a digest.
const LONGEST: usize = 200;
/// How much of an over-long key stays readable.
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
/// | `vec![1u64, 2]` | `[1,2]` |
///
/// Bytes other than ASCII letters, digits and `-_./@~` are written as `%` and two capital hex digits. A key longer than
/// 200 bytes keeps its first 96, then `#` and a 128-bit digest; the whole key is then echoed in the stored header and
/// checked, so that a collision is a miss.
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
    note = "derive it (`#[derive(larder::CacheKey)]`, feature `macros`) or implement it by encoding the parts: `(self.a, self.b).encode(key)`; integers, strings, options, tuples, slices and byte arrays have it",
    note = "an argument of a `#[cached]` function that does not belong in the key is left out with `skip(..)`"
)]
pub trait CacheKey {
    /// Writes this key. Must be injective: what differs must be written differently.
    fn encode(&self, key: &mut KeyWriter);
}

/// Collects the parts of a key; see [`CacheKey`](trait@CacheKey) for the form.
///
/// # Examples
/// ```
/// use larder::key::KeyWriter;
/// let mut writer = KeyWriter::new();
/// writer.string("a b");
/// assert_eq!(writer.finish().as_str(), "=a%20b");
/// ```
#[derive(Debug, Default)]
pub struct KeyWriter(String);

impl KeyWriter {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self(String::with_capacity(32))
    }

    /// Writes a string part: `=` and the escaped text.
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.string("a b");
    /// assert_eq!(key.finish().as_str(), "=a%20b");
    /// ```
    pub fn string(&mut self, text: &str) {
        self.0.push('=');
        self.escaped(text);
    }

    /// Writes an integer part: its decimal digits.
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.integer(-7i64);
    /// assert_eq!(key.finish().as_str(), "-7");
    /// ```
    pub fn integer(&mut self, number: impl Into<IntegerKey>) {
        let mut digits = itoa::Buffer::new();
        self.0.push_str(match number.into().0 {
            Number::Signed(number) => digits.format(number),
            Number::Unsigned(number) => digits.format(number),
            Number::WideSigned(number) => digits.format(number),
            Number::WideUnsigned(number) => digits.format(number),
        });
    }

    /// Writes raw bytes (an identifier, a digest): `x` and hex digits.
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.bytes(&[1, 255]);
    /// assert_eq!(key.finish().as_str(), "x01ff");
    /// ```
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.push('x');
        for byte in bytes {
            self.hex(*byte, b"0123456789abcdef");
        }
    }

    /// Writes a bare name, escaped and not empty: what tells the variants of an enum apart. What it is made of follows as
    /// [`parts`](Self::parts) or [`fields`](Self::fields).
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.name("Rgb");
    /// key.parts([&1 as &dyn larder::CacheKey, &2, &3]);
    /// assert_eq!(key.finish().as_str(), "Rgb(1,2,3)");
    /// ```
    pub fn name(&mut self, name: &str) {
        self.escaped(name);
    }

    /// Writes named parts between brackets: the fields of a struct, in an order that must stay.
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.fields([("site", &"news" as &dyn larder::CacheKey), ("number", &3)]);
    /// assert_eq!(key.finish().as_str(), "(site:=news,number:3)");
    /// ```
    pub fn fields<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, &'a dyn CacheKey)>) {
        self.punctuation('(');
        for (index, (name, field)) in fields.into_iter().enumerate() {
            if index > 0 {
                self.punctuation(',');
            }
            self.escaped(name);
            self.punctuation(':');
            field.encode(self);
        }
        self.punctuation(')');
    }

    /// Writes parts between brackets: what a struct of one's own or an enum variant is made of.
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.parts([&"variant" as &dyn larder::CacheKey, &7]);
    /// assert_eq!(key.finish().as_str(), "(=variant,7)");
    /// ```
    pub fn parts<'a>(&mut self, parts: impl IntoIterator<Item = &'a dyn CacheKey>) {
        self.list('(', parts, ')');
    }

    fn list<'a>(&mut self, open: char, items: impl IntoIterator<Item = &'a dyn CacheKey>, close: char) {
        self.0.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            item.encode(self);
        }
        self.0.push(close);
    }

    pub(crate) fn escaped(&mut self, text: &str) {
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_./@~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0.push('%');
                self.hex(byte, b"0123456789ABCDEF");
            }
        }
    }

    pub(crate) fn punctuation(&mut self, mark: char) {
        self.0.push(mark);
    }

    /// Writes what was encoded before.
    pub(crate) fn encoded(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn hex(&mut self, byte: u8, digits: &[u8; 16]) {
        self.0.push(char::from(digits[usize::from(byte >> 4)]));
        self.0.push(char::from(digits[usize::from(byte & 15)]));
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// The finished key.
    ///
    /// # Examples
    /// ```
    /// let mut key = larder::key::KeyWriter::new();
    /// key.integer(7u8);
    /// assert_eq!(key.finish().as_str(), "7");
    /// ```
    #[must_use]
    pub fn finish(self) -> StoreKey {
        let short = (self.0.len() > LONGEST).then(|| {
            let digest = twox_hash::XxHash3_128::oneshot(self.0.as_bytes());
            format!("{}#{digest:032x}", &self.0[..HEAD]).into_boxed_str()
        });
        StoreKey { full: self.0, short }
    }
}

/// An integer of any width that can be a key.
///
/// # Examples
/// ```
/// let mut writer = larder::key::KeyWriter::new();
/// writer.integer(-3i8);
/// assert_eq!(writer.finish().as_str(), "-3");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct IntegerKey(Number);

#[derive(Debug, Clone, Copy)]
enum Number {
    Signed(i64),
    Unsigned(u64),
    // formatting these costs three times as much
    WideSigned(i128),
    WideUnsigned(u128),
}

/// A key as shared stores see it: printable ASCII, never empty, at most 229 bytes.
///
/// # Examples
/// ```
/// use larder::key::StoreKey;
/// let key = StoreKey::new(&("user", 7u64));
/// assert_eq!(key.as_str(), "(=user,7)");
/// let long = StoreKey::new(&"x".repeat(10_000));
/// assert_eq!(long.as_str().len(), 96 + 1 + 32);
/// assert_eq!(long.full().len(), 10_001);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey {
    full: String,
    short: Option<Box<str>>,
}

impl StoreKey {
    /// Encodes a key.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::key::StoreKey::new(&Some(7)).as_str(), "+7");
    /// ```
    #[must_use]
    pub fn new<K: CacheKey + ?Sized>(key: &K) -> Self {
        let mut writer = KeyWriter::new();
        key.encode(&mut writer);
        writer.finish()
    }

    /// The form that names the entry in the store.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::key::StoreKey::new(&("user", 7)).as_str(), "(=user,7)");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.full)
    }

    /// The whole encoded key, which the stored header echoes.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::key::StoreKey::new(&"x".repeat(500)).full().len(), 501);
    /// ```
    #[must_use]
    pub fn full(&self) -> &str {
        &self.full
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! integer_keys {
    ($variant:ident as $wide:ty: $($int:ty)*) => {$(
        impl From<$int> for IntegerKey {
            fn from(number: $int) -> Self {
                Self(Number::$variant(number as $wide))
            }
        }
        impl CacheKey for $int {
            fn encode(&self, key: &mut KeyWriter) {
                key.integer(*self);
            }
        }
    )*};
}
integer_keys!(Signed as i64: i8 i16 i32 i64 isize);
integer_keys!(Unsigned as u64: u8 u16 u32 u64 usize);
integer_keys!(WideSigned as i128: i128);
integer_keys!(WideUnsigned as u128: u128);

macro_rules! string_keys {
    ($($text:ty)*) => {$(
        impl CacheKey for $text {
            fn encode(&self, key: &mut KeyWriter) {
                key.string(self);
            }
        }
    )*};
}
string_keys!(str String Cow<'_, str>);

impl CacheKey for char {
    fn encode(&self, key: &mut KeyWriter) {
        key.string(self.encode_utf8(&mut [0; 4]));
    }
}

impl CacheKey for bool {
    fn encode(&self, key: &mut KeyWriter) {
        key.punctuation(if *self { 'T' } else { 'F' });
    }
}

impl CacheKey for () {
    fn encode(&self, key: &mut KeyWriter) {
        key.punctuation('_');
    }
}

impl<T: CacheKey> CacheKey for Option<T> {
    fn encode(&self, key: &mut KeyWriter) {
        match self {
            None => key.punctuation('!'),
            Some(inner) => {
                key.punctuation('+');
                inner.encode(key);
            }
        }
    }
}

macro_rules! transparent_keys {
    ($($pointer:ident)*) => {$(
        impl<T: CacheKey + ?Sized> CacheKey for $pointer<T> {
            fn encode(&self, key: &mut KeyWriter) {
                (**self).encode(key);
            }
        }
    )*};
}
transparent_keys!(Box Arc Rc);

impl<T: CacheKey + ?Sized> CacheKey for &T {
    fn encode(&self, key: &mut KeyWriter) {
        (**self).encode(key);
    }
}

/// A byte array: an identifier or a digest.
impl<const N: usize> CacheKey for [u8; N] {
    fn encode(&self, key: &mut KeyWriter) {
        key.bytes(self);
    }
}

impl<T: CacheKey> CacheKey for [T] {
    fn encode(&self, key: &mut KeyWriter) {
        key.list('[', self.iter().map(|item| item as &dyn CacheKey), ']');
    }
}

impl<T: CacheKey> CacheKey for Vec<T> {
    fn encode(&self, key: &mut KeyWriter) {
        self.as_slice().encode(key);
    }
}

#[cfg(feature = "uuid")]
impl CacheKey for uuid::Uuid {
    fn encode(&self, key: &mut KeyWriter) {
        key.bytes(self.as_bytes());
    }
}

macro_rules! tuple_keys {
    ($($name:ident)+) => {
        impl<$($name: CacheKey),+> CacheKey for ($($name,)+) {
            #[allow(non_snake_case)]
            fn encode(&self, key: &mut KeyWriter) {
                let ($($name,)+) = self;
                key.parts([$($name as &dyn CacheKey),+]);
            }
        }
    };
}
tuple_keys!(A);
tuple_keys!(A B);
tuple_keys!(A B C);
tuple_keys!(A B C D);
tuple_keys!(A B C D E);
tuple_keys!(A B C D E F);
tuple_keys!(A B C D E F G);
tuple_keys!(A B C D E F G H);

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn look_alikes_differ() {
        assert_ne!(encoded(&("a-b", "c")), encoded(&("a", "b-c")));
        assert_ne!(encoded(&("a,=b",)), encoded(&("a", "b")));
        assert_ne!(encoded("7"), encoded(&7u8));
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
