//! The native frame protocol: layouts, codec, limits, test vectors
