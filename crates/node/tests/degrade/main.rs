//! What the node does while something is wrong: who is told what, what the log says, and what comes back.

mod ahead;
mod bounds;
mod crowd;
mod journal;
mod orders;
mod refusals;
mod rig;
