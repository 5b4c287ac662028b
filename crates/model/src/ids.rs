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
#[cold]
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

/// [`first_bad`] as a question, answered for all bytes at once: this is asked several times for every payment. The
/// first character is the lowest byte; no sum carries into the next byte, because the high bits are checked to be clear.
#[inline]
const fn is_good(v: u128) -> bool {
    const ONES: u128 = u128::from_le_bytes([1; 16]);
    const HIGH: u128 = ONES << 7;
    let ascii = (v | v.wrapping_add(ONES)) & HIGH == 0;
    let used = v.wrapping_add(ONES * 0x7F) & HIGH;
    let printable = v.wrapping_add(ONES * (0x80 - 0x21)) & HIGH;
    // 0xFF for each byte in use: a number of the form 2^n - 1 when no byte before the last of them is zero.
    let all = (used << 1).wrapping_sub(used >> 7);
    ascii && used == printable && all & all.wrapping_add(1) == 0
}

/// What may be shown of an id whose holder could be robbed with it: whoever knows a coupon's number can spend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked {
    ends: Option<[u8; 4]>,
    count: usize,
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends {
            Some([a, b, y, z]) => write!(f, "{}{}…{}{}", a as char, b as char, y as char, z as char),
            None => write!(f, "({} characters)", self.count),
        }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $used:literal, $secret:literal) => {
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
                let mut wide = [0u8; 16];
                let mut i = 0;
                while i < $bytes {
                    wide[i] = b[i];
                    i += 1;
                }
                if $used < $bytes && b[$used % $bytes] != 0 {
                    return Err(IdError::TooLong { got: $bytes, max: $used });
                }
                if is_good(u128::from_le_bytes(wide)) {
                    return Ok(Self(b));
                }
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

            /// Its first and last two characters, for logs and errors; of fewer than eight nothing but their number.
            #[must_use]
            pub fn masked(&self) -> Masked {
                let text = self.text().as_bytes();
                let ends = (text.len() >= 8).then(|| [text[0], text[1], text[text.len() - 2], text[text.len() - 1]]);
                Masked { ends, count: text.len() }
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

        // What is printed by accident, in a panic or an error, names nobody.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if $secret {
                    return write!(f, "{}({})", stringify!($name), self.masked());
                }
                write!(f, "{}({})", stringify!($name), self.text())
            }
        }
    };
}

text_id!(
    /// A paper coupon's inquiry number or a wallet id.
    AccountId, 16, 16, true
);
text_id!(
    /// A shop; at most 15 characters are used (ISO 8583 field 42).
    ShopId, 16, 15, false
);
text_id!(
    /// A terminal in a shop; absent when the customer scanned the shop's own code.
    TerminalId, 8, 8, false
);
text_id!(
    /// Names a secret that a caller proves to know. Not secret itself.
    CredentialId, 16, 16, false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_answer_is_the_slow_one() {
        let mut state = 7u64;
        let mut random = || {
            state = crate::mix(state.wrapping_add(1), 3);
            state
        };
        let (mut good, mut bad) = (0, 0);
        for _ in 0..200_000 {
            let mut b = [0u8; 16];
            let used = random() as usize % 17;
            for x in &mut b[..used] {
                *x = 0x21 + (random() % 0x5E) as u8;
            }
            if random().is_multiple_of(2) {
                b[random() as usize % 16] = random() as u8;
            }
            assert_eq!(is_good(u128::from_le_bytes(b)), first_bad(&b).is_none(), "{b:?}");
            if first_bad(&b).is_none() { good += 1 } else { bad += 1 }
        }
        assert!(good > 10_000 && bad > 10_000, "both kinds were seen: {good}, {bad}");
    }

    #[test]
    fn little_is_shown_of_an_account() {
        let shown = |text| AccountId::from_text(text).map(|a| (a.masked().to_string(), format!("{a:?}")));
        assert_eq!(shown("13-0004711"), Ok(("13…11".to_owned(), "AccountId(13…11)".to_owned())));
        assert_eq!(shown("C-00001").map(|s| s.0), Ok("(7 characters)".to_owned()));
        assert_eq!(format!("{:?}", ShopId::from_text("SHOP1")), "Ok(ShopId(SHOP1))");
    }

    #[test]
    fn text_is_printable_and_fits() {
        assert_eq!(AccountId::from_text(""), Err(IdError::Empty));
        assert_eq!(ShopId::from_text("1234567890123456"), Err(IdError::TooLong { got: 16, max: 15 }));
        assert_eq!(AccountId::from_text("a b"), Err(IdError::NotPrintable { at: 1 }));
        assert_eq!(TerminalId::from_bytes(*b"ab\0c\0\0\0\0"), Err(IdError::NotPrintable { at: 3 }));
        assert_eq!(AccountId::from_text("C0001").map(|a| a.to_string()), Ok("C0001".to_owned()));
    }
}
