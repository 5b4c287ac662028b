//! One set of names for atomics, cells and shared ownership: std's in a build that ships, loom's under
//! `--cfg tegata_loom`, shuttle's under `--cfg tegata_shuttle`.
//!
//! The cfgs are private to this workspace. They are no cargo features, because features add up over a build and a
//! server must never be linked against a model checker by accident.

#[cfg(all(tegata_loom, tegata_shuttle))]
compile_error!("choose one of tegata_loom and tegata_shuttle");

#[cfg(tegata_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
};

#[cfg(tegata_shuttle)]
pub(crate) use shuttle::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(any(tegata_loom, tegata_shuttle)))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(not(tegata_loom))]
pub(crate) use cell::UnsafeCell;

#[cfg(not(tegata_loom))]
mod cell {
    /// `std::cell::UnsafeCell` with the closures of loom's, which need to see where an access begins and ends.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
