//! Sessions, admission and the sequencer as state machines without I/O, clock or threads
