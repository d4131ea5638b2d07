//! The session as its caller sees it.

use super::idle::Idle;
use super::memory::{Context, Memory};
use super::opening::Opening;
use super::timers::{Timer, Visit};
use super::up::Up;
use super::{Action, Input, SessionConfig, SessionView, State, TimerConfig};
use crate::types::Timestamp;

/// More timers than can be due at one moment.
const EXPIRIES: usize = 16;

/// Where the session stands; each phase has the data that only it has, and is consumed by every input.
#[derive(Debug)]
pub(super) enum Phase {
    Idle(Idle),
    Opening(Box<Opening>),
    Up(Box<Up>),
}

impl Phase {
    fn handle(self, cx: &mut Context<'_>, input: Input) -> Self {
        match self {
            Self::Idle(phase) => phase.handle(cx, input),
            Self::Opening(phase) => phase.handle(cx, input),
            Self::Up(phase) => phase.handle(cx, input),
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Idle(_) => State::Idle,
            Self::Opening(phase) => phase.state(),
            Self::Up(_) => State::Established,
        }
    }

    fn timers(&self, visit: Visit<'_>) {
        match self {
            Self::Idle(phase) => phase.timers(visit),
            Self::Opening(phase) => phase.timers(visit),
            Self::Up(phase) => phase.timers(visit),
        }
    }
}

/// The session with one peer.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    memory: Memory,
    state: State,
    since: Timestamp,
}

impl Session {
    /// A session in Idle that waits for [`Input::Start`].
    #[must_use]
    pub fn new(config: SessionConfig) -> Self {
        Self {
            phase: Phase::Idle(Idle::Stopped),
            memory: Memory::new(config),
            state: State::Idle,
            since: Timestamp::ZERO,
        }
    }

    /// Takes one input at `now`; what is to be done is appended to `actions`, in order. An input that names
    /// a connection which the session has closed, or never had, does nothing. [`Input::Timeout`] before the
    /// deadline does nothing; at or after it, every timer that is due fires.
    ///
    /// A change of state is reported once, as the last action, however many states the input went through.
    pub fn handle(&mut self, now: Timestamp, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Timeout => {
                for _ in 0..EXPIRIES {
                    if self.deadline().is_none_or(|(at, _)| at > now) {
                        break;
                    }
                    self.step(now, Input::Timeout, actions);
                }
            }
            other => self.step(now, other, actions),
        }
        let state = self.phase.state();
        if state != self.state {
            self.state = state;
            self.since = now;
            actions.push(Action::State(state));
        }
    }

    fn step(&mut self, now: Timestamp, input: Input, actions: &mut Vec<Action>) {
        let mut cx = Context { now, memory: &mut self.memory, actions };
        let phase = std::mem::replace(&mut self.phase, Phase::Idle(Idle::Stopped));
        self.phase = phase.handle(&mut cx, input);
    }

    /// When [`Input::Timeout`] is due next, and by which timer.
    #[must_use]
    pub fn deadline(&self) -> Option<(Timestamp, &'static str)> {
        let mut first = None;
        self.phase.timers(&mut |name, timer: Timer| {
            let due = timer.at().map(|at| (at, name));
            first = [first, due].into_iter().flatten().min_by_key(|(at, _)| *at);
        });
        first
    }

    /// The names of the timers that run.
    #[cfg(test)]
    pub(super) fn running_timers(&self) -> std::collections::BTreeSet<&'static str> {
        let mut names = std::collections::BTreeSet::new();
        self.phase.timers(&mut |name, timer: Timer| {
            if timer.at().is_some() {
                names.insert(name);
            }
        });
        names
    }

    /// The state that operators see.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Everything that operators see.
    #[must_use]
    pub fn view(&self) -> SessionView {
        SessionView {
            state: self.state,
            since: self.since,
            negotiated: match &self.phase {
                Phase::Up(up) => Some(Box::new(up.negotiated().clone())),
                Phase::Idle(_) | Phase::Opening(_) => None,
            },
            received: self.memory.received,
            sent: self.memory.sent,
            established: self.memory.established,
            last_down: self.memory.last_down.clone(),
            deadline: self.deadline(),
        }
    }

    /// Whether the peer's routes are kept while it restarts, from the next OPEN on.
    pub fn set_helper(&mut self, helper: bool) {
        self.memory.config.helper = helper;
    }

    /// New timers: those in force at the next connection, and no reset.
    pub fn set_timers(&mut self, timers: TimerConfig) {
        self.memory.config.timers = timers;
    }
}
