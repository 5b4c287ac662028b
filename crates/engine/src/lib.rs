//! The state machine: accounts, lots, keys, holds, guard, programmes, remediation
