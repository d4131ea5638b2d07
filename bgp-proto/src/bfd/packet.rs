//! The BFD Control packet (RFC 5880 §4.1), to and from octets.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};

/// "The initial protocol version is 1" (RFC 5880 §4.1).
const VERSION: u8 = 1;
/// Octets of a packet without an authentication section.
pub const PACKET_LEN: usize = LENGTH as usize;
const LENGTH: u8 = 24;
/// "26 if the A bit is set" (RFC 5880 §6.8.6).
const LEAST_WITH_AUTHENTICATION: usize = 26;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The state of a session (RFC 5880 §4.1, Sta).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Held down by an operator; says nothing of the path.
    AdminDown,
    /// Down, or just made.
    Down,
    /// The peer is heard and has not yet said that it hears us.
    Init,
    /// Both sides hear one another.
    Up,
}

impl State {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// "The reason for the last change in session state" (RFC 5880 §4.1, Diag).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Diagnostic {
    /// 0.
    #[default]
    None,
    /// 1.
    DetectionTimeExpired,
    /// 2.
    EchoFailed,
    /// 3.
    NeighborDown,
    /// 4.
    ForwardingPlaneReset,
    /// 5.
    PathDown,
    /// 6.
    ConcatenatedPathDown,
    /// 7.
    AdministrativelyDown,
    /// 8.
    ReverseConcatenatedPathDown,
    /// 9 to 31, "reserved for future use".
    Reserved(u8),
}

impl Diagnostic {
    /// The field's five bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x1f {
            0 => Self::None,
            1 => Self::DetectionTimeExpired,
            2 => Self::EchoFailed,
            3 => Self::NeighborDown,
            4 => Self::ForwardingPlaneReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            other => Self::Reserved(other),
        }
    }

    /// The field's five bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::DetectionTimeExpired => 1,
            Self::EchoFailed => 2,
            Self::NeighborDown => 3,
            Self::ForwardingPlaneReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Reserved(other) => other & 0x1f,
        }
    }
}

impl fmt::Display for Diagnostic {
    /// The RFC's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("No Diagnostic"),
            Self::DetectionTimeExpired => f.write_str("Control Detection Time Expired"),
            Self::EchoFailed => f.write_str("Echo Function Failed"),
            Self::NeighborDown => f.write_str("Neighbor Signaled Session Down"),
            Self::ForwardingPlaneReset => f.write_str("Forwarding Plane Reset"),
            Self::PathDown => f.write_str("Path Down"),
            Self::ConcatenatedPathDown => f.write_str("Concatenated Path Down"),
            Self::AdministrativelyDown => f.write_str("Administratively Down"),
            Self::ReverseConcatenatedPathDown => f.write_str("Reverse Concatenated Path Down"),
            Self::Reserved(other) => write!(f, "Diagnostic {other}"),
        }
    }
}

/// A BFD Control packet. Intervals are in microseconds, as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Diag.
    pub diagnostic: Diagnostic,
    /// Sta.
    pub state: State,
    /// P.
    pub poll: bool,
    /// F; the name without the underscore is reserved.
    pub final_: bool,
    /// C: "the transmitting system's BFD implementation does not share fate with its control plane".
    pub control_plane_independent: bool,
    /// A. We never set it: there is no authentication here.
    pub authentication: bool,
    /// D.
    pub demand: bool,
    /// Detect Mult.
    pub detect_multiplier: NonZeroU8,
    /// My Discriminator.
    pub my_discriminator: NonZeroU32,
    /// Your Discriminator; `None` is zero, not known yet.
    pub your_discriminator: Option<NonZeroU32>,
    /// Desired Min TX Interval.
    pub desired_min_tx: u32,
    /// Required Min RX Interval; 0 asks for no periodic packets.
    pub required_min_rx: u32,
    /// Required Min Echo RX Interval; 0 takes no Echo packets.
    pub required_min_echo_rx: u32,
}

/// Why a packet was not processed. In the order in which RFC 5880 §6.8.6 asks, after the TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Discard {
    /// Its TTL is too low (RFC 5881 §5).
    Ttl,
    /// Not version 1.
    Version,
    /// Length is below 24, or below 26 with the A bit, or the octet is missing.
    Length,
    /// Length is above what came.
    Truncated,
    /// Detect Mult is zero.
    DetectMultiplier,
    /// The M bit is set.
    Multipoint,
    /// My Discriminator is zero.
    MyDiscriminator,
    /// No session has this Your Discriminator.
    YourDiscriminator,
    /// Your Discriminator is zero in a state that knows it.
    State,
    /// Your Discriminator is zero, and nobody at this address is expected on this path.
    Stranger,
    /// It is authenticated, and we have no keys.
    Authentication,
    /// Our end is administratively down.
    AdminDown,
}

