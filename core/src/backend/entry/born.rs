//! Age and load cost in eight bytes.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::clock::Timestamp;

/// The moment at which a value was stored and the cost of its load, in 8 bytes.
///
/// Milliseconds of the clock in 41 bits (69 years), and microseconds as an 18-bit mantissa and a 5-bit exponent.
/// Small, because entries are copied on the hit path, and more of them fit into the processor's caches.
///
/// Kept inverted, so that it is never zero: an `Option<Entry>` is then no larger than an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Born(NonZeroU64);

impl Born {
    pub(super) const COST_BITS: u32 = 23;
    pub(super) const MANTISSA_BITS: u32 = 18;
    pub(super) const EXPONENTS: u32 = 1 << (Self::COST_BITS - Self::MANTISSA_BITS);

    pub(super) fn new(created: Timestamp, cost: Duration) -> Self {
        // one less than there is room for, so that the bits are never all set
        let millis = (created.as_nanos() / 1_000_000).min((1 << (u64::BITS - Self::COST_BITS)) - 2);
        let micros = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
        let exponent = (u64::BITS - micros.leading_zeros()).saturating_sub(Self::MANTISSA_BITS);
        let packed = match exponent < Self::EXPONENTS {
            true => u64::from(exponent) << Self::MANTISSA_BITS | micros >> exponent,
            false => (1 << Self::COST_BITS) - 1,
        };
        let inverted = NonZeroU64::new(!(millis << Self::COST_BITS | packed));
        Self(inverted.expect("not all bits are set"))
    }

    pub(super) fn packed(self) -> u64 {
        !self.0.get()
    }

    pub(super) fn created(self) -> Timestamp {
        Timestamp::from_nanos((self.packed() >> Self::COST_BITS).saturating_mul(1_000_000))
    }

    pub(super) fn cost(self) -> Duration {
        let packed = self.packed() & ((1 << Self::COST_BITS) - 1);
        let mantissa = packed & ((1 << Self::MANTISSA_BITS) - 1);
        Duration::from_micros(mantissa << (packed >> Self::MANTISSA_BITS))
    }
}
