//! The clients' own journal: every attempt is written before it is sent, every answer when it comes, in files of fixed
//! records, one pair for each thread of the generator. They are on another path than the server's data.
//!
//! The key of an attempt carries its number, scrambled: joining the journal with the server's ledger is an access to an
//! array, no search, and needs no table of keys.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use tegata_model::{Key, Timestamp};
use tegata_wire::DecisionBody;

/// Bytes of an attempt: `[16] key | u64 due ns | u48 yen | u8 kind | u8 zero | u64 of | u32 account | u32 shop`.
const ATTEMPT_BYTES: usize = 48;
/// Bytes of an answer: `u56 number | u8 1: overtaken | u64 position | u48 yen | u16 code | u64 hash of the decision`.
const ANSWER_BYTES: usize = 32;
/// Bytes of answers that are written at once.
const ANSWERS_AT_ONCE: usize = 64 << 10;
/// Bits of an attempt's number that are the thread's own count; the thread stands above them.
const THREAD_SHIFT: u32 = 48;
/// Numbers have 56 bits.
const NUMBER_MASK: u64 = (1 << 56) - 1;
/// Odd, so that multiplying by it scrambles 56 bits and its inverse undoes that.
const FACTOR: u64 = 0x9E_3779_B97F_4A7D;
const INVERSE: u64 = {
    // Newton's iteration doubles the number of right bits.
    let (mut x, mut i) = (FACTOR, 0);
    while i < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(FACTOR.wrapping_mul(x)));
        i += 1;
    }
    x
};

/// What an attempt asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A debit.
    #[default]
    Debit = 0,
    /// The reversal of the debit `of`.
    Reversal = 1,
    /// A debit under a new key for what `of` asked: a broken till.
    DebitAgain = 2,
    /// Value of a paper coupon moves into a wallet.
    Charge = 3,
    /// A wallet is topped up.
    Load = 4,
    /// Value is reserved.
    Hold = 5,
    /// What the hold `of` reserved is taken.
    Capture = 6,
    /// The hold `of` is cancelled.
    Void = 7,
    /// Part of the debit `of` is given back.
    Refund = 8,
}

impl What {
    const ALL: [Self; 9] = [
        Self::Debit,
        Self::Reversal,
        Self::DebitAgain,
        Self::Charge,
        Self::Load,
        Self::Hold,
        Self::Capture,
        Self::Void,
        Self::Refund,
    ];

    /// True for what a customer came for; false for what follows from it, which nobody waits for.
    #[must_use]
    #[inline]
    pub fn is_wanted(self) -> bool {
        matches!(self, Self::Debit | Self::DebitAgain | Self::Charge | Self::Load | Self::Hold)
    }
}

/// One key and what is asked under it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The key.
    pub key: [u8; 16],
    /// When it was due, in ns from the beginning of the load.
    pub due: u64,
    /// Yen.
    pub amount: u64,
    /// What.
    pub what: What,
    /// The attempt that it speaks of, its number + 1; 0: none.
    pub of: u64,
    /// The account: paper coupons first, then wallets.
    pub account: u32,
    /// The shop; of a charge, the wallet.
    pub shop: u32,
}

/// What was said to an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// The attempt's number.
    pub number: u64,
    /// Where it was decided.
    pub position: u64,
    /// Yen that moved.
    pub amount: u64,
    /// The code.
    pub code: u16,
    /// Of the whole decision, to see that a repeat is told the same.
    pub hash: u64,
    /// Another answer was read first, and the frame that this one answers was sent before that: which of the two was
    /// given first is not known.
    pub overtaken: bool,
}

impl Attempt {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.due.to_le_bytes());
        out.extend_from_slice(&(self.amount | (self.what as u64) << 48).to_le_bytes());
        out.extend_from_slice(&self.of.to_le_bytes());
        out.extend_from_slice(&self.account.to_le_bytes());
        out.extend_from_slice(&self.shop.to_le_bytes());
    }

    fn get(b: &[u8; ATTEMPT_BYTES]) -> Self {
        let word = long(b, 24);
        Self {
            key: *b.first_chunk().expect("16 of 48"),
            due: long(b, 16),
            amount: word & ((1 << 48) - 1),
            what: What::ALL.get((word >> 48) as usize).copied().unwrap_or_default(),
            of: long(b, 32),
            account: long(b, 40) as u32,
            shop: (long(b, 40) >> 32) as u32,
        }
    }
}

