//! How a caller proves in its hello that it knows a secret, without sending it.
//!
//! ```text
//! caller ──challenge: credential, its nonce──▶ server
//!        ◀──────────── nonce, store ────────── server
//!        ──hello: auth = HMAC-SHA-256(secret, label, credential, both nonces, store, the rest of the hello)──▶
//! ```
//!
//! Invariants: a proof is for one connection, one store and one hello, whatever a listener heard before; proofs are
//! compared in constant time; a [`Secret`] is never printed.

use crate::frame::{FrameError, KIND_CHALLENGE, REQUEST_HEADER_BYTES, RequestHeader, put_answer_header, seal};
use crate::session::Hello;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tegata_model::{CredentialId, Reader, Writer};

/// The method of a hello whose `auth` is zero.
pub const AUTH_NONE: u8 = 0;
/// The method of a hello whose `auth` answers a challenge.
pub const AUTH_SECRET: u8 = 1;
/// Begins what is signed, so that no other use of a secret yields a proof.
const LABEL: &[u8; 16] = b"tegata hello v1\0";

/// What a caller and the server both know and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * out.len() {
            return None;
        }
        for (byte, two) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16);
            *byte = (digit(two[0])? << 4 | digit(two[1])?) as u8;
        }
        Some(Self(out))
    }
}

/// A caller asks to be challenged: `0 [16] credential | 16 [32] the caller's nonce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Whose secret will be proven.
    pub credential: CredentialId,
    /// Random, of this connection.
    pub nonce: [u8; 32],
}

impl Challenge {
    /// Appends the frame.
    pub fn encode(&self, request_id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        RequestHeader { kind: KIND_CHALLENGE, request_id, ..RequestHeader::default() }.put(out);
        Writer::new(out).bytes(self.credential.bytes()).bytes(&self.nonce);
        seal(out, start);
    }

    pub(crate) fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(frame.get(REQUEST_HEADER_BYTES..).ok_or(FrameError::Short)?);
        let credential = CredentialId::from_bytes(r.array()?).ok().filter(|c| !c.is_none());
        let challenge =
            Self { credential: credential.ok_or(FrameError::Field { name: "credential" })?, nonce: r.array()? };
        if r.rest_is_zero() { Ok(challenge) } else { Err(FrameError::Reserved) }
    }
}

/// The server's answer: `0 [32] its nonce | 32 [16] store id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenged {
    /// Random, of this challenge.
    pub nonce: [u8; 32],
    /// The data folder's id.
    pub store_id: [u8; 16],
}

/// Appends the answer to a challenge.
pub fn encode_challenged(out: &mut Vec<u8>, request_id: u64, a: &Challenged) {
    let start = out.len();
    put_answer_header(out, KIND_CHALLENGE, 0, 0, request_id);
    Writer::new(out).bytes(&a.nonce).bytes(&a.store_id);
    seal(out, start);
}

impl Challenged {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut r = Reader::new(body);
        Ok(Self { nonce: r.array()?, store_id: r.array()? })
    }
}

/// What both sides said before the hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The caller's part.
    pub challenge: Challenge,
    /// The server's part.
    pub challenged: Challenged,
}

impl Exchange {
    fn mac(&self, secret: &Secret, hello: &Hello) -> Hmac<Sha256> {
        let mut frame = Vec::with_capacity(256);
        Hello { auth: [0; 32], ..hello.clone() }.encode(0, &mut frame);
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("an HMAC takes a key of any length");
        mac.update(LABEL);
        mac.update(self.challenge.credential.bytes());
        mac.update(&self.challenge.nonce);
        mac.update(&self.challenged.nonce);
        mac.update(&self.challenged.store_id);
        mac.update(frame.get(REQUEST_HEADER_BYTES..).unwrap_or_default());
        mac
    }

    /// What a hello carries as its `auth`. Whatever stands there is not looked at.
    #[must_use]
    pub fn sign(&self, secret: &Secret, hello: &Hello) -> [u8; 32] {
        self.mac(secret, hello).finalize().into_bytes().into()
    }

    /// Whether the hello's `auth` proves the secret; the time that takes does not tell how much of it is right.
    #[must_use]
    pub fn proves(&self, secret: &Secret, hello: &Hello) -> bool {
        self.mac(secret, hello).verify_slice(&hello.auth).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> (Exchange, Secret, Hello) {
        let credential = CredentialId::from_text("till-501").expect("an id");
        let challenge = Challenge { credential, nonce: [1; 32] };
        let challenged = Challenged { nonce: [2; 32], store_id: *b"store-0001\0\0\0\0\0\0" };
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            gateway: 501,
            role: 1,
            auth_method: AUTH_SECRET,
            namespaces: vec![21],
            ..Hello::default()
        };
        (Exchange { challenge, challenged }, Secret::new([7; 32]), hello)
    }

    #[test]
    fn nothing_that_was_said_can_be_changed() {
        let (e, secret, hello) = exchange();
        let hello = Hello { auth: e.sign(&secret, &hello), ..hello };
        assert!(e.proves(&secret, &hello));
        assert!(!e.proves(&Secret::new([8; 32]), &hello));
        for other in [
            Hello { gateway: 502, ..hello.clone() },
            Hello { role: 2, ..hello.clone() },
            Hello { namespaces: vec![22], ..hello.clone() },
            Hello { namespaces: vec![21, 22], ..hello.clone() },
            Hello { namespaces: vec![], ..hello.clone() },
            Hello { credits: 7, ..hello.clone() },
            Hello { auth: [0; 32], ..hello.clone() },
        ] {
            assert!(!e.proves(&secret, &other), "{other:?}");
        }
        let mut bit = hello.clone();
        bit.auth[31] ^= 1;
        assert!(!e.proves(&secret, &bit));
        let said = |challenge, challenged| Exchange { challenge, challenged };
        let credential = CredentialId::from_text("till-502").expect("an id");
        for other in [
            said(Challenge { nonce: [3; 32], ..e.challenge }, e.challenged),
            said(Challenge { credential, ..e.challenge }, e.challenged),
            said(e.challenge, Challenged { nonce: [3; 32], ..e.challenged }),
            said(e.challenge, Challenged { store_id: [0; 16], ..e.challenged }),
        ] {
            assert!(!other.proves(&secret, &hello), "{other:?}");
        }
    }

    #[test]
    fn secrets_are_read_and_never_printed() {
        let text = "07".repeat(32);
        assert_eq!(Secret::from_hex(&text), Some(Secret::new([7; 32])));
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(…)");
        for wrong in [&text[1..], &format!("{text}0"), &text.replace('7', "g"), "", &"é".repeat(32)] {
            assert_eq!(Secret::from_hex(wrong), None, "{wrong}");
        }
    }
}
