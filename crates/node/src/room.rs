//! What a full disk leaves to do: first new payments end, then everything that would be written.

use tegata_model::Operation;

/// What the journal has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Room {
    /// Everything.
    #[default]
    Ample = 0,
    /// Only the reserve is left: it is for what settles or undoes payments that were made, and for a suspension.
    Reserve = 1,
    /// Nothing.
    None = 2,
}

impl Room {
    /// True when there is room for a record of this kind.
    #[inline]
    pub(crate) fn is_for(self, kind: u16) -> bool {
        match self {
            Self::Ample => true,
            // Void, confirm, reversal, fence, the advice of a payment that was made; a shop or programme suspended (F28).
            Self::Reserve => matches!(kind, 8..=10 | 12 | 16 | 17 | Operation::ADVICE),
            Self::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_for_what_settles_or_undoes_and_for_a_suspension() {
        let taken: Vec<&str> =
            (1..=Operation::KIND_MAX).filter(|k| Room::Reserve.is_for(*k)).map(Operation::name_of).collect();
        assert_eq!(taken, ["void", "confirm", "reversal", "fence", "shop-life", "programme-life", "advice"]);
        assert!((1..=Operation::KIND_MAX).all(|k| Room::Ample.is_for(k) && !Room::None.is_for(k)));
    }
}
