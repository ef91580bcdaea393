//! Compression and encryption for the `larder` cache, for values that leave the process.
//!
//! | type | feature | purpose |
//! |---|---|---|
//! | [`Compressed`] | `zstd`, `lz4` | a codec around another one: large values are stored compressed |
//! | [`Encrypted`] | `encryption` | a store around a store of bytes: a reader of the store learns no values, and a writer cannot exchange one for another |
//! | [`KeyRing`], [`SecretKey`] | `encryption` | one key that writes, and any number of further keys that are only read |
//!
//! No feature is on by default. Values that a near tier (L1) keeps in the process are neither compressed nor
//! encrypted.
//!
//! # Examples
//! Compressed first, then encrypted, since encrypted data cannot be compressed.
//! ```
//! # #[cfg(all(feature = "encryption", feature = "lz4"))] {
//! use std::time::Duration;
//! use larder::codec::Json;
//! use larder::{Cache, Strategy};
//! use larder_codecs::{Compressed, Encrypted, KeyRing, SecretKey};
//! use larder_memory::MemoryServer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let keys = KeyRing::new(2, SecretKey::from_hex(&"0f".repeat(32))?)
//!     .readable(1, SecretKey::from_hex(&"ab".repeat(32))?); // last year's key
//! let server = MemoryServer::new(); // Redis in production
//! let orders: Cache<u64, String> = Cache::builder()
//!     .namespace("order")
//!     .backend(Encrypted::new(server.connect("shop"), keys).encoded(Compressed::lz4(Json)))
//!     .strategy(Strategy::aside(Duration::from_secs(600)))
//!     .build()?;
//! orders.insert(&7, "rye, sliced. ".repeat(100)).await?;
//! assert_eq!(orders.get_if_present(&7).await?.unwrap().value.unwrap().len(), 1300);
//! # Ok(()) }
//! # main().unwrap();
//! # }
//! ```

#[cfg(any(feature = "zstd", feature = "lz4"))]
mod compressed;
#[cfg(feature = "encryption")]
mod encrypted;
#[cfg(feature = "encryption")]
mod keys;
#[cfg(feature = "encryption")]
mod sealed;

#[cfg(any(feature = "zstd", feature = "lz4"))]
pub use self::compressed::Compressed;
#[cfg(feature = "encryption")]
pub use self::{
    encrypted::{Encrypted, EncryptedBackend},
    keys::{KeyRing, SecretKey},
};
