//! Examples of larder; see the `examples` folder of this crate.