impl fmt::Display for Discard {
    /// One word, as in `-o json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::Length => "length",
            Self::Truncated => "truncated",
            Self::DetectMultiplier => "detectMultiplier",
            Self::Multipoint => "multipoint",
            Self::MyDiscriminator => "myDiscriminator",
            Self::YourDiscriminator => "yourDiscriminator",
            Self::State => "state",
            Self::Stranger => "stranger",
            Self::Authentication => "authentication",
            Self::AdminDown => "adminDown",
        })
    }
}

impl Discard {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 12] = [
        Self::Ttl,
        Self::Version,
        Self::Length,
        Self::Truncated,
        Self::DetectMultiplier,
        Self::Multipoint,
        Self::MyDiscriminator,
        Self::YourDiscriminator,
        Self::State,
        Self::Stranger,
        Self::Authentication,
        Self::AdminDown,
    ];
}

impl Packet {
    /// Reads the payload of a datagram: the rules of RFC 5880 §6.8.6 that need no session, in its order.
    /// The authentication section is not looked at, nor is what follows Length.
    ///
    /// # Errors
    /// The first rule that discards the packet.
    pub fn decode(octets: &[u8]) -> Result<Self, Discard> {
        // "If the version number is not correct (1), the packet MUST be discarded."
        let first = *octets.first().ok_or(Discard::Length)?;
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        // "If the Length field is less than the minimum correct value (24 if the A bit is clear, or 26 if
        // the A bit is set), the packet MUST be discarded."
        let [_, flags, _, length, ..] = *octets else { return Err(Discard::Length) };
        let authentication = flags & AUTHENTICATION != 0;
        let least = if authentication { LEAST_WITH_AUTHENTICATION } else { PACKET_LEN };
        if usize::from(length) < least {
            return Err(Discard::Length);
        }
        // "If the Length field is greater than the payload of the encapsulating protocol, the packet MUST be
        // discarded."
        if usize::from(length) > octets.len() {
            return Err(Discard::Truncated);
        }
        let Some((header, _)) = octets.split_first_chunk::<PACKET_LEN>() else {
            return Err(Discard::Truncated);
        };
        let [_, _, multiplier, _, words @ ..] = header;
        // "If the Detect Mult field is zero, the packet MUST be discarded."
        let detect_multiplier = NonZeroU8::new(*multiplier).ok_or(Discard::DetectMultiplier)?;
        // "If the Multipoint (M) bit is nonzero, the packet MUST be discarded."
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let mut words = words
            .chunks_exact(4)
            .map(|word| word.iter().fold(0_u32, |sum, octet| (sum << 8) | u32::from(*octet)));
        let mut word = || words.next().unwrap_or_default();
        // "If the My Discriminator field is zero, the packet MUST be discarded."
        let my_discriminator = NonZeroU32::new(word()).ok_or(Discard::MyDiscriminator)?;
        Ok(Self {
            diagnostic: Diagnostic::from_bits(first),
            state: State::from_bits(flags >> 6),
            poll: flags & POLL != 0,
            final_: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            authentication,
            demand: flags & DEMAND != 0,
            detect_multiplier,
            my_discriminator,
            your_discriminator: NonZeroU32::new(word()),
            desired_min_tx: word(),
            required_min_rx: word(),
            required_min_echo_rx: word(),
        })
    }

