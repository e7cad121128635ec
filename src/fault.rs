//! Faults on purpose, for the tests: with the feature `faults`, a process whose environment says
//! `PODZERO_FAULT=kill:STEP` (or `stop:STEP`) ends (or stops) at that step, once. Without the feature, which
//! no release has, this is nothing.

/// The process is at this step.
#[inline]
pub fn at(step: &str) {
    #[cfg(feature = "faults")]
    {
        use rustix::process::{Signal, getpid, kill_process};
        use std::sync::atomic::{AtomicBool, Ordering};
        static DONE: AtomicBool = AtomicBool::new(false);
        let fault = std::env::var("PODZERO_FAULT").unwrap_or_default();
        let signal = match fault.split_once(':') {
            Some(("kill", at)) if at == step => Signal::KILL,
            Some(("stop", at)) if at == step => Signal::STOP,
            _ => return,
        };
        if DONE.swap(true, Ordering::Relaxed) {
            return;
        }
        // A signal to oneself cannot fail.
        let _ = kill_process(getpid(), signal);
    }
    let _ = step;
}
