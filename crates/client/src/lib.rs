//! Pipelined connections, retries with the same key, unknown and its way out