    /// The octets, without an authentication section and with M, "reserved for future point-to-multipoint
    /// extensions", clear.
    #[must_use]
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = (self.state.bits() << 6)
            | flag(self.poll, POLL)
            | flag(self.final_, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        let mut octets = [0; PACKET_LEN];
        let words = [
            u32::from_be_bytes([
                (VERSION << 5) | self.diagnostic.bits(),
                flags,
                self.detect_multiplier.get(),
                LENGTH,
            ]),
            self.my_discriminator.get(),
            self.your_discriminator.map_or(0, NonZeroU32::get),
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (slot, word) in octets.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Up, 300 ms each way, three of them, echo every 50 ms, control plane independent.
    const UP: [u8; 24] = [
        0x20, 0xc8, 0x03, 0x18, 0x4d, 0x9a, 0x2e, 0x41, 0x8b, 0x1f, 0x00, 0x07, 0x00, 0x04, 0x93, 0xe0, 0x00,
        0x04, 0x93, 0xe0, 0x00, 0x00, 0xc3, 0x50,
    ];

    fn changed(at: usize, value: u8) -> Vec<u8> {
        let mut octets = UP.to_vec();
        octets[at] = value;
        octets
    }

    #[test]
    fn every_field_has_its_place() {
        let packet = Packet::decode(&UP).unwrap();
        let expected = Packet {
            diagnostic: Diagnostic::None,
            state: State::Up,
            poll: false,
            final_: false,
            control_plane_independent: true,
            authentication: false,
            demand: false,
            detect_multiplier: NonZeroU8::new(3).unwrap(),
            my_discriminator: NonZeroU32::new(0x4d9a_2e41).unwrap(),
            your_discriminator: NonZeroU32::new(0x8b1f_0007),
            desired_min_tx: 300_000,
            required_min_rx: 300_000,
            required_min_echo_rx: 50_000,
        };
        assert_eq!(packet, expected);
        assert_eq!(packet.encode(), UP);
        for (bit, flag) in [
            (0x20, Packet { poll: true, ..expected }),
            (0x10, Packet { final_: true, ..expected }),
            (0x02, Packet { demand: true, ..expected }),
        ] {
            assert_eq!(Packet::decode(&changed(1, 0xc8 | bit)).unwrap(), flag);
            assert_eq!(flag.encode()[1], 0xc8 | bit);
        }
    }

    #[test]
    fn each_rule_discards_and_the_first_one_counts() {
        let zero_discriminator = [&UP[..4], &[0; 4], &UP[8..]].concat();
        for (octets, expected) in [
            (vec![], Discard::Length),
            (changed(0, 0x00), Discard::Version),
            (changed(0, 0x40), Discard::Version),
            (vec![0x40], Discard::Version),
            (vec![0x20, 0xc8, 3], Discard::Length),
            (changed(3, 23), Discard::Length),
            (changed(3, 25), Discard::Truncated),
            (UP[..23].to_vec(), Discard::Truncated),
            (changed(2, 0), Discard::DetectMultiplier),
            (changed(1, 0xc9), Discard::Multipoint),
            (zero_discriminator, Discard::MyDiscriminator),
        ] {
            assert_eq!(Packet::decode(&octets), Err(expected), "{octets:02x?}");
        }
        // With the A bit 24 and 25 are too few.
        for (length, expected) in [(24, Some(Discard::Length)), (25, Some(Discard::Length)), (26, None)] {
            let mut octets = [&UP[..], &[1, 0x02]].concat();
            (octets[1], octets[3]) = (0xcc, length);
            assert_eq!(Packet::decode(&octets).err(), expected, "{length}");
        }
        // Several faults: the order of RFC 5880 §6.8.6.
        let mut all = [0_u8; 24];
        let mut found = vec![Packet::decode(&all).unwrap_err()];
        for (at, value) in [(0, 0x20), (3, 30), (3, 24), (2, 1)] {
            all[at] = value;
            all[1] = 0x01;
            found.push(Packet::decode(&all).unwrap_err());
        }
        all[1] = 0x00;
        found.push(Packet::decode(&all).unwrap_err());
        let expected = [
            Discard::Version,
            Discard::Length,
            Discard::Truncated,
            Discard::DetectMultiplier,
            Discard::Multipoint,
            Discard::MyDiscriminator,
        ];
        assert_eq!(found, expected);
        assert!(expected.is_sorted(), "the list of reasons has their order");
    }

    #[test]
    fn what_follows_the_length_is_not_looked_at() {
        let longer = [&UP[..], &[0xff; 30]].concat();
        assert_eq!(Packet::decode(&longer), Packet::decode(&UP));
    }

    #[test]
    fn states_and_diagnostics_have_their_numbers() {
        for bits in 0..4 {
            assert_eq!(State::from_bits(bits).bits(), bits);
        }
        for bits in 0..32 {
            assert_eq!(Diagnostic::from_bits(bits).bits(), bits);
        }
        assert_eq!(Diagnostic::from_bits(1).to_string(), "Control Detection Time Expired");
        assert_eq!(Diagnostic::from_bits(31).to_string(), "Diagnostic 31");
        assert_eq!(Discard::ALL.len(), Discard::AdminDown as usize + 1);
        assert!(Discard::ALL.is_sorted());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(packet) = Packet::decode(&octets) {
                let written = Packet { authentication: false, ..packet };
                prop_assert_eq!(Packet::decode(&written.encode()), Ok(written));
            }
        }

        #[test]
        fn nearly_right_packets_are_read_or_refused(at in 0_usize..24, value: u8, length in 0_usize..30) {
            let mut octets = changed(at, value);
            octets.resize(length, 0x5a);
            if let Ok(packet) = Packet::decode(&octets) {
                prop_assert!(octets.len() >= PACKET_LEN);
                prop_assert_eq!(&packet.encode()[4..], &octets[4..24]);
            }
        }
    }
}
