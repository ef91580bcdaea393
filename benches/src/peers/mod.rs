//! What a user would pick instead: each peer by its own API, as its documentation shows it.

pub mod far;
pub mod local;
pub mod whole;
