//! Which keys of late are surely not decided: under overload most requests are new, and are refused. The index would have to
//! be fetched from memory to say so; this stays in the processor's cache.
//!
//! Keys carry the time at which they were made. Of every span of it there is a set of bits, one for each hash of a
//! decided key; a ring of sets covers the last spans that anything was decided of. It is never wrong about a key that it
//! calls new, and may not know one that is.

use tegata_model::Key;

/// Milliseconds of a span, as a power of two.
const SPAN_SHIFT: u32 = 6;
/// Spans that are kept: the last second.
const SPANS: usize = 16;
/// Words of a span's set. A shard that decides ten thousand keys a second has a fiftieth of its bits set.
const WORDS: usize = 512;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    /// The span whose keys are in each set. It only grows.
    spans: [u64; SPANS],
    /// All sets, made with the first key.
    bits: Vec<u64>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { spans: [0; SPANS], bits: Vec::new() }
    }

    /// The span in which a key says that it was made; where it says nothing, of whatever its bytes are.
    #[inline]
    fn span(key: &Key) -> u64 {
        let [a, b, c, d, e, f, ..] = *key.bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f]) >> SPAN_SHIFT
    }

    #[inline]
    fn place(span: u64, hash: u64) -> (usize, u64) {
        let bit = hash as usize % (WORDS * 64);
        (span as usize % SPANS * WORDS + bit / 64, 1 << (bit % 64))
    }

    /// A key is decided.
    #[inline]
    pub(crate) fn add(&mut self, key: &Key, hash: u64) {
        let span = Self::span(key);
        let kept = &mut self.spans[span as usize % SPANS];
        if span < *kept {
            return;
        }
        let is_later = span > *kept;
        *kept = span;
        let (word, bit) = Self::place(span, hash);
        if self.bits.is_empty() {
            self.bits = vec![0; SPANS * WORDS];
        }
        if is_later {
            self.bits[word / WORDS * WORDS..][..WORDS].fill(0);
        }
        self.bits[word] |= bit;
    }

    /// The word of the set that [`Recent::is_new`] looks at.
    #[inline]
    pub(crate) fn word(&self, key: &Key, hash: u64) -> u64 {
        self.bits.get(Self::place(Self::span(key), hash).0).copied().unwrap_or(0)
    }

    /// Nothing was ever decided under this key.
    #[inline]
    pub(crate) fn is_new(&self, key: &Key, hash: u64) -> bool {
        let span = Self::span(key);
        let kept = self.spans[span as usize % SPANS];
        let (word, bit) = Self::place(span, hash);
        // Of a later span than the one that is kept there was none.
        span > kept || span == kept && self.bits.get(word).is_some_and(|w| w & bit == 0)
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bits.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ms: u64, n: u64) -> Key {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        Key::from_bytes(bytes)
    }

    #[test]
    fn what_was_added_is_never_called_new_in_whatever_order_it_came() {
        let (mut recent, mut added) = (Recent::new(), Vec::new());
        let mut random = 0x9E37_79B9_7F4A_7C15u64;
        let mut called_new = 0;
        for n in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Time goes on, with keys from before and from after it; some from the beginning, some from the end of time.
            let ms = match random >> 60 {
                0 => random % 1_000,
                1 if n % 1_000 == 0 => (1 << 48) - 1 - random % 100,
                _ => 1_000_000 + n / 10 + (random >> 20) % 500,
            };
            let (key, hash) = (key(ms, n), random >> 24);
            called_new += u64::from(recent.is_new(&key, hash));
            recent.add(&key, hash);
            added.push((key, hash));
            let (key, hash) = added[(random >> 8) as usize % added.len()];
            assert!(!recent.is_new(&key, hash), "{key:?}");
        }
        assert!(added.iter().all(|(key, hash)| !recent.is_new(key, *hash)));
        assert!(called_new > 100_000, "it says nothing: {called_new}");
    }

    #[test]
    fn a_key_of_a_span_that_was_overtaken_is_not_known() {
        let mut recent = Recent::new();
        let span = 1 << SPAN_SHIFT;
        assert!(recent.is_new(&key(span, 1), 1), "nothing is decided yet");
        recent.add(&key(span, 1), 1);
        assert!(recent.is_new(&key(span, 2), 2) && recent.is_new(&key(2 * span, 1), 1));
        recent.add(&key(span * (1 + SPANS as u64), 3), 3);
        assert!(!recent.is_new(&key(span, 2), 2), "its set is another span's");
    }
}
