//! The header of a record, read where it lies. It is for whoever looks ahead, and for whoever refuses: of most of what is
//! refused nothing else is looked at.

use crate::{GatewayId, Key, NamespaceId, RECORD_HEADER_BYTES, Timestamp};

/// See the module. Nothing of it is checked; [`crate::decode`] does that.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a>(&'a [u8; RECORD_HEADER_BYTES]);

impl<'a> Header<'a> {
    /// That of the record which starts `bytes`; nothing when they end before.
    #[must_use]
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    #[inline]
    fn field<const AT: usize, const BYTES: usize>(self) -> &'a [u8; BYTES] {
        const { assert!(AT + BYTES <= RECORD_HEADER_BYTES, "a field of the header") };
        self.0[AT..].first_chunk().expect("it lies within the header")
    }

    /// The kind of its operation.
    #[must_use]
    #[inline]
    pub fn kind(self) -> u16 {
        u16::from_le_bytes(*self.field::<0, 2>())
    }

    /// When the request was received.
    #[must_use]
    #[inline]
    pub fn received_at(self) -> Timestamp {
        Timestamp::from_micros(i64::from_le_bytes(*self.field::<8, 8>()))
    }

    /// Until when its caller waits; zero: for ever.
    #[must_use]
    #[inline]
    pub fn deadline(self) -> Timestamp {
        Timestamp::from_micros(i64::from_le_bytes(*self.field::<16, 8>()))
    }

    /// Whose key it is.
    #[inline]
    fn namespace(self) -> NamespaceId {
        NamespaceId::new(u32::from_le_bytes(*self.field::<24, 4>()))
    }

    /// Through which gateway it came.
    #[must_use]
    #[inline]
    pub fn gateway(self) -> GatewayId {
        GatewayId::new(u32::from_le_bytes(*self.field::<28, 4>()))
    }

    /// Bytes that are an account's name in whatever decodes.
    #[inline]
    fn account(self) -> &'a [u8; 16] {
        self.field::<32, 16>()
    }

    /// Its key.
    #[must_use]
    #[inline]
    pub fn key(self) -> Key {
        Key::from_bytes(*self.field::<48, 16>())
    }

    /// Under what its decision is kept.
    #[must_use]
    #[inline]
    pub fn scope(self) -> (NamespaceId, &'a [u8; 16], Key) {
        (self.namespace(), self.account(), self.key())
    }
}
