//! The keys for encryption.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::Generate as _;
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305};
use larder::{Error, Result};
use zeroize::{Zeroize as _, Zeroizing};

/// A key of 256 random bits. Never printed, and overwritten when dropped.
///
/// # Examples
/// ```
/// use larder_codecs::SecretKey;
/// let key = SecretKey::from_hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")?;
/// assert_eq!(format!("{key:?}"), "SecretKey(..)");
/// assert!(SecretKey::from_hex("0001").is_err());
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Makes a key of these bytes, which must be random: a password is no key.
    ///
    /// # Examples
    /// ```
    /// let key = larder_codecs::SecretKey::new([7; 32]);
    /// # let _ = key;
    /// ```
    #[must_use]
    pub fn new(mut bytes: [u8; 32]) -> Self {
        let key = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        key
    }

    /// Makes a new key from the system's random numbers.
    ///
    /// # Panics
    /// If the system has none.
    ///
    /// # Examples
    /// ```
    /// let key = larder_codecs::SecretKey::random();
    /// # let _ = key;
    /// ```
    #[must_use]
    pub fn random() -> Self {
        Self::new(Key::generate().into())
    }

    /// Parses 64 hex digits, as `openssl rand -hex 32` prints them.
    ///
    /// # Errors
    /// If the text is anything else; the message does not repeat it.
    ///
    /// # Examples
    /// See [`SecretKey`].
    pub fn from_hex(text: &str) -> Result<Self> {
        let wrong = || Error::config("a key is 64 hex digits: make one with `openssl rand -hex 32`");
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = Zeroizing::new([0; 32]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else { return Err(wrong()) };
            // two hex digits
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        // the copy is overwritten when it is dropped
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// One key that writes, and any number of further keys that are only read. A cheap handle.
///
/// To change the key: first give every process the new one as [`readable`](Self::readable). Then make the new key
/// the one that writes and the old one readable. Drop the old key when the values written with it have expired. A
/// value of a key that is not in the ring is a counted miss, so skipping the first step only costs loads.
///
/// # Examples
/// ```
/// use larder_codecs::{KeyRing, SecretKey};
/// let ring = KeyRing::new(2, SecretKey::random()).readable(1, SecretKey::random());
/// assert_eq!(format!("{ring:?}"), "KeyRing { writes: 2, reads: [2, 1] }");
/// ```
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<Vec<(u32, XChaCha20Poly1305)>>,
}

impl KeyRing {
    /// Returns a ring of one key, which writes. The number names the key in the store: give each key its own, for
    /// ever.
    ///
    /// # Examples
    /// See [`KeyRing`].
    #[must_use]
    pub fn new(id: u32, key: SecretKey) -> Self {
        let cipher = key.cipher();
        drop(key);
        Self { keys: Arc::new(vec![(id, cipher)]) }
    }

    /// Adds a further key, which is only read. `build()` refuses two keys of one number.
    ///
    /// # Examples
    /// See [`KeyRing`].
    #[must_use]
    pub fn readable(mut self, id: u32, key: SecretKey) -> Self {
        let cipher = key.cipher();
        drop(key);
        Arc::make_mut(&mut self.keys).push((id, cipher));
        self
    }

    /// Parses a ring from text, such as an environment variable: `2:<64 hex digits>,1:<64 hex digits>`. The first
    /// key writes.
    ///
    /// # Errors
    /// If the text is anything else; the message does not repeat it.
    ///
    /// # Examples
    /// ```
    /// use larder_codecs::KeyRing;
    /// let ring = KeyRing::parse(&format!("2:{},1:{}", "0f".repeat(32), "ab".repeat(32)))?;
    /// assert_eq!(format!("{ring:?}"), "KeyRing { writes: 2, reads: [2, 1] }");
    /// assert!(KeyRing::parse("hunter2").is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config(
                "keys are written `<number>:<64 hex digits>`, with commas between; the first writes",
            )
        };
        let key = |part: &str| {
            let (id, key) = part.split_once(':').ok_or_else(wrong)?;
            Ok((id.trim().parse().map_err(|_| wrong())?, SecretKey::from_hex(key)?))
        };
        let keys = text.split(',').map(key).collect::<Result<Vec<(u32, SecretKey)>>>()?;
        let mut keys = keys.into_iter();
        // `split` returns at least one part
        let (id, first) = keys.next().ok_or_else(wrong)?;
        let ring = keys.fold(Self::new(id, first), |ring, (id, key)| ring.readable(id, key));
        ring.check().map(|()| ring)
    }

    pub(crate) fn check(&self) -> Result<()> {
        for (index, (id, _)) in self.keys.iter().enumerate() {
            if self.keys[..index].iter().any(|(other, _)| other == id) {
                return Err(Error::config(format!("two keys have the number {id}: give each its own")));
            }
        }
        Ok(())
    }

    pub(crate) fn writing(&self) -> (u32, &XChaCha20Poly1305) {
        let (id, cipher) = &self.keys[0];
        (*id, cipher)
    }

    pub(crate) fn reading(&self, id: u32) -> Option<&XChaCha20Poly1305> {
        self.keys.iter().find_map(|(own, cipher)| (*own == id).then_some(cipher))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads: Vec<u32> = self.keys.iter().map(|(id, _)| *id).collect();
        f.debug_struct("KeyRing").field("writes", &reads[0]).field("reads", &reads).finish()
    }
}
