//! The load generator and harness
