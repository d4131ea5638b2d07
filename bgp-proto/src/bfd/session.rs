//! One session (RFC 5880 §6.8).

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::packet::{Diagnostic, Discard, Packet, State};
use super::timing::{Config, Intervals, detection_time, share, shortened};
use super::view::{Announced, Counts, SessionView};
use crate::random::Random;
use crate::types::Timestamp;

/// Polls are answered no faster than this, nor faster than our own interval: "a system MAY limit the rate at
/// which such packets are transmitted" (RFC 5880 §6.8.7).
const FINAL_GAP: Duration = Duration::from_millis(10);

/// What happens to a session, packets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The deadline has come. Packets that wait in a socket go first.
    Timeout,
    /// New intervals; the peer is asked by a Poll Sequence.
    Configure(Config),
    /// AdminDown: the peer is told that it is no failure (RFC 5880 §6.8.16).
    Disable,
    /// Out of AdminDown.
    Enable,
}

/// What the session asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this packet.
    Send(Packet),
    /// The state has changed.
    Changed(Change),
    /// The peer has begun to say AdminDown, whatever our own state.
    NeighborAdminDown,
}

/// Why a state was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The peer's packets.
    Heard,
    /// No packet for the detection time.
    DetectionTimeExpired,
    /// The peer says that it is Down.
    NeighborDown,
    /// The peer says that it is AdminDown.
    NeighborAdminDown,
    /// [`Input::Disable`], [`Input::Enable`].
    Local,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heard => "the peer is heard",
            Self::DetectionTimeExpired => "no packet for the detection time",
            Self::NeighborDown => "the peer signals Down",
            Self::NeighborAdminDown => "the peer is administratively down",
            Self::Local => "by configuration",
        })
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state that was left.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub cause: Cause,
}

impl Change {
    /// The path has failed. "If a BFD session transitions from Up state to AdminDown, or the session
    /// transitions from Up to Down because the remote system is indicating that the session is in state
    /// AdminDown, clients SHOULD NOT take any control protocol action" (RFC 5882 §4.2).
    #[must_use]
    pub fn is_failure(&self) -> bool {
        let fault = matches!(self.cause, Cause::DetectionTimeExpired | Cause::NeighborDown);
        self.from == State::Up && self.to == State::Down && fault
    }
}

/// What the peer's last packet said, while it is remembered.
#[derive(Debug, Clone, Copy)]
struct Remote {
    discriminator: NonZeroU32,
    desired_min_tx: u32,
    detect_multiplier: NonZeroU8,
}

/// The Poll Sequence (RFC 5880 §6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    None,
    /// P is set; these were in force before.
    Running(Intervals),
    /// F has come. "an additional BFD Control packet with the Final (F) bit *clear* MUST be received after the
    /// Poll Sequence has completed prior to the initiation of another Poll Sequence" (RFC 5880 §6.8.3).
    Settling,
}

/// The last packet that was not an answer to a Poll.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Timestamp,
    /// How much of the interval passes until the next one.
    share: u32,
}

/// One session with a peer.
#[derive(Debug)]
pub struct Session {
    config: Config,
    local: NonZeroU32,
    state: State,
    since: Timestamp,
    diagnostic: Diagnostic,
    /// What our packets say of our intervals.
    announced: Intervals,
    poll: Poll,
    remote: Option<Remote>,
    remote_state: State,
    /// bfd.RemoteMinRxInterval.
    remote_min_rx: u32,
    /// Everything the peer's last packet said, for display.
    last_packet: Option<Packet>,
    heard: Timestamp,
    started: Timestamp,
    sent: Option<Sent>,
    /// What was last told, P and F apart.
    told: Option<Packet>,
    answered: Option<Timestamp>,
    random: Random,
    counts: Counts,
    last_down: Option<(Timestamp, Change)>,
}

impl Session {
    /// A session in Down that speaks at once. `local` is its discriminator, `seed` that of its jitter.
    #[must_use]
    pub fn new(now: Timestamp, local: NonZeroU32, config: Config, seed: u64) -> Self {
        Self {
            announced: config.intervals(false),
            config,
            local,
            // "This variable MUST be initialized to Down", the diagnostic "to zero", the remote's interval "to
            // 1" (RFC 5880 §6.8.1).
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::None,
            poll: Poll::None,
            remote: None,
            remote_state: State::Down,
            remote_min_rx: 1,
            last_packet: None,
            heard: now,
            started: now,
            sent: None,
            told: None,
            answered: None,
            random: Random::new(seed),
            counts: Counts::default(),
            last_down: None,
        }
    }

