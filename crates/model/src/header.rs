//! The header of a record: written in one place, and read where it lies. Reading is for whoever looks ahead, and for whoever
//! refuses: of most of what is refused nothing else is looked at.

use crate::{GatewayId, Key, NamespaceId, RECORD_HEADER_BYTES, Timestamp};

/// What a header says, to be written. Nothing of it is checked: a server writes that of a request before it looks at it.
#[derive(Debug, Clone, Copy)]
pub struct NewHeader<'a> {
    /// The kind of the operation.
    pub kind: u16,
    /// Bytes of the record, the header included.
    pub length: u16,
    /// When the request was received.
    pub received_at: Timestamp,
    /// Until when its caller waits; zero: for ever.
    pub deadline: Timestamp,
    /// Whose key it is.
    pub namespace: NamespaceId,
    /// Through which gateway it came.
    pub gateway: GatewayId,
    /// The account's name.
    pub account: &'a [u8; 16],
    /// The key.
    pub key: &'a [u8; 16],
}

impl NewHeader<'_> {
    /// Appends it.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut b = [0; RECORD_HEADER_BYTES];
        b[..2].copy_from_slice(&self.kind.to_le_bytes());
        b[2..4].copy_from_slice(&self.length.to_le_bytes());
        b[8..16].copy_from_slice(&self.received_at.micros().to_le_bytes());
        b[16..24].copy_from_slice(&self.deadline.micros().to_le_bytes());
        b[24..28].copy_from_slice(&self.namespace.get().to_le_bytes());
        b[28..32].copy_from_slice(&self.gateway.get().to_le_bytes());
        b[32..48].copy_from_slice(self.account);
        b[48..].copy_from_slice(self.key);
        out.extend_from_slice(&b);
    }
}

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
