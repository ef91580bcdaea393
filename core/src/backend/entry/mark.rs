//! The place of an entry in a near tier (L1).

/// The place of an entry in a [`Tiered`](crate::Tiered) near tier (L1): a slot in 16 bits and a generation in 32.
///
/// One more bit is set if the entry was placed without a heartbeat. Only a tiered backend uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// The maximum number of slots.
    pub(crate) const SLOTS: usize = 1 << 16;
    const SHIFT: u32 = 48;
    const UNVERIFIED: u64 = 1 << 32;

    /// Creates a mark. The generation wraps after 2^32: an entry would have to outlive as many changes in its slot.
    #[inline]
    pub(crate) fn new(slot: usize, generation: u32) -> Self {
        Self(((slot % Self::SLOTS) as u64) << Self::SHIFT | u64::from(generation))
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        (self.0 >> Self::SHIFT) as usize
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }

    /// Returns the mark of an entry that is bounded by its short life alone, without heartbeats.
    pub(crate) fn unverified(self) -> Self {
        Self(self.0 | Self::UNVERIFIED)
    }

    #[inline]
    pub(crate) fn is_unverified(self) -> bool {
        self.0 & Self::UNVERIFIED != 0
    }
}
