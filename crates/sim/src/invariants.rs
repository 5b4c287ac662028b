//! What must hold in every world, one file for each. They read the history and nothing else, and never change anything.

mod acknowledged_survives;
mod answered_once;
mod bounded;
mod conservation;
mod deadline_and_fence;
mod durable_first;
mod engine_agrees;
mod everything_settles;
mod log_is_whole;
mod no_negative;
mod one_effect;
mod real_time_order;
mod refused_never;
mod same_answer;
mod time_forward;

#[cfg(test)]
mod stage;

use crate::history::Event;

/// Something that must hold.
pub trait Invariant {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Looks at what happened.
    fn see(&mut self, event: &Event<'_>) -> Result<(), String>;
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<acknowledged_survives::AcknowledgedSurvives>::default(),
        Box::<answered_once::AnsweredOnce>::default(),
        Box::<bounded::Bounded>::default(),
        Box::<conservation::Conservation>::default(),
        Box::<deadline_and_fence::DeadlineAndFence>::default(),
        Box::<durable_first::DurableFirst>::default(),
        Box::<engine_agrees::EngineAgrees>::default(),
        Box::<everything_settles::EverythingSettles>::default(),
        Box::<log_is_whole::LogIsWhole>::default(),
        Box::<no_negative::NoNegative>::default(),
        Box::<one_effect::OneEffect>::default(),
        Box::<real_time_order::RealTimeOrder>::default(),
        Box::<refused_never::RefusedNever>::default(),
        Box::<same_answer::SameAnswer>::default(),
        Box::<time_forward::TimeForward>::default(),
    ]
}

/// Fails with the name of the first that does not hold.
pub fn check(all: &mut [Box<dyn Invariant>], event: &Event<'_>) -> Result<(), String> {
    all.iter_mut().try_for_each(|i| i.see(event).map_err(|why| format!("{}: {why}", i.name())))
}
