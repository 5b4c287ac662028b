//! The few lock-free pieces behind a loom facade