    /// Takes one input at `now`; what is to be done is appended to `actions`, in order. [`Input::Timeout`]
    /// before the deadline does nothing.
    pub fn handle(&mut self, now: Timestamp, input: Input, actions: &mut Vec<Action>) {
        let before = self.state;
        match input {
            Input::Timeout => self.detect(now, actions),
            Input::Configure(config) => self.config = config,
            // "Set bfd.SessionState to AdminDown. Set bfd.LocalDiag to an appropriate value" (RFC 5880 §6.8.16).
            Input::Disable => {
                self.change(now, State::AdminDown, Diagnostic::AdministrativelyDown, Cause::Local, actions);
            }
            // "If enabling session, set bfd.SessionState to Down" (RFC 5880 §6.8.16).
            Input::Enable if self.state == State::AdminDown => {
                self.change(now, State::Down, Diagnostic::None, Cause::Local, actions);
            }
            Input::Enable => {}
        }
        self.adjust(self.state != before);
        self.speak(now, actions);
    }

    /// Takes a packet that is for this session: RFC 5880 §6.8.6, after the selection of the session.
    ///
    /// # Errors
    /// Why it was discarded.
    pub fn receive(
        &mut self,
        now: Timestamp,
        packet: Packet,
        actions: &mut Vec<Action>,
    ) -> Result<(), Discard> {
        let before = self.state;
        let result = self.process(now, packet, actions);
        self.adjust(self.state != before);
        // "If the Poll (P) bit is set, send a BFD Control packet to the remote system with the Poll (P) bit clear,
        // and the Final (F) bit set."
        if packet.poll && result.is_ok() {
            self.answer_poll(now, actions);
        }
        self.speak(now, actions);
        result
    }

    /// When [`Input::Timeout`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        [self.transmit_at(), self.silent_at()].into_iter().flatten().min()
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The peer knows that we have left Up: it says Down or AdminDown itself.
    pub(super) fn peer_is_down(&self) -> bool {
        self.remote_state <= State::Down
    }

    /// How long the peer waits for a packet of ours, as far as we know what it asks for.
    pub(super) fn peers_patience(&self) -> Duration {
        detection_time(self.config.detect_multiplier, self.remote_min_rx, self.announced.tx)
    }

    fn process(&mut self, now: Timestamp, packet: Packet, actions: &mut Vec<Action>) -> Result<(), Discard> {
        // "If the A bit is set and no authentication is in use (bfd.AuthType is zero), the packet MUST be
        // discarded."
        if packet.authentication {
            return Err(Discard::Authentication);
        }
        // "Set bfd.RemoteDiscr to the value of My Discriminator. Set bfd.RemoteState to the value of the State
        // (Sta) field. Set bfd.RemoteDemandMode to the value of the Demand (D) bit. Set bfd.RemoteMinRxInterval
        // to the value of Required Min RX Interval."
        self.remote = Some(Remote {
            discriminator: packet.my_discriminator,
            desired_min_tx: packet.desired_min_tx,
            detect_multiplier: packet.detect_multiplier,
        });
        let newly_disabled = packet.state == State::AdminDown && self.remote_state != State::AdminDown;
        self.remote_state = packet.state;
        self.remote_min_rx = packet.required_min_rx;
        self.last_packet = Some(packet);
        // "If the Required Min Echo RX Interval field is zero, the transmission of Echo packets, if any, MUST
        // cease": there are none.
        //
        // "If a Poll Sequence is being transmitted by the local system and the Final (F) bit in the received
        // packet is set, the Poll Sequence MUST be terminated."
        self.poll = match self.poll {
            Poll::Running(_) if packet.final_ => Poll::Settling,
            Poll::Settling if !packet.final_ => Poll::None,
            other => other,
        };
        // "Update the transmit interval as described in section 6.8.2. Update the Detection Time as described in
        // section 6.8.4": both are made of the above when they are asked for.
        self.counts.received += 1;
        self.heard = now;
        if newly_disabled {
            actions.push(Action::NeighborAdminDown);
        }
        // "If bfd.SessionState is AdminDown, discard the packet."
        if self.state == State::AdminDown {
            return Err(Discard::AdminDown);
        }
        if let Some((to, diagnostic, cause)) = self.next(packet.state) {
            self.change(now, to, diagnostic, cause, actions);
        }
        // Demand mode of the peer is asked for in `transmit_at`.
        Ok(())
    }

