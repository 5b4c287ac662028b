//! Identifiers: fixed width, printable ASCII, zero-padded. The all-zero value means "absent" and is never an account.

use core::fmt;

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    /// No characters at all.
    Empty,
    /// More characters than fit.
    TooLong {
        /// Characters given.
        got: usize,
        /// Characters that fit.
        max: usize,
    },
    /// A byte outside 0x21 … 0x7E, or text after the padding began.
    NotPrintable {
        /// Index of the byte.
        at: usize,
    },
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong { got, max } => write!(f, "has {got} characters; at most {max} fit"),
            Self::NotPrintable { at } => write!(f, "has a character that is not printable ASCII at index {at}"),
        }
    }
}

impl std::error::Error for IdError {}

/// Index of the first byte that breaks the rule "printable ASCII, then zeros".
const fn first_bad<const N: usize>(b: &[u8; N]) -> Option<usize> {
    let mut i = 0;
    let mut padded = false;
    while i < N {
        if b[i] == 0 {
            padded = true;
        } else if padded || b[i] < 0x21 || b[i] > 0x7E {
            return Some(i);
        }
        i += 1;
    }
    None
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $used:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Absent.
            pub const NONE: Self = Self([0; $bytes]);

            /// From text of 1 or more printable characters.
            pub fn from_text(text: &str) -> Result<Self, IdError> {
                let b = text.as_bytes();
                if b.is_empty() {
                    return Err(IdError::Empty);
                }
                if b.len() > $used {
                    return Err(IdError::TooLong { got: b.len(), max: $used });
                }
                let mut out = [0u8; $bytes];
                out[..b.len()].copy_from_slice(b);
                Self::from_bytes(out)
            }

            /// From its bytes on the wire or in a record; the absent value is accepted.
            #[inline]
            pub const fn from_bytes(b: [u8; $bytes]) -> Result<Self, IdError> {
                match first_bad(&b) {
                    Some(at) => Err(IdError::NotPrintable { at }),
                    None => Ok(Self(b)),
                }
            }

            /// Its bytes.
            #[must_use]
            #[inline]
            pub const fn bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// True when absent.
            #[must_use]
            #[inline]
            pub fn is_none(&self) -> bool {
                self.0 == [0; $bytes]
            }

            /// Its text without the padding.
            #[must_use]
            pub fn text(&self) -> &str {
                let end = self.0.iter().position(|b| *b == 0).unwrap_or($bytes);
                core::str::from_utf8(&self.0[..end]).unwrap_or("")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(if self.is_none() { "-" } else { self.text() })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.text())
            }
        }
    };
}

text_id!(
    /// A paper coupon's inquiry number or a wallet id.
    AccountId, 16, 16
);
text_id!(
    /// A shop; at most 15 characters are used (ISO 8583 field 42).
    ShopId, 16, 15
);
text_id!(
    /// A terminal in a shop; absent when the customer scanned the shop's own code.
    TerminalId, 8, 8
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u32);

        impl $name {
            /// Not given; never valid as an id.
            pub const NONE: Self = Self(0);

            /// From its number.
            #[must_use]
            pub const fn new(n: u32) -> Self {
                Self(n)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }

            /// True when not given.
            #[must_use]
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A scheme with its own rules: prefecture, dates, guard window, ceilings.
    ProgrammeId
);
number_id!(
    /// A connected caller.
    GatewayId
);
number_id!(
    /// The maker of keys: a shop system, an app, a scheme. Not the gateway that carries them.
    NamespaceId
);
