//! Who is let in, and as whom: the files of credentials and rights as they were read last, and each caller's rate.
//!
//! Many threads read it and few change it: a connection keeps what it may do, and looks again when the files were read
//! again.

use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tegata_access::{Asked, Bucket, Caller, Class, Credentials, Rights, Verdict, is_rated};
use tegata_model::{Code, CredentialId, GatewayId, NamespaceId, Timestamp};
use tegata_wire::{self as wire, Exchange, Hello, Secret};

/// What the files said.
#[derive(Debug, Default)]
pub struct AccessPolicy {
    /// Nobody is authenticated, and everybody may do everything.
    pub(crate) open: bool,
    pub(crate) credentials: Credentials,
    pub(crate) rights: Rights,
}

/// A caller that has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) class: Class,
    pub(crate) number: GatewayId,
    /// By which credential, and its secret then: another one is another caller.
    pub(crate) by: Option<(CredentialId, Secret)>,
}

/// What a connection may do, until the files are read again.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) who: Who,
    pub(crate) generation: u64,
    pub(crate) caller: Arc<Caller>,
    pub(crate) bucket: Arc<Bucket>,
    /// All of its commands are taken the same way, so that they stay in order.
    pub(crate) by_account: bool,
}

impl Pass {
    /// Whether a request is covered; of what counts for the rate, whether there is room.
    #[inline]
    pub(crate) fn judge(&self, asked: &Asked, at: Timestamp) -> Verdict {
        if let Some(rate) = self.caller.rate()
            && is_rated(asked.kind)
            && self.bucket.take(rate, nanos(at)).is_err()
        {
            return Verdict::Denied(Code::RateExceeded);
        }
        self.caller.judge(asked)
    }

    /// When there is room for a request again, in ms.
    #[cold]
    pub(crate) fn room_after_ms(&self, at: Timestamp) -> u32 {
        let wait = self.caller.rate().map_or(0, |rate| self.bucket.room_after(rate, nanos(at)));
        u32::try_from(wait.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.micros()).unwrap_or(0).saturating_mul(1_000)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Access {
    policy: RwLock<Arc<AccessPolicy>>,
    generation: AtomicU64,
    /// By class and number: all connections of a caller share one.
    buckets: DashMap<(Class, GatewayId), Arc<Bucket>>,
}

impl Access {
    pub(crate) fn new(policy: AccessPolicy) -> Self {
        Self { policy: RwLock::new(Arc::new(policy)), generation: AtomicU64::new(1), buckets: DashMap::new() }
    }

    /// From here on connections look at this.
    pub(crate) fn renew(&self, fresh: AccessPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn policy(&self) -> Arc<AccessPolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes when the files were read again.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What a caller may do now; nothing when it is known no longer.
    pub(crate) fn pass(&self, who: Who) -> Option<Pass> {
        // The number before the files: what is read too early is looked at once more.
        let generation = self.generation();
        let policy = self.policy();
        if let Some((id, secret)) = &who.by
            && policy
                .credentials
                .of(id)
                .is_none_or(|c| c.secret != *secret || (c.class, c.number) != (who.class, who.number))
        {
            return None;
        }
        let nobody = || Arc::new(Caller::nobody(who.class, who.number));
        let caller = policy.rights.of(who.class, who.number).map_or_else(nobody, Arc::clone);
        let bucket = Arc::clone(&self.buckets.entry((who.class, who.number)).or_default());
        let by_account = caller.depends_on_accounts();
        Some(Pass { who, generation, caller, bucket, by_account })
    }
}

impl AccessPolicy {
    /// Who says hello; nothing where nobody has to prove it. `role` is that of the port, `peer` what a certificate says.
    pub(crate) fn identify(
        &self,
        hello: &Hello,
        role: u8,
        exchange: Option<&Exchange>,
        peer: Option<(u8, u32)>,
    ) -> Result<Option<Who>, Code> {
        let said = (hello.role, hello.gateway);
        if hello.role != role || hello.gateway == 0 || peer.is_some_and(|peer| peer != said) {
            return Err(Code::Unauthenticated);
        }
        let is_blank = hello.auth_method == wire::AUTH_NONE && hello.auth == [0; 32];
        if self.open {
            // Whoever proves something must not believe that it was checked.
            return if is_blank { Ok(None) } else { Err(Code::Unauthenticated) };
        }
        let class = Class::from_role(role).ok_or(Code::Unauthenticated)?;
        let number = GatewayId::new(hello.gateway);
        let by = match (hello.auth_method, exchange) {
            (wire::AUTH_NONE, _) if is_blank && peer.is_some() => None,
            (wire::AUTH_SECRET, Some(exchange)) => Some(self.proven(hello, exchange, class)?),
            _ => return Err(Code::Unauthenticated),
        };
        let caller = self.rights.of(class, number);
        let may_use = |n: &u32| caller.is_some_and(|c| c.may_use(NamespaceId::new(*n)));
        if !hello.namespaces.iter().all(may_use) {
            return Err(Code::NamespaceNotAllowed);
        }
        Ok(Some(Who { class, number, by }))
    }

    fn proven(&self, hello: &Hello, exchange: &Exchange, class: Class) -> Result<(CredentialId, Secret), Code> {
        let id = exchange.challenge.credential;
        let found = self.credentials.of(&id);
        // Who does not exist is refused no sooner than who does.
        let unknown = Secret::new([0; 32]);
        let proves = exchange.proves(found.map_or(&unknown, |c| &c.secret), hello);
        match found {
            Some(c) if proves && (c.class, c.number.get()) == (class, hello.gateway) => Ok((id, c.secret.clone())),
            _ => Err(Code::Unauthenticated),
        }
    }
}
