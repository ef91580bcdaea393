//! A stand-in for `larder::mutation`, which exists only in builds with `--cfg larder_mutations`.

#[inline(always)]
pub(crate) const fn on(_name: &str) -> bool {
    false
}
