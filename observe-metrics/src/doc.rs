//! What the examples in this crate's documentation stand on. Not part of the public interface.

pub use larder::doc::squares;
