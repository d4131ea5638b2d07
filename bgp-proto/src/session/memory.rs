//! What outlives connections, and the context in which an input is handled.

use bytes::Bytes;

use super::backoff::Backoff;
use super::fallback::Fallback;
use super::link::Link;
use super::timers::{Jitter, Timer};
use super::{Action, Counters, DownReason, SessionConfig};
use crate::types::Timestamp;
use crate::wire::{MessageKind, Open};

/// What a session remembers from one connection to the next.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) config: SessionConfig,
    pub(super) jitter: Jitter,
    pub(super) backoff: Backoff,
    pub(super) fallback: Fallback,
    pub(super) received: Counters,
    pub(super) sent: Counters,
    pub(super) established: u64,
    pub(super) last_down: Option<(Timestamp, DownReason)>,
}

impl Memory {
    pub(super) fn new(config: SessionConfig) -> Self {
        Self {
            jitter: Jitter::new(config.seed),
            config,
            backoff: Backoff::default(),
            fallback: Fallback::default(),
            received: Counters::default(),
            sent: Counters::default(),
            established: 0,
            last_down: None,
        }
    }
}

/// The time, the memory and the list of actions, for the length of one input.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) now: Timestamp,
    pub(super) memory: &'a mut Memory,
    pub(super) actions: &'a mut Vec<Action>,
}

impl Context<'_> {
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Note(text.into()));
    }

    pub(super) fn down(&mut self, reason: DownReason) {
        self.memory.last_down = Some((self.now, reason.clone()));
        self.actions.push(Action::Down(reason));
    }

    /// Sends one message.
    pub(super) fn send(&mut self, link: &mut Link, kind: MessageKind, bytes: Bytes) {
        self.memory.sent.count(kind);
        link.enqueued(bytes.len());
        self.actions.push(Action::Send { conn: link.conn, bytes });
    }

    /// Sends our OPEN with the capabilities of the present rung, and returns it.
    pub(super) fn send_open(&mut self, link: &mut Link) -> Open {
        let Memory { config, fallback, established, .. } = &mut *self.memory;
        let open = Open {
            asn: config.local_asn,
            hold_time: config.timers.hold,
            router_id: config.router_id,
            capabilities: fallback.offer(config, *established > 0),
        };
        fallback.tried();
        self.send(link, MessageKind::Open, open.encode());
        open
    }

    /// ConnectRetryTimer with its initial value, jittered (RFC 4271 §10).
    pub(super) fn connect_retry(&mut self) -> Timer {
        let base = self.memory.config.timers.connect_retry;
        Timer::start(self.now, self.memory.jitter.apply(base))
    }

    /// IdleHoldTimer after one more failure.
    pub(super) fn idle_hold(&mut self) -> Timer {
        let Memory { config, backoff, jitter, .. } = &mut *self.memory;
        Timer::start(self.now, backoff.fail(&config.timers, jitter))
    }
}
