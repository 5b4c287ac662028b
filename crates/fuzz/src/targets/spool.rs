//! The file of what a client approved by itself.

use std::sync::Arc;
use tegata_client::{Client, Credential, Options, Role, SpoolError, StandIn, StandInOptions};
use tegata_model::{Allowance, NamespaceId, ProgrammeId};

/// Bytes of a record.
const RECORD_BYTES: usize = 160;

/// What is damaged is refused and left as it is; what opens, opens again with the same in it.
pub(super) fn spool(bytes: &[u8]) {
    let data = super::files::folder();
    let file = data.join("spool");
    std::fs::write(&file, bytes).expect("a file");
    let open = || {
        let credential = Credential { gateway: 1, role: Role::Gateway, namespaces: Vec::new() };
        let options = StandInOptions {
            folder: data.clone(),
            programme: ProgrammeId::new(13),
            namespace: NamespaceId::new(1),
            allowance: Allowance::with_defaults(300_000),
            watch: Arc::new(|_| {}),
        };
        StandIn::open(Client::new(Options { addrs: Vec::new(), credential }), options)
    };
    match open() {
        Ok(first) => {
            let for_office = first.for_office();
            drop(first);
            let kept = std::fs::read(&file).expect("it is there");
            // One whose first record was not whole begins anew.
            assert!(bytes.starts_with(&kept) || bytes.len() <= RECORD_BYTES, "only its end is cut");
            let second = open().expect("what was opened once opens again");
            assert_eq!(second.for_office(), for_office, "with the same in it");
            drop(second);
            assert_eq!(std::fs::read(&file).expect("it is there"), kept, "and is not changed by that");
        }
        Err(SpoolError::Damaged { at }) => {
            assert!(at <= bytes.len() as u64, "it is damaged where it is");
            assert_eq!(std::fs::read(&file).expect("it is there"), bytes, "what is damaged is left as it is");
        }
        Err(e) => panic!("a file in memory: {e}"),
    }
}
