//! The text of a key.

use super::{CacheKey, HEAD, LONGEST, StoreKey};

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
    /// Creates an empty writer.
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

    /// Writes a bare name, escaped and not empty, to distinguish the variants of an enum. Their content follows as
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

    /// Writes named parts between brackets: the fields of a struct, in an order that must not change.
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

    /// Writes parts between brackets: the content of your own struct or enum variant.
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

    pub(super) fn list<'a>(
        &mut self,
        open: char,
        items: impl IntoIterator<Item = &'a dyn CacheKey>,
        close: char,
    ) {
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
        self.escaped_bytes(text.as_bytes());
    }

    pub(super) fn escaped_bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
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

    /// Writes text that was encoded before.
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

    /// Returns the finished key.
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
