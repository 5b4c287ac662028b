//! Records whose caller's rights are still to be looked at. What is denied here changes nothing and is not logged; a key
//! that is decided, or on its way, is answered as ever.

use super::Node;
use crate::batch::{Ticket, records, with_records};
use crate::crowd::Taken;
use crate::message::{Guard, Inbound};
use tegata_engine::TOUCH_MAX;
use tegata_model::{Code, ProgrammeId, decode_envelope, decode_purchase};

impl Node {
    /// Puts what is permitted before the other records of the bundle, in its order, and refuses the rest.
    #[cold]
    pub(super) fn take_guarded(&mut self, thread: u16, bundle: &mut Inbound) {
        let guarded = std::mem::take(&mut bundle.guarded);
        let (mut permitted, mut waiters) = (Vec::with_capacity(guarded.len()), Vec::new());
        let mut denied = Vec::new();
        for ((waiter, guard), record) in with_records(bundle.guards.drain(..), &mut records(&guarded)) {
            let (why, looked) = match guard {
                Guard::Free => (None, true),
                Guard::Denied(code) => (Some(code), false),
                Guard::Within(programmes) => {
                    ((!self.takes_only(record, &programmes)).then_some(Code::ProgrammeNotPermitted), true)
                }
            };
            if why.is_some() {
                denied.push(Taken { ticket: Ticket::new(waiter, thread), record, looked, why });
            } else {
                permitted.extend_from_slice(record);
                waiters.push(waiter);
            }
        }
        denied.chunks(TOUCH_MAX).for_each(|some| self.refuse_by_header(some));
        if !waiters.is_empty() {
            permitted.append(&mut bundle.records);
            waiters.append(&mut bundle.waiters);
            (bundle.records, bundle.waiters) = (permitted, waiters);
        }
    }

    /// Whether the value that a record could take is of these programmes, as things are: what comes onto the account in the
    /// same moment is not seen.
    fn takes_only(&self, record: &[u8], programmes: &[ProgrammeId]) -> bool {
        let shop = decode_purchase(record).ok().flatten().map(|(_, p)| p.purchase.shop);
        decode_envelope(record)
            .is_ok_and(|e| self.engine.value_is_within(&e.account, shop.as_ref(), programmes, self.now))
    }
}
