//! A state that came from a file: nothing in it was made or lost, and it is written and read back as the same.
//!
//! What payments do to it is asked by a test of the engine, which has a log that goes on from there.

use tegata_engine::{Engine, Restorer};

pub(super) fn work_on(engine: &mut Engine) {
    let digest = engine.digest();
    assert!(engine.sums().iter().all(|(_, sums)| sums.conserved()), "nothing was made or lost");
    let head = engine.start_snapshot();
    let mut restorer = Restorer::new(&head).expect("what was restored can be restored again");
    while let Some(page) = engine.snapshot_page(64) {
        restorer.page(&page).expect("a page of it");
    }
    let again = restorer.finish().expect("all of it");
    assert_eq!((again.digest(), again.applied()), (digest, engine.applied()), "the same state");
    assert_eq!(again.sums(), engine.sums(), "the same sums");
}