impl Said {
    /// That attempt `number` was told this.
    #[must_use]
    pub fn of(number: u64, d: &DecisionBody) -> Self {
        // What a decision says for ever.
        let for_ever = DecisionBody { state: 0, retry_after_ms: 0, ..*d };
        let hash = u64::from(crc32c::crc32c(&for_ever.encode())) | u64::from(d.code) << 32;
        Self { number, position: d.position, amount: d.amount, code: d.code, hash, overtaken: false }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.number | u64::from(self.overtaken) << 56).to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&(self.amount | u64::from(self.code) << 48).to_le_bytes());
        out.extend_from_slice(&self.hash.to_le_bytes());
    }

    fn get(b: &[u8; ANSWER_BYTES]) -> Self {
        let word = long(b, 16);
        let (number, position, hash) = (long(b, 0), long(b, 8), long(b, 24));
        Self {
            number: number & NUMBER_MASK,
            position,
            amount: word & ((1 << 48) - 1),
            code: (word >> 48) as u16,
            hash,
            overtaken: number > NUMBER_MASK,
        }
    }
}

fn long(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*b[at..].first_chunk().expect("within a record"))
}

/// Makes keys from numbers and numbers from keys.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    salt: u64,
}

impl Keys {
    /// Two runs with the same salt would give the same keys in the same millisecond.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { salt }
    }

    /// The key of attempt `number`, made at `at`.
    #[must_use]
    #[inline]
    pub fn key(&self, number: u64, at: Timestamp) -> Key {
        let scrambled = (number.wrapping_mul(FACTOR) ^ self.salt) & NUMBER_MASK;
        // Bytes 6 to 8 are partly a UUID's own; 9 to 15 are free.
        Key::new(at, u128::from(scrambled) << 72 | u128::from(self.salt >> 40) << 48)
    }

    /// The number in a key of this run; of any other key some number that is its attempt's by chance only.
    #[must_use]
    #[inline]
    pub fn number(&self, key: &[u8; 16]) -> u64 {
        let scrambled = u64::from_le_bytes(*key[8..].first_chunk().expect("8 of 16")) >> 8;
        (scrambled ^ self.salt & NUMBER_MASK).wrapping_mul(INVERSE) & NUMBER_MASK
    }
}

fn path(dir: &Path, what: &str, thread: usize) -> PathBuf {
    dir.join(format!("{what}-{thread:02}.bin"))
}

/// The journal of one thread, while it is written.
#[derive(Debug)]
pub struct Journal {
    attempts: File,
    answers: File,
    /// Not yet handed to the kernel.
    new_attempts: Vec<u8>,
    new_answers: Vec<u8>,
    first: u64,
    count: u64,
}

impl Journal {
    /// Of a thread, in an existing folder.
    pub fn create(dir: &Path, thread: usize) -> io::Result<Self> {
        Ok(Self {
            attempts: File::create_new(path(dir, "attempts", thread))?,
            answers: File::create_new(path(dir, "answers", thread))?,
            new_attempts: Vec::with_capacity(1 << 16),
            new_answers: Vec::with_capacity(1 << 16),
            first: (thread as u64) << THREAD_SHIFT,
            count: 0,
        })
    }

    /// The number that the next attempt gets.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.first + self.count
    }

    /// The number of the attempt whose lowest bits are `low`: the latest of them.
    #[must_use]
    pub fn number(&self, low: u64, bits: u32) -> u64 {
        let (next, mask) = (self.next_number(), (1 << bits) - 1);
        let number = next & !mask | low & mask;
        // What is not there yet is an earlier one.
        if number < next { number } else { number.saturating_sub(1 << bits) }
    }

    /// Adds an attempt. It may be sent after [`Journal::flush`] only.
    #[inline]
    pub fn attempt(&mut self, a: &Attempt) {
        a.put(&mut self.new_attempts);
        self.count += 1;
    }

    /// Adds an answer.
    #[inline]
    pub fn said(&mut self, s: &Said) {
        s.put(&mut self.new_answers);
    }

    /// Hands the attempts to the kernel: they are there when this process is killed. Answers follow in larger pieces:
    /// what is lost of them is asked again.
    pub fn flush(&mut self) -> io::Result<()> {
        write(&mut self.attempts, &mut self.new_attempts)?;
        if self.new_answers.len() >= ANSWERS_AT_ONCE { write(&mut self.answers, &mut self.new_answers) } else { Ok(()) }
    }

    /// Hands everything to the kernel.
    pub fn finish(&mut self) -> io::Result<()> {
        write(&mut self.attempts, &mut self.new_attempts)?;
        write(&mut self.answers, &mut self.new_answers)
    }
}

fn write(file: &mut File, new: &mut Vec<u8>) -> io::Result<()> {
    if !new.is_empty() {
        file.write_all(new)?;
        new.clear();
    }
    Ok(())
}

