//! What holds for all accounts: settings, programmes, shops, extensions, and what the log says of the outside.

use crate::index::Index;
use crate::lease::Lease;
use crate::slab::Slab;
use crate::slots::{Remembered, flag, lot_birth};
use tegata_model::{
    Code, Extension, Life, Mark, Position, Programme, ProgrammeId, Settings, ShopId, Timestamp, hash_bytes,
};

/// Programmes a core can have.
pub const PROGRAMMES_MAX: usize = 1_024;
/// Extensions a core can have; each is looked at when an expiry is.
pub const EXTENSIONS_MAX: usize = 256;
/// Shops a core can have.
pub const SHOPS_MAX: usize = 4_000_000;
/// Restarts whose undelivered ranges are kept apart; older ones are merged, which only widens the doubt.
const RESTARTS_MAX: usize = 64;
/// T1 ends this long after the core is back to normal.
const NORMAL_GRACE_S: u64 = 600;

/// A few hundred shops must fit into the processor's cache: each payment asks for one.
type ShopIndex = Index<5>;
const _: () = assert!(SHOPS_MAX < 6 << (5 + 16), "the index can hold them all");

/// A programme with its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgrammeEntry {
    /// Its rules.
    pub rules: Programme,
    /// Its life.
    pub life: Life,
    /// Last advice, or last setting of its rules: 60 days later stand-in ends by itself.
    pub exercised_at: Timestamp,
}

/// A shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shop {
    /// Its id.
    pub id: ShopId,
    /// The only programme it takes; absent: any that allows any shop.
    pub programme: ProgrammeId,
    /// Its name, UTF-8, zero-padded.
    pub name: [u8; 48],
    /// Its life.
    pub life: Life,
}

impl Default for Shop {
    fn default() -> Self {
        Self { id: ShopId::NONE, programme: ProgrammeId::NONE, name: [0; 48], life: Life::Active }
    }
}

/// An extension and when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionEntry {
    /// The rule.
    pub rule: Extension,
    /// Logged time of its command.
    pub at: Timestamp,
}

/// Decisions between `from` and `to`, both exclusive, were made before a restart and not known to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// The last position known to be delivered.
    pub from: Position,
    /// The restart's own position.
    pub to: Position,
}

/// Everything that is not an account.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Periods that decide answers.
    pub settings: Settings,
    /// In the order in which they were made; accounts and lots refer to the index.
    pub programmes: Vec<ProgrammeEntry>,
    /// Registered shops.
    pub shops: Slab<Shop>,
    shop_index: ShopIndex,
    /// In the order in which they were made.
    pub extensions: Vec<ExtensionEntry>,
    /// Oldest first; of each programme the newest few.
    pub leases: Vec<Lease>,
    /// Oldest first.
    pub restarts: Vec<Restart>,
    /// Since when the core is degraded.
    pub degraded_since: Option<Timestamp>,
    /// The last degraded time: from and until.
    pub degraded_last: Option<(Timestamp, Timestamp)>,
    /// While the clock is suspect: the last time that was trusted.
    pub trusted_until: Option<Timestamp>,
    /// Keys made before this instant were out of some earlier horizon: no longer horizon brings them back.
    pub keys_from: Timestamp,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

