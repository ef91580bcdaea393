//! Compression with zstd, with one context for each thread: making one costs more than compressing a small value.

use std::cell::RefCell;
use std::io::Result;

use zstd::bulk::{Compressor, Decompressor};

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(value: &[u8], level: i32) -> Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(level)?),
        };
        compressor.set_compression_level(level)?;
        compressor.compress(value)
    })
}

/// Decompresses to at most `length` bytes, or fails. It allocates no more than that, and no more than the frame's
/// own size.
pub(super) fn decompress(compressed: &[u8], length: usize) -> Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new()?),
        };
        decompressor.decompress(compressed, length)
    })
}