/// Reads a journal back.
fn read<const N: usize>(path: &Path, mut each: impl FnMut(&[u8; N])) -> io::Result<()> {
    let mut file = BufReader::with_capacity(N << 12, File::open(path)?);
    let mut record = [0; N];
    loop {
        match file.read_exact(&mut record) {
            Ok(()) => each(&record),
            // A record that was cut short by a kill was never sent.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// All attempts of a run, by number, with what was said to them.
#[derive(Debug, Default)]
pub struct Attempts {
    threads: Vec<Vec<Attempt>>,
}

impl Attempts {
    /// Reads the attempts of all threads.
    pub fn read(dir: &Path, threads: usize) -> io::Result<Self> {
        let mut all = Self::default();
        for thread in 0..threads {
            let path = path(dir, "attempts", thread);
            let mut attempts = Vec::with_capacity((path.metadata()?.len() / ATTEMPT_BYTES as u64) as usize);
            read(&path, |b| attempts.push(Attempt::get(b)))?;
            all.threads.push(attempts);
        }
        Ok(all)
    }

    /// Every answer, in the order in which each thread got them.
    pub fn answers(dir: &Path, threads: usize, each: &mut dyn FnMut(Said)) -> io::Result<()> {
        (0..threads).try_for_each(|thread| read(&path(dir, "answers", thread), |b| each(Said::get(b))))
    }

    /// The attempt of a number.
    #[must_use]
    #[inline]
    pub fn get(&self, number: u64) -> Option<&Attempt> {
        self.threads.get((number >> THREAD_SHIFT) as usize)?.get((number & ((1 << THREAD_SHIFT) - 1)) as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.threads.iter().map(|t| t.len() as u64).sum()
    }

    /// Every number with its attempt.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Attempt)> {
        let of = |(thread, all): (usize, &'_ Vec<Attempt>)| (thread as u64) << THREAD_SHIFT | all.len() as u64;
        let ends: Vec<u64> = self.threads.iter().enumerate().map(of).collect();
        ends.into_iter()
            .flat_map(|end| (end >> THREAD_SHIFT << THREAD_SHIFT)..end)
            .filter_map(|n| Some((n, self.get(n)?)))
    }

    /// The place of an attempt in a plain array of all.
    #[must_use]
    #[inline]
    pub fn place(&self, number: u64) -> Option<usize> {
        self.get(number)?;
        let thread = (number >> THREAD_SHIFT) as usize;
        let before: usize = self.threads[..thread].iter().map(Vec::len).sum();
        Some(before + (number & ((1 << THREAD_SHIFT) - 1)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_whose_it_is() {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        for salt in [0, 1, u64::MAX, 0x0123_4567_89AB_CDEF] {
            let keys = Keys::new(salt);
            let mut seen = std::collections::BTreeSet::new();
            for number in (0..1_000).chain([1 << 48, (5 << 48) + 77, NUMBER_MASK]) {
                let key = keys.key(number, at);
                assert_eq!(keys.number(key.bytes()), number);
                assert!(key.created_at().is_some(), "a UUIDv7");
                assert!(seen.insert(*key.bytes()));
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_a_cut_record_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let attempt = |n: u64| Attempt {
            key: [n as u8; 16],
            due: n * 7,
            amount: 999_999_999_999,
            what: What::ALL[n as usize % 9],
            of: n + 1,
            account: u32::MAX - n as u32,
            shop: 9 + n as u32,
        };
        let said = |n: u64| Said {
            number: n,
            position: 5,
            amount: 999_999_999_999,
            code: 161,
            hash: u64::MAX,
            overtaken: n % 2 == 1,
        };
        for thread in 0..2 {
            let mut j = Journal::create(dir.path(), thread).expect("files");
            for n in 0..5 + thread as u64 {
                assert_eq!(j.next_number(), (thread as u64) << 48 | n);
                j.attempt(&attempt(n));
                j.said(&said(n));
            }
            j.finish().expect("written");
        }
        let cut = path(dir.path(), "attempts", 1);
        let whole = std::fs::read(&cut).expect("there");
        std::fs::write(&cut, &whole[..whole.len() - 1]).expect("cut");
        let all = Attempts::read(dir.path(), 2).expect("read");
        assert_eq!(all.count(), 10);
        assert_eq!(all.get(1 << 48 | 4), Some(&attempt(4)));
        assert_eq!(all.get(1 << 48 | 5), None);
        assert_eq!(all.place(1 << 48), Some(5));
        assert_eq!(all.iter().map(|(n, _)| all.place(n)).collect::<Vec<_>>(), (0..10).map(Some).collect::<Vec<_>>());
        let mut read = Vec::new();
        Attempts::answers(dir.path(), 2, &mut |s| read.push(s)).expect("read");
        assert_eq!(read, (0..5).chain(0..6).map(said).collect::<Vec<_>>());
    }
}
