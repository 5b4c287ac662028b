//! Sockets, threads, the disk, health, metrics and configuration: drives the node