    /// The table of RFC 5880 §6.8.6.
    fn next(&self, received: State) -> Option<(State, Diagnostic, Cause)> {
        let down = |cause| Some((State::Down, Diagnostic::NeighborDown, cause));
        match (self.state, received) {
            // "If received state is AdminDown: if bfd.SessionState is not Down, set bfd.LocalDiag to 3 (Neighbor
            // signaled session down), set bfd.SessionState to Down."
            (State::Init | State::Up, State::AdminDown) => down(Cause::NeighborAdminDown),
            // "If bfd.SessionState is Down: if received State is Down, set bfd.SessionState to Init; else if
            // received State is Init, set bfd.SessionState to Up."
            (State::Down, State::Down) => Some((State::Init, self.diagnostic, Cause::Heard)),
            (State::Down, State::Init) => Some((State::Up, Diagnostic::None, Cause::Heard)),
            // "Else if bfd.SessionState is Init: if received State is Init or Up, set bfd.SessionState to Up."
            (State::Init, State::Init | State::Up) => Some((State::Up, Diagnostic::None, Cause::Heard)),
            // "Else (bfd.SessionState is Up): if received State is Down, set bfd.LocalDiag to 3 (Neighbor signaled
            // session down), set bfd.SessionState to Down."
            (State::Up, State::Down) => down(Cause::NeighborDown),
            _ => None,
        }
    }

    /// "If Demand mode is not active, and a period of time equal to the Detection Time passes without receiving
    /// a BFD Control packet from the remote system, and bfd.SessionState is Init or Up, the session has gone
    /// down -- the local system MUST set bfd.SessionState to Down and bfd.LocalDiag to 1 (Control Detection Time
    /// Expired)" (RFC 5880 §6.8.4). Demand mode is meant as ours: a peer in it still sends.
    fn detect(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.silent_at().is_none_or(|at| at > now) {
            return;
        }
        // "If a period of a Detection Time passes without the receipt of a valid, authenticated BFD packet from
        // the remote system, this variable MUST be set to zero" (RFC 5880 §6.8.1, bfd.RemoteDiscr). What it asked
        // for is forgotten with it: a peer that wanted no packets may be another one when it comes back.
        self.remote = None;
        self.remote_min_rx = 1;
        if matches!(self.state, State::Init | State::Up) {
            let diagnostic = Diagnostic::DetectionTimeExpired;
            self.change(now, State::Down, diagnostic, Cause::DetectionTimeExpired, actions);
        }
    }

    fn change(
        &mut self,
        now: Timestamp,
        to: State,
        diagnostic: Diagnostic,
        cause: Cause,
        actions: &mut Vec<Action>,
    ) {
        if to == self.state {
            return;
        }
        let change = Change { from: self.state, to, cause };
        (self.state, self.since, self.diagnostic) = (to, now, diagnostic);
        if to == State::Up {
            self.counts.ups += 1;
        } else if change.from == State::Up {
            self.last_down = Some((now, change));
            self.counts.failures += u64::from(change.is_failure());
        }
        actions.push(Action::Changed(change));
    }

    /// Announces what is wanted, where it is not announced yet. "If either bfd.DesiredMinTxInterval is changed
    /// or bfd.RequiredMinRxInterval is changed, a Poll Sequence MUST be initiated" (RFC 5880 §6.8.3); while one
    /// is under way, a change that comes with no change of state waits for its end.
    fn adjust(&mut self, transition: bool) {
        let wanted = self.config.intervals(self.state == State::Up);
        if wanted == self.announced || (self.poll != Poll::None && !transition && self.state == State::Up) {
            return;
        }
        self.poll = Poll::Running(self.in_force());
        self.announced = wanted;
    }

    /// Our intervals as they count at present. "If bfd.DesiredMinTxInterval is increased and bfd.SessionState is
    /// Up, the actual transmission interval used MUST NOT change until the Poll Sequence described above has
    /// terminated … If bfd.RequiredMinRxInterval is reduced and bfd.SessionState is Up, the previous value of
    /// bfd.RequiredMinRxInterval MUST be used when calculating the Detection Time for the remote system until the
    /// Poll Sequence described above has terminated" (RFC 5880 §6.8.3).
    fn in_force(&self) -> Intervals {
        let new = self.announced;
        match self.poll {
            Poll::Running(old) if self.state == State::Up => {
                Intervals { tx: old.tx.min(new.tx), rx: old.rx.max(new.rx) }
            }
            Poll::None | Poll::Running(_) | Poll::Settling => new,
        }
    }

