//! The tasks that a cache runs, and their end.

use super::{core::Core, verdict::DoubtOutcome};
use crate::{store::Name, sync::AbortHandle};

impl Core {
    /// Keeps the task of a flight, so that it can be stopped.
    pub(super) fn attach(&self, sequence: u64, task: AbortHandle) {
        let mut locked = self.lock();
        if let Some(running) = locked.flight.as_mut().filter(|it| it.sequence == sequence) {
            running.task = Some(task);
        }
    }

    /// Keeps the task that renews without traffic, made by `spawn`, unless there is one.
    pub(super) fn keep_warm(&self, spawn: impl FnOnce() -> AbortHandle) {
        let is_running = |warmer: &AbortHandle| !warmer.is_finished();
        let locked = self.lock();
        if locked.state.closed || locked.warmer.as_ref().is_some_and(is_running) {
            return;
        }
        drop(locked);
        // Spawned without the lock. If two flights end at once, the second task takes the first's
        // place.
        let warmer = spawn();
        let mut locked = self.lock();
        let spare = if locked.state.closed { Some(warmer) } else { locked.warmer.replace(warmer) };
        drop(locked);
        if let Some(spare) = spare {
            spare.abort();
        }
    }

    /// Keeps the task that hears of other processes, made by `spawn`, unless there is one for this
    /// name.
    pub(super) fn keep_listening(&self, name: &Name, spawn: impl FnOnce() -> AbortHandle) {
        let is_running = |(it, task): &(Name, AbortHandle)| it == name && !task.is_finished();
        let locked = self.lock();
        if locked.state.closed || locked.listener.as_ref().is_some_and(is_running) {
            return;
        }
        drop(locked);
        let listener = (name.clone(), spawn());
        let mut locked = self.lock();
        let spare =
            if locked.state.closed { Some(listener) } else { locked.listener.replace(listener) };
        drop(locked);
        if let Some((_, spare)) = spare {
            spare.abort();
        }
    }

    /// Stops the flight and the subscriptions. The last handle is gone, so nobody is left to use
    /// what a flight would bring.
    pub(super) fn close(&self) {
        let mut locked = self.lock();
        locked.state.closed = true;
        locked.state.flight = None;
        let (running, warmer) = (locked.flight.take(), locked.warmer.take());
        let (listener, question) = (locked.listener.take(), locked.question.take());
        drop(locked);
        if let Some(running) = running {
            running.abandon();
        }
        if let Some(warmer) = warmer {
            warmer.abort();
        }
        if let Some((_, listener)) = listener {
            listener.abort();
        }
        if let Some(question) = question {
            question.end(DoubtOutcome::Undecided);
        }
        self.changes.close();
    }
}
