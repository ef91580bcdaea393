//! The alternatives to larder: each peer by its own API, as its documentation shows it.

pub mod far;
pub mod local;
pub mod whole;