impl Rules {
    /// No programmes, no shops, default settings.
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            programmes: Vec::new(),
            shops: Slab::new(),
            shop_index: ShopIndex::new(),
            extensions: Vec::new(),
            leases: Vec::new(),
            restarts: Vec::new(),
            degraded_since: None,
            degraded_last: None,
            trusted_until: None,
            keys_from: Timestamp::from_micros(i64::MIN),
        }
    }

    /// With the shops' index made from their slots.
    pub(crate) fn indexed(self) -> Self {
        let mut shop_index = ShopIndex::new();
        for (n, shop) in self.shops.iter() {
            shop_index.insert(hash_bytes(3, shop.id.bytes()), n);
        }
        Self { shop_index, ..self }
    }

    /// A programme's index.
    pub fn programme(&self, id: ProgrammeId) -> Option<u32> {
        self.programmes.iter().position(|p| p.rules.id == id).map(|i| i as u32)
    }

    /// A programme by its index.
    #[inline]
    pub fn programme_at(&self, index: u32) -> &ProgrammeEntry {
        &self.programmes[index as usize]
    }

    /// Creates a programme or gives it new rules.
    pub fn set_programme(&mut self, rules: &Programme, at: Timestamp) -> Code {
        if rules.id.is_none() {
            return Code::ProgrammeUnknown;
        }
        match self.programme(rules.id) {
            Some(i) => {
                let entry = &mut self.programmes[i as usize];
                (entry.rules, entry.exercised_at) = (*rules, at);
            }
            None if self.programmes.len() >= PROGRAMMES_MAX => return Code::LimitReached,
            None => self.programmes.push(ProgrammeEntry { rules: *rules, life: Life::Active, exercised_at: at }),
        }
        Code::Approved
    }

    /// Changes a programme's life; what is closed stays closed.
    pub fn set_programme_life(&mut self, id: ProgrammeId, life: Life) -> Code {
        let Some(i) = self.programme(id) else { return Code::ProgrammeUnknown };
        let entry = &mut self.programmes[i as usize];
        if entry.life == Life::Closed && life != Life::Closed {
            return Code::ProgrammeSuspended;
        }
        entry.life = life;
        Code::Approved
    }

    /// A shop's slot.
    #[inline]
    pub fn shop(&self, id: &ShopId) -> Option<u32> {
        self.shop_named(id.bytes())
    }

    /// The slot of a shop by the bytes of its id, whether they are an id or not.
    #[inline]
    pub(crate) fn shop_named(&self, id: &[u8; 16]) -> Option<u32> {
        self.shop_index.find(hash_bytes(3, id), |n| self.shops.get(n).id.bytes() == id)
    }

    /// Registers a shop, or changes its name and programme.
    pub fn set_shop(&mut self, id: ShopId, programme: ProgrammeId, name: [u8; 48]) -> Code {
        if id.is_none() {
            return Code::ShopUnknown;
        }
        if !programme.is_none() && self.programme(programme).is_none() {
            return Code::ProgrammeUnknown;
        }
        match self.shop(&id) {
            Some(n) => {
                let shop = self.shops.get_mut(n);
                shop.programme = programme;
                shop.name = name;
            }
            None if self.shops.used() >= SHOPS_MAX => return Code::LimitReached,
            None => {
                let n = self.shops.insert(Shop { id, programme, name, life: Life::Active });
                self.shop_index.insert(hash_bytes(3, id.bytes()), n);
            }
        }
        Code::Approved
    }

    /// Changes a shop's life; what is closed stays closed.
    pub fn set_shop_life(&mut self, id: &ShopId, life: Life) -> Code {
        let Some(n) = self.shop(id) else { return Code::ShopUnknown };
        let shop = self.shops.get_mut(n);
        if shop.life == Life::Closed && life != Life::Closed {
            return Code::ShopSuspended;
        }
        shop.life = life;
        Code::Approved
    }

    /// Adds an extension that two people agreed to.
    pub fn extend(&mut self, rule: &Extension, at: Timestamp) -> Code {
        if self.extensions.iter().any(|e| e.rule.rule == rule.rule) {
            return Code::RuleExists;
        }
        if !rule.programme.is_none() && self.programme(rule.programme).is_none() {
            return Code::ProgrammeUnknown;
        }
        if rule.expires_at <= rule.expiry_from || rule.expiry_from >= rule.expiry_before {
            return Code::ExpiryInvalid;
        }
        if self.extensions.len() >= EXTENSIONS_MAX {
            return Code::LimitReached;
        }
        self.extensions.push(ExtensionEntry { rule: *rule, at });
        Code::Approved
    }

    /// When a lot ends after all extensions: the latest that applies to it.
    #[inline]
    pub fn expiry(&self, expires_at: i64, programme: u32, lot: u64) -> i64 {
        if self.extensions.is_empty() { expires_at } else { self.extended(expires_at, programme, lot) }
    }

    fn extended(&self, expires_at: i64, programme: u32, lot: u64) -> i64 {
        extended(&self.extensions, expires_at, self.programme_at(programme).rules.id, lot)
    }

    /// The instant with which expiry is compared: the receipt, or the last trusted time while the clock is suspect.
    #[inline]
    pub fn expiry_clock(&self, received: Timestamp) -> i64 {
        self.trusted_until.map_or(received, |t| t.min(received)).micros()
    }

    /// A node started.
    pub fn restart(
        &mut self,
        delivered_to: Position,
        settings: Settings,
        position: Position,
        last: Timestamp,
        at: Timestamp,
    ) {
        let old = self.settings;
        let period_us = (u64::from(old.horizon_s) + u64::from(old.skew_s)) * 1_000_000;
        self.keys_from = self.keys_from.max(at.minus_micros(period_us));
        self.settings = settings;
        if self.restarts.len() >= RESTARTS_MAX {
            let first = self.restarts.remove(0);
            self.restarts[0].from = self.restarts[0].from.min(first.from);
        }
        self.restarts.push(Restart { from: delivered_to, to: position });
        // It was down since its last command; before its first it was not there.
        if self.degraded_since.is_none() && !last.is_zero() {
            self.degraded_last = Some((self.goes_on_from(last), at));
        }
    }

    /// Something changed outside, and was seen at `seen`: a log that takes nothing hears of it late.
    pub fn mark(&mut self, mark: Mark, seen: Timestamp, at: Timestamp) {
        match mark {
            Mark::Degraded => self.degraded_since = self.degraded_since.or(Some(self.goes_on_from(seen))),
            Mark::Normal => {
                if let Some(since) = self.degraded_since.take() {
                    self.degraded_last = Some((since, at));
                }
            }
            Mark::ClockSuspect => self.trusted_until = self.trusted_until.or(Some(at)),
            Mark::ClockTrusted => self.trusted_until = None,
        }
    }

    /// Since when a core is degraded that was so last for less than its grace before `at`: it was not back to normal.
    fn goes_on_from(&self, at: Timestamp) -> Timestamp {
        match self.degraded_last {
            Some((since, until)) if at < until.plus_seconds(NORMAL_GRACE_S) => since,
            _ => at,
        }
    }

    /// True when `d` may be gone: nobody may use its key any more, and its own time is past whatever skew the key had.
    /// What is asked of an old decision must be asked after this, so that the answer does not depend on when the
    /// memory was given back.
    pub fn forgets(&self, d: &Remembered, at: Timestamp) -> bool {
        let keep = u64::from(self.settings.horizon_s) + 2 * u64::from(self.settings.skew_s);
        (d.at < self.keys_from || d.at.plus_seconds(keep) < at)
            && !d.key.created_at().is_some_and(|created| self.remembers(created, at))
    }

    /// True when it was not known to be delivered when the core started again.
    pub(crate) fn is_before_restart(&self, position: Position) -> bool {
        self.restarts.iter().any(|r| r.from < position && position < r.to)
    }

    /// True when nobody has shown that the caller of `d` knows its answer.
    pub fn in_doubt(&self, d: &Remembered, at: Timestamp) -> bool {
        if d.flags & flag::DELIVERED != 0 {
            return false;
        }
        d.flags & flag::UNDELIVERED != 0
            || at < d.at.plus_seconds(u64::from(self.settings.ack_s))
            || self.is_before_restart(d.position)
    }

    /// True while a decision in doubt still makes a like debit suspect (T1).
    pub fn doubt_lasts(&self, d: &Remembered, window_s: u32, at: Timestamp) -> bool {
        let reaches = |since: Timestamp| since <= d.at.plus_seconds(u64::from(window_s));
        at < d.at.plus_seconds(u64::from(window_s))
            || self.degraded_since.is_some_and(reaches)
            || self.degraded_last.is_some_and(|(since, until)| {
                reaches(since) && d.at <= until && at < until.plus_seconds(NORMAL_GRACE_S)
            })
    }
}

/// When a lot ends after these extensions.
pub(crate) fn extended(extensions: &[ExtensionEntry], expires_at: i64, programme: ProgrammeId, lot: u64) -> i64 {
    extensions.iter().fold(expires_at, |end, e| {
        if e.end_for(expires_at, end, programme, lot) { end.max(e.rule.expires_at.micros()) } else { end }
    })
}

impl ExtensionEntry {
    /// True when the rule covers a lot that was made to end at `expires_at` and ends at `end` so far.
    pub fn end_for(&self, expires_at: i64, end: i64, programme: ProgrammeId, lot: u64) -> bool {
        let r = &self.rule;
        (r.programme.is_none() || r.programme == programme)
            && (r.expiry_from.micros()..r.expiry_before.micros()).contains(&expires_at)
            && lot_birth(lot) <= r.as_of
            && (r.include_expired || end > self.at.micros())
    }
}
