//! The place of an entry in a near tier.

/// Where and when a [`Tiered`](crate::Tiered) near tier placed an entry: a slot in 16 bits, a generation in 32, and whether
/// changes by others were not told at that time. Nothing to anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// How many slots there are.
    pub(crate) const SLOTS: usize = 1 << 16;
    const SHIFT: u32 = 48;
    const UNVERIFIED: u64 = 1 << 32;

    /// The generation wraps after 2^32: an entry would have to live through as many changes in its slot.
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

    /// The mark of an entry that is bounded by its short life alone.
    pub(crate) fn unverified(self) -> Self {
        Self(self.0 | Self::UNVERIFIED)
    }

    #[inline]
    pub(crate) fn is_unverified(self) -> bool {
        self.0 & Self::UNVERIFIED != 0
    }
}
