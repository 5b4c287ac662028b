//! Leases: which gateway's client may approve how much by itself, and what it told of it (FIELD, stand-in).

use crate::rules::Rules;
use std::collections::BTreeMap;
use tegata_model::{AccountId, Advice, Allowance, Code, GatewayId, Life, Position, ProgrammeId, ShopId, Timestamp};

/// Leases of one programme whose advices are still held against them.
const LEASES_KEPT: usize = 4;
/// Places that one lease is held against: beyond, an advice counts as over it.
const PLACES_MAX: usize = 65_536;
/// Stand-in that was not exercised for so long ends (FIELD): 60 days.
const EXERCISE_S: u64 = 60 * 86_400;

/// What a client was allowed, and what it told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Where it was granted: its name.
    pub epoch: Position,
    /// Of which programme.
    pub programme: ProgrammeId,
    /// To which gateway …
    pub gateway: GatewayId,
    /// … and to which of its clients.
    pub holder: [u8; 16],
    /// From when on it lives.
    pub from: Timestamp,
    /// Exclusive.
    pub until: Timestamp,
    /// Its caps.
    pub allowance: Allowance,
    /// Yen of the advices under it.
    pub used: u64,
    /// Yen by account and shop.
    pub(crate) places: BTreeMap<(AccountId, ShopId), u64>,
    /// Yen by shop.
    pub(crate) shops: BTreeMap<ShopId, u64>,
}

impl Lease {
    /// Counts an advice. False when the lease did not cover it.
    pub(crate) fn use_for(&mut self, account: AccountId, a: &Advice) -> bool {
        let (shop, yen, most) = (a.purchase.shop, a.purchase.amount.get(), &self.allowance);
        let place = (account, shop);
        let of_account = self.places.range((account, ShopId::NONE)..).take_while(|((of, _), _)| *of == account);
        let of_account: u64 = of_account.fold(0, |sum, (_, yen)| sum.saturating_add(*yen));
        let of_shop = self.shops.get(&shop).copied().unwrap_or(0);
        let covered = (self.from..self.until).contains(&a.approved_at)
            && yen <= most.payment_max
            && yen.saturating_add(of_account) <= most.account_max
            && yen.saturating_add(of_shop) <= most.shop_max
            && yen.saturating_add(self.used) <= most.total_max
            && self.places.len() < PLACES_MAX
            && !self.places.contains_key(&place);
        self.used = self.used.saturating_add(yen);
        if self.places.len() < PLACES_MAX || self.places.contains_key(&place) {
            let sum = self.places.entry(place).or_default();
            *sum = sum.saturating_add(yen);
            self.shops.insert(shop, of_shop.saturating_add(yen));
        }
        covered
    }
}

impl Rules {
    /// Leases to a client what it asks for, or says why not.
    pub(crate) fn grant(&mut self, lease: Lease) -> Code {
        let Some(p) = self.programme(lease.programme).map(|i| *self.programme_at(i)) else {
            return Code::ProgrammeUnknown;
        };
        let at = lease.from;
        if p.life != Life::Active {
            return Code::ProgrammeSuspended;
        }
        let normal = self.degraded_since.is_none() && self.trusted_until.is_none();
        if p.rules.stand_in.is_none() || !normal || at >= p.exercised_at.plus_seconds(EXERCISE_S) {
            return Code::StandInOff;
        }
        if lease.allowance.is_none() || !lease.allowance.is_within(&p.rules.stand_in) {
            return Code::AmountLimit;
        }
        let mut of_programme = self.leases.iter().filter(|l| l.programme == lease.programme);
        if of_programme.clone().any(|l| at < l.until && (l.gateway, l.holder) != (lease.gateway, lease.holder)) {
            return Code::LeaseHeld;
        }
        if of_programme.clone().count() >= LEASES_KEPT
            && let Some(oldest) = of_programme.next().map(|l| l.epoch)
        {
            self.leases.retain(|l| l.epoch != oldest);
        }
        self.leases.push(lease);
        Code::Approved
    }

    /// A lease by the position that granted it, while it is known.
    pub(crate) fn lease(&mut self, programme: ProgrammeId, epoch: Position) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|l| l.epoch == epoch && l.programme == programme)
    }
}
