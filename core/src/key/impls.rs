//! The key types of the standard library.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{CacheKey, KeyWriter};

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

macro_rules! nonzero_keys {
    ($($int:ident)*) => {$(
        impl CacheKey for std::num::$int {
            fn encode(&self, key: &mut KeyWriter) {
                key.integer(self.get());
            }
        }
    )*};
}
nonzero_keys!(NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroI128 NonZeroIsize);
nonzero_keys!(NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU128 NonZeroUsize);

/// Whole nanoseconds.
impl CacheKey for Duration {
    fn encode(&self, key: &mut KeyWriter) {
        key.integer(self.as_nanos());
    }
}

macro_rules! address_keys {
    ($($address:ident)*) => {$(
        impl CacheKey for std::net::$address {
            fn encode(&self, key: &mut KeyWriter) {
                key.string(&self.to_string());
            }
        }
    )*};
}
address_keys!(IpAddr Ipv4Addr Ipv6Addr);

/// The components of the path: paths that are equal in Rust (`a//b` and `a/b`) have one key. The bytes are the
/// platform's.
impl CacheKey for Path {
    fn encode(&self, key: &mut KeyWriter) {
        key.punctuation('[');
        for (index, component) in self.components().enumerate() {
            if index > 0 {
                key.punctuation(',');
            }
            // (a root is not a folder of the same name)
            key.punctuation(if matches!(component, Component::Normal(_)) { '=' } else { '!' });
            key.escaped_bytes(component.as_os_str().as_encoded_bytes());
        }
        key.punctuation(']');
    }
}

impl CacheKey for PathBuf {
    fn encode(&self, key: &mut KeyWriter) {
        self.as_path().encode(key);
    }
}

impl<T: CacheKey> CacheKey for BTreeSet<T> {
    fn encode(&self, key: &mut KeyWriter) {
        key.list('[', self.iter().map(|item| item as &dyn CacheKey), ']');
    }
}

/// Pairs, in the order of their keys.
impl<K: CacheKey, V: CacheKey> CacheKey for BTreeMap<K, V> {
    fn encode(&self, key: &mut KeyWriter) {
        key.punctuation('[');
        for (index, pair) in self.iter().enumerate() {
            if index > 0 {
                key.punctuation(',');
            }
            pair.encode(key);
        }
        key.punctuation(']');
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
tuple_keys!(A B C D E F G H I);
tuple_keys!(A B C D E F G H I J);
tuple_keys!(A B C D E F G H I J L);
tuple_keys!(A B C D E F G H I J L M);
