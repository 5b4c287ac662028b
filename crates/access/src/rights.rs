//! The table that a request is held against.

use crate::asked::{Asked, is_granted_to_all};
use crate::rate::Rate;
use std::sync::Arc;
use tegata_model::{Code, GatewayId, NamespaceId, ProgrammeId, ShopId};

/// What a caller is, and so on which port it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Payments.
    Gateway = 1,
    /// Issue and operation.
    Operator = 2,
}

impl Class {
    /// From the role that a hello says.
    #[must_use]
    pub const fn from_role(role: u8) -> Option<Self> {
        match role {
            1 => Some(Self::Gateway),
            2 => Some(Self::Operator),
            _ => None,
        }
    }

    /// Its word in files and certificates.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Operator => "operator",
        }
    }

    /// From its word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Gateway, Self::Operator].into_iter().find(|c| c.word() == word)
    }
}

/// A list, or whatever there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named<T> {
    /// All of them.
    Any,
    /// These.
    Only(T),
}

/// Shops by name, and by how their names begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shops {
    /// Sorted.
    pub(crate) exact: Vec<ShopId>,
    pub(crate) begin: Vec<String>,
}

impl Shops {
    fn covers(&self, shop: &ShopId) -> bool {
        self.exact.binary_search(shop).is_ok()
            || !shop.is_none() && self.begin.iter().any(|b| shop.bytes().starts_with(b.as_bytes()))
    }
}

/// One permission: everything in it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Kinds of frames, as bits.
    pub(crate) kinds: u128,
    pub(crate) shops: Named<Shops>,
    /// Sorted.
    pub(crate) programmes: Named<Arc<[ProgrammeId]>>,
    pub(crate) amount_max: u64,
    /// Where the file says so.
    pub(crate) line: usize,
}

impl Grant {
    /// The line of the file that grants it.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// How far it covers a request: 0 not the operation, 1 not the shop, 2 not the amount, 3 not the programme, 4 all.
    #[inline]
    fn reach(&self, asked: &Asked) -> u8 {
        if asked.kind >= 128 || self.kinds >> asked.kind & 1 == 0 {
            return 0;
        }
        if let (Named::Only(shops), Some(shop)) = (&self.shops, &asked.shop)
            && !shops.covers(shop)
        {
            return 1;
        }
        if asked.amount.is_some_and(|n| n > self.amount_max) && self.amount_max != u64::MAX {
            return 2;
        }
        if let (Named::Only(listed), Some(programme)) = (&self.programmes, asked.programme)
            && listed.binary_search(&programme).is_err()
        {
            return 3;
        }
        4
    }
}

/// Whether a request is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Permitted,
    /// It is if the account's value is of these programmes.
    Within(Arc<[ProgrammeId]>),
    /// It is not, and why not by the grant that comes nearest.
    Denied(Code),
}

/// What one caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub(crate) class: Class,
    pub(crate) number: GatewayId,
    /// Sorted.
    pub(crate) namespaces: Named<Vec<NamespaceId>>,
    pub(crate) rate: Option<Rate>,
    pub(crate) grants: Vec<Grant>,
}

impl Caller {
    /// Somebody who is known and may do nothing: the file of rights does not name it.
    #[must_use]
    pub fn nobody(class: Class, number: GatewayId) -> Self {
        Self { class, number, namespaces: Named::Only(Vec::new()), rate: None, grants: Vec::new() }
    }

    /// Its rate, where it has one.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Whether it may use keys of a namespace.
    #[must_use]
    pub fn may_use(&self, namespace: NamespaceId) -> bool {
        match &self.namespaces {
            Named::Any => !namespace.is_none(),
            Named::Only(listed) => listed.binary_search(&namespace).is_ok(),
        }
    }

    /// True when some grant depends on the programme of an account's value: then the order of its requests is kept by
    /// taking all of them the same way.
    #[must_use]
    pub fn depends_on_accounts(&self) -> bool {
        let by_account: u128 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6;
        self.grants.iter().any(|g| g.kinds & by_account != 0 && g.programmes != Named::Any)
    }

    /// Whether a request is covered by a grant.
    #[must_use]
    #[inline]
    pub fn judge(&self, asked: &Asked) -> Verdict {
        let mut within: Option<&Arc<[ProgrammeId]>> = None;
        let mut farthest = 0;
        for grant in &self.grants {
            let reach = grant.reach(asked);
            if reach == 4 {
                match &grant.programmes {
                    Named::Only(_) if asked.by_account && within.is_some() => {
                        return self.within_several(asked);
                    }
                    Named::Only(listed) if asked.by_account => within = Some(listed),
                    _ => return Verdict::Permitted,
                }
            }
            farthest = farthest.max(reach);
        }
        match (within, farthest) {
            (Some(listed), _) => Verdict::Within(Arc::clone(listed)),
            (None, _) if is_granted_to_all(asked.kind) => Verdict::Permitted,
            (None, 0) => Verdict::Denied(Code::OperationNotPermitted),
            (None, 1) => Verdict::Denied(Code::ShopNotPermitted),
            (None, 2) => Verdict::Denied(Code::AmountNotPermitted),
            (None, _) => Verdict::Denied(Code::ProgrammeNotPermitted),
        }
    }

    /// Several grants cover all but the programme: any of their programmes will do.
    #[cold]
    fn within_several(&self, asked: &Asked) -> Verdict {
        let mut all = Vec::new();
        for grant in self.grants.iter().filter(|g| g.reach(asked) == 4) {
            match &grant.programmes {
                Named::Any => return Verdict::Permitted,
                Named::Only(listed) => all.extend_from_slice(listed),
            }
        }
        all.sort_unstable();
        all.dedup();
        Verdict::Within(all.into())
    }

    /// The grants that cover a request, its programme set aside where only the engine knows it.
    pub fn covering(&self, asked: &Asked) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(|g| g.reach(asked) == 4)
    }
}

/// What everybody may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// Sorted by class and number.
    pub(crate) callers: Vec<Arc<Caller>>,
}

impl Rights {
    /// What a caller may do; nothing at all when it is not named.
    #[must_use]
    pub fn of(&self, class: Class, number: GatewayId) -> Option<&Arc<Caller>> {
        let found = self.callers.binary_search_by_key(&(class, number), |c| (c.class, c.number)).ok()?;
        self.callers.get(found)
    }

    /// How many callers are named.
    #[must_use]
    pub fn count(&self) -> usize {
        self.callers.len()
    }
}