    /// "the greater of those two values" (RFC 5880 §6.8.7).
    fn transmit_interval(&self) -> u32 {
        self.in_force().tx.max(self.remote_min_rx)
    }

    fn detection_time(&self) -> Option<Duration> {
        let remote = self.remote?;
        Some(detection_time(remote.detect_multiplier, self.in_force().rx, remote.desired_min_tx))
    }

    /// When the peer has been silent for the detection time.
    fn silent_at(&self) -> Option<Timestamp> {
        self.detection_time().map(|time| self.heard + time)
    }

    /// When the next periodic packet is due.
    fn transmit_at(&self) -> Option<Timestamp> {
        // "A system MUST NOT periodically transmit BFD Control packets if bfd.RemoteMinRxInterval is zero"
        // (RFC 5880 §6.8.7).
        if self.remote_min_rx == 0 {
            return None;
        }
        // "A system MUST NOT periodically transmit BFD Control packets if Demand mode is active on the remote
        // system (bfd.RemoteDemandMode is 1, bfd.SessionState is Up, and bfd.RemoteSessionState is Up) and a Poll
        // Sequence is not being transmitted" (RFC 5880 §6.8.7).
        let both_up = self.state == State::Up && self.remote_state == State::Up;
        let demand = self.last_packet.is_some_and(|packet| packet.demand);
        if both_up && demand && !matches!(self.poll, Poll::Running(_)) {
            return None;
        }
        let Some(sent) = self.sent else { return Some(self.started) };
        Some(sent.at + shortened(self.transmit_interval(), sent.share))
    }

    /// What we have to say, without P and F.
    fn packet(&self) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: false,
            final_: false,
            control_plane_independent: false,
            authentication: false,
            demand: false,
            detect_multiplier: self.config.detect_multiplier,
            my_discriminator: self.local,
            your_discriminator: self.remote.map(|remote| remote.discriminator),
            desired_min_tx: self.announced.tx,
            required_min_rx: self.announced.rx,
            required_min_echo_rx: 0,
        }
    }

    /// "A BFD Control packet SHOULD be transmitted during the interval between periodic Control packet
    /// transmissions when the contents of that packet would differ from that in the previously transmitted packet
    /// (other than the Poll and Final bits)" (RFC 5880 §6.8.7).
    fn speak(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let differs = self.told.is_some_and(|told| told != self.packet());
        if differs || self.transmit_at().is_some_and(|at| at <= now) {
            self.transmit(now, actions);
        }
    }

    fn transmit(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let packet = self.packet();
        let share = share(&mut self.random, self.config.detect_multiplier);
        self.sent = Some(Sent { at: now, share });
        self.told = Some(packet);
        self.counts.sent += 1;
        // "the Poll Sequence MUST be performed by setting the Poll (P) bit on those scheduled periodic
        // transmissions; additional packets MUST NOT be sent" (RFC 5880 §6.5).
        let poll = matches!(self.poll, Poll::Running(_));
        actions.push(Action::Send(Packet { poll, ..packet }));
    }

    /// "the receiving system MUST transmit a BFD Control packet with the Poll (P) bit clear and the Final (F) bit
    /// set as soon as practicable, without respect to the transmission timer or any other transmission
    /// limitations, without respect to the session state" (RFC 5880 §6.8.7).
    fn answer_poll(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let gap = FINAL_GAP.min(Duration::from_micros(self.announced.tx.into()));
        if self.answered.is_some_and(|last| now.since(last) < gap) {
            return;
        }
        self.answered = Some(now);
        let packet = self.packet();
        self.told = Some(packet);
        self.counts.sent += 1;
        actions.push(Action::Send(Packet { final_: true, ..packet }));
    }

    /// Everything that operators see.
    #[must_use]
    pub fn view(&self) -> SessionView {
        let periodic = self.transmit_at().is_some();
        SessionView {
            state: self.state,
            since: self.since,
            diagnostic: self.diagnostic,
            local_discriminator: self.local.get(),
            transmit: periodic.then(|| Duration::from_micros(self.transmit_interval().into())),
            detection_time: self.detection_time(),
            ours: Announced {
                desired_min_tx: Duration::from_micros(self.announced.tx.into()),
                required_min_rx: Duration::from_micros(self.announced.rx.into()),
                detect_multiplier: self.config.detect_multiplier.get(),
            },
            polling: matches!(self.poll, Poll::Running(_)),
            peer: self.last_packet.filter(|_| self.remote.is_some()),
            last_down: self.last_down,
            counts: self.counts,
        }
    }
}
