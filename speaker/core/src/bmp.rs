//! What a monitoring station is told (RFC 7854, RFC 8671, RFC 9069).
//!
//! Level-triggered, as an update group is: a [`Collector`] knows what one station was told over one connection, and
//! compares it with what there is. What a peer is told and the Loc-RIB it follows with a [`Cursor`] in the table, what a peer
//! announces by asking its Adj-RIB-In for news. So nothing is queued for a station that reads slowly: it holds one span at
//! most, and skips what came and went meanwhile.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp_proto::bmp::{Down, Message, Peer, PeerUp, Rib, Value, information, statistic, termination};
use bgp_proto::session::{ConnId, DownReason, Negotiated};
use bgp_proto::types::{Asn, Family, FamilyMap, FamilySet, HoldTime, RouterId};
use bgp_proto::wire::{
    Capability, EncodeContext, Nlri, Notification, Open, end_of_rib, pack_announcements, pack_withdrawals,
};
use bytes::{Bytes, BytesMut};

use crate::export::{Cursor, Span, Table};
use crate::received::News;

/// A point of wall time: seconds since 1970, and microseconds.
pub type WallTime = (u32, u32);

/// A session that is up.
#[derive(Debug, Clone)]
pub struct Session {
    /// Tells it from every other one since the process began.
    pub serial: u64,
    /// What was agreed on.
    pub negotiated: Negotiated,
    /// Since when.
    pub since: WallTime,
    /// What the peer is told.
    pub tables: FamilyMap<Option<Arc<Table>>>,
    /// What the peer announces is kept with its attributes (`receive: all`).
    pub receives: bool,
}

/// What there is to be told: the hub's picture at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Our BGP identifier, and our AS where it is one.
    pub identity: Option<(RouterId, Asn)>,
    /// Sessions that are up, by the peer's name.
    pub sessions: BTreeMap<Arc<str>, Session>,
    /// Why a peer's last session ended, and which one it was.
    pub ended: BTreeMap<Arc<str>, (u64, DownReason)>,
    /// The Loc-RIB.
    pub local: Option<FamilyMap<Arc<Table>>>,
}

/// Figures of a peer that its task alone knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Routes that it announces; absent where they are not kept.
    pub received: FamilyMap<Option<u64>>,
    /// UPDATEs that were treated as withdrawals (RFC 7606).
    pub treated_as_withdraw: u64,
}

/// Which tables a station is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Monitored {
    /// Adj-RIB-In, before policy.
    pub adj_rib_in: bool,
    /// Adj-RIB-Out, after policy.
    pub adj_rib_out: bool,
    /// Loc-RIB.
    pub loc_rib: bool,
}

/// What one station was told over one connection.
#[derive(Debug)]
pub struct Collector {
    monitored: Monitored,
    /// What we say of ourselves: sysDescr and sysName.
    introduction: Option<(String, String)>,
    sessions: BTreeMap<Arc<str>, Told>,
    local: Option<Outgoing>,
    /// The peer whose turn was last.
    turn: Option<Arc<str>>,
}

#[derive(Debug)]
struct Told {
    serial: u64,
    negotiated: Negotiated,
    receives: bool,
    out: Outgoing,
}

/// Tables that are followed, and the span that is being told.
#[derive(Debug)]
struct Outgoing {
    peer: Peer,
    cursors: FamilyMap<Option<Cursor>>,
    span: Option<(Arc<Span>, usize)>,
}

impl Collector {
    /// Nothing was told yet. `description` and `name` are what the station is told that we are.
    #[must_use]
    pub fn new(monitored: Monitored, description: String, name: String) -> Self {
        Self {
            monitored,
            introduction: Some((description, name)),
            sessions: BTreeMap::new(),
            local: None,
            turn: None,
        }
    }

    /// What is to be told next, some 64 KiB of whole messages; nothing where the station knows all but what peers announce.
    pub fn next(&mut self, picture: &Picture, now: WallTime) -> Vec<u8> {
        let mut out = Vec::new();
        // It "MUST be sent as the first message after the TCP session comes up" (RFC 7854 §4.3).
        if let Some((description, name)) = self.introduction.take() {
            let said = vec![(information::SYS_DESCR, description), (information::SYS_NAME, name)];
            Message::Initiation(said).encode(&mut out);
        }
        self.take_down(picture, now, &mut out);
        self.bring_up(picture, &mut out);
        if out.is_empty() { self.routes(now).unwrap_or_default() } else { out }
    }

    /// Sessions that ended, and those in whose place another one is.
    fn take_down(&mut self, picture: &Picture, now: WallTime, out: &mut Vec<u8>) {
        let stays = |name: &Arc<str>, told: &Told| {
            picture.sessions.get(name).is_some_and(|session| session.serial == told.serial)
        };
        let gone = self.sessions.iter().filter(|(name, told)| !stays(name, told));
        let gone: Vec<Arc<str>> = gone.map(|(name, _)| Arc::clone(name)).collect();
        for name in gone {
            let Some(told) = self.sessions.remove(&name) else { continue };
            let why = picture.ended.get(&name).filter(|(serial, _)| *serial == told.serial);
            // Who is no longer configured has no last word here.
            let reason = why.map_or(Down::Deconfigured, |(_, reason)| down(reason));
            let peer = Peer { at: now, ..about(&told.negotiated, now, false) };
            Message::PeerDown { peer, reason }.encode(out);
        }
    }

    fn bring_up(&mut self, picture: &Picture, out: &mut Vec<u8>) {
        if let (true, None, Some(tables), Some(identity)) =
            (self.monitored.loc_rib, &self.local, &picture.local, picture.identity)
        {
            let up = local_up(identity);
            let cursors = FamilyMap::from_fn(|family| Some(tables.get(family).attach()));
            self.local = Some(Outgoing { peer: up.peer, cursors, span: None });
            Message::PeerUp(Box::new(up)).encode(out);
        }
        for (name, session) in &picture.sessions {
            let told = self.sessions.entry(Arc::clone(name)).or_insert_with(|| {
                Message::PeerUp(Box::new(up(session))).encode(out);
                Told {
                    serial: session.serial,
                    negotiated: session.negotiated.clone(),
                    receives: session.receives,
                    out: Outgoing {
                        peer: about(&session.negotiated, session.since, true),
                        cursors: FamilyMap::default(),
                        span: None,
                    },
                }
            });
            // Where nothing is kept any more, what was told has to be taken back.
            told.receives |= session.receives;
            if self.monitored.adj_rib_out {
                told.out.follow(&session.tables);
            }
        }
    }

    /// The next routes of a table, the Loc-RIB first, peers in turn.
    fn routes(&mut self, now: WallTime) -> Option<Vec<u8>> {
        if let Some(octets) = self.local.as_mut().and_then(|local| local.next(now)) {
            return Some(octets);
        }
        let turn = self.turn.take();
        let later = |name: &Arc<str>| turn.as_ref().is_none_or(|turn| name > turn);
        for second in [false, true] {
            for (name, told) in &mut self.sessions {
                if later(name) != second
                    && let Some(octets) = told.out.next(now)
                {
                    self.turn = Some(Arc::clone(name));
                    return Some(octets);
                }
            }
        }
        None
    }

    /// Peers that are to be asked for news ([`crate::received::AdjRibIn::news`]), each with its session.
    #[must_use]
    pub fn followed(&self) -> Vec<(Arc<str>, ConnId)> {
        let told = self.sessions.iter().filter(|(_, told)| self.monitored.adj_rib_in && told.receives);
        told.map(|(name, told)| (Arc::clone(name), told.negotiated.conn)).collect()
    }

    /// News of a peer as messages. None of a session that the station does not know.
    #[must_use]
    pub fn news(&self, name: &str, conn: ConnId, news: &News, now: WallTime) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(told) = self.sessions.get(name).filter(|told| told.negotiated.conn == conn) else {
            return out;
        };
        // AS4_PATH has been merged into what is kept: the paths have four octets whatever the session has.
        let peer = Peer { two_octets: false, at: now, ..about(&told.negotiated, now, false) };
        for message in updates(&told.negotiated, news) {
            Message::RouteMonitoring { peer, update: message }.encode(&mut out);
        }
        out
    }

    /// A report of figures for each session and the Loc-RIB (RFC 7854 §4.8).
    #[must_use]
    pub fn statistics(
        &self,
        picture: &Picture,
        figures: &BTreeMap<Arc<str>, Figures>,
        now: WallTime,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, told) in &self.sessions {
            let figures = figures.get(name).copied().unwrap_or_default();
            let Some(session) = picture.sessions.get(name) else { continue };
            let sent =
                FamilyMap::from_fn(|family| session.tables.get(family).as_ref().map(|table| length(table)));
            let mut values = Vec::new();
            gauges(statistic::ADJ_RIB_IN, statistic::ADJ_RIB_IN_FAMILY, &figures.received, &mut values);
            let treated = u32::try_from(figures.treated_as_withdraw).unwrap_or(u32::MAX);
            values.push((statistic::TREATED_AS_WITHDRAW, Value::Counter(treated)));
            gauges(statistic::ADJ_RIB_OUT, statistic::ADJ_RIB_OUT_FAMILY, &sent, &mut values);
            let peer = about(&told.negotiated, now, false);
            Message::Statistics { peer, values }.encode(&mut out);
        }
        if let (Some(local), Some(tables)) = (&self.local, &picture.local) {
            let mut values = Vec::new();
            let lengths = FamilyMap::from_fn(|family| Some(length(tables.get(family))));
            gauges(statistic::LOC_RIB, statistic::LOC_RIB_FAMILY, &lengths, &mut values);
            Message::Statistics { peer: Peer { at: now, ..local.peer }, values }.encode(&mut out);
        }
        out
    }

    /// The last message.
    #[must_use]
    pub fn farewell(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let reason = termination::ADMINISTRATIVELY_CLOSED;
        Message::Termination { reason, text: text.to_owned() }.encode(&mut out);
        out
    }
}

impl Outgoing {
    fn follow(&mut self, tables: &FamilyMap<Option<Arc<Table>>>) {
        for (family, table) in tables.iter() {
            let cursor = self.cursors.get_mut(family);
            match (cursor.as_mut(), table) {
                (Some(cursor), Some(table)) => cursor.migrate(table),
                (None, Some(table)) => *cursor = Some(table.attach()),
                (_, None) => *cursor = None,
            }
        }
    }

    /// The next chunk of a span, each UPDATE behind a header.
    fn next(&mut self, now: WallTime) -> Option<Vec<u8>> {
        let (span, at) = match self.span.take() {
            Some(span) => span,
            None => {
                let cursors = [&mut self.cursors.ipv4, &mut self.cursors.ipv6];
                (cursors.into_iter().flatten().find_map(Cursor::next_span)?, 0)
            }
        };
        let mut chunk = span.bytes.get(at)?.clone();
        if at + 1 < span.bytes.len() {
            self.span = Some((span, at + 1));
        }
        let peer = Peer { at: now, ..self.peer };
        let mut out = Vec::with_capacity(chunk.len() * 2);
        while let Some(update) = cut(&mut chunk) {
            Message::RouteMonitoring { peer, update }.encode(&mut out);
        }
        Some(out)
    }
}

/// The first message by its own length (RFC 4271 §4.1).
fn cut(messages: &mut Bytes) -> Option<Bytes> {
    let length = messages.get(16..18)?;
    let length = length.iter().fold(0, |length, octet| (length << 8) | usize::from(*octet));
    Some(messages.split_to(length.clamp(19, messages.len())))
}

fn length(table: &Table) -> u64 {
    u64::try_from(table.len()).unwrap_or(u64::MAX)
}

fn gauges(all: u16, each: u16, counts: &FamilyMap<Option<u64>>, values: &mut Vec<(u16, Value)>) {
    if counts.iter().any(|(_, count)| count.is_some()) {
        let sum = counts.iter().filter_map(|(_, count)| *count).fold(0, u64::saturating_add);
        values.push((all, Value::Gauge(sum)));
    }
    for (family, count) in counts.iter() {
        values.extend(count.map(|count| (each, Value::FamilyGauge(family.afi_safi(), count))));
    }
}

/// The header of messages about a session: about its Adj-RIB-Out after policy, or about anything else.
fn about(negotiated: &Negotiated, at: WallTime, out: bool) -> Peer {
    Peer {
        rib: if out { Rib::AdjRibOut { post_policy: true } } else { Rib::AdjRibIn { post_policy: false } },
        distinguisher: 0,
        address: negotiated.remote.ip(),
        asn: negotiated.peer_asn.get(),
        router_id: negotiated.peer_router_id.as_ipv4(),
        two_octets: out && !negotiated.encode.asn4,
        at,
    }
}

/// RFC 8671 §6.1: a session comes up once for its Adj-RIB-In and its Adj-RIB-Out.
fn up(session: &Session) -> PeerUp {
    let negotiated = &session.negotiated;
    PeerUp {
        peer: about(negotiated, session.since, false),
        local_address: negotiated.local.ip(),
        local_port: negotiated.local.port(),
        remote_port: negotiated.remote.port(),
        sent: negotiated.sent_open.clone(),
        received: negotiated.received_open.clone(),
        information: Vec::new(),
    }
}

/// The Loc-RIB (RFC 9069 §5.1, §5.2): our own AS and identifier, no address, and OPENs that nobody sent, with "the 4-octet ASN and all
/// necessary capabilities to represent the Loc-RIB Route Monitoring messages".
fn local_up((router_id, asn): (RouterId, Asn)) -> PeerUp {
    let families = Family::ALL.map(|family| Capability::Multiprotocol(family.afi_safi()));
    let capabilities = families.into_iter().chain([Capability::FourOctetAsn(asn)]).collect();
    let open = Open { asn, hold_time: HoldTime::DEFAULT, router_id, capabilities }.encode();
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    PeerUp {
        peer: Peer {
            rib: Rib::LocRib { filtered: false },
            distinguisher: 0,
            address: nowhere,
            asn: asn.get(),
            router_id: router_id.as_ipv4(),
            two_octets: false,
            at: (0, 0),
        },
        local_address: nowhere,
        local_port: 0,
        remote_port: 0,
        sent: open.clone(),
        received: open,
        // "The default value of 'global' MUST be used for the default Loc-RIB instance" (RFC 9069 §5.2.1).
        information: vec![(information::TABLE_NAME, "global".to_owned())],
    }
}

/// RFC 7854 §4.9.
fn down(reason: &DownReason) -> Down {
    /// Events of RFC 4271 §8.1 and RFC 9687 §4.2.
    const MANUAL_STOP: u16 = 2;
    const SEND_HOLD_TIMER_EXPIRES: u16 = 29;
    match reason {
        DownReason::Sent(notification, _) => Down::LocalNotification(notification.encode()),
        DownReason::Received(notification) => Down::RemoteNotification(notification.encode()),
        DownReason::HoldTimerExpired => {
            Down::LocalNotification(Notification { code: 4, subcode: 0, data: Bytes::new() }.encode())
        }
        DownReason::SendHoldTimerExpired => Down::LocalEvent(SEND_HOLD_TIMER_EXPIRES),
        DownReason::Stopped => Down::LocalEvent(MANUAL_STOP),
        DownReason::Transport(_) => Down::Remote,
    }
}

/// News as UPDATEs of the session, withdrawals first.
fn updates(negotiated: &Negotiated, news: &News) -> Vec<Bytes> {
    let mut out = Vec::new();
    let add_path: FamilySet = negotiated.decode.add_path;
    let context = |max_message| EncodeContext { asn4: true, add_path, extended_next_hop: true, max_message };
    let mut take = |packed: BytesMut| {
        let mut packed = packed.freeze();
        out.extend(std::iter::from_fn(|| cut(&mut packed)));
    };
    for family in Family::ALL {
        let withdrawn = news.withdrawn.iter().copied().filter(|nlri| nlri.prefix.family() == family);
        let mut packed = BytesMut::new();
        pack_withdrawals(&context(4096), family, withdrawn, &mut packed);
        take(packed);
    }
    let mut sets: BTreeMap<_, Vec<Nlri>> = BTreeMap::new();
    for route in &news.announced {
        let key = (route.nlri.prefix.family(), route.next_hop, &route.attributes);
        sets.entry(key).or_default().push(route.nlri);
    }
    for ((family, next_hop, attributes), nlri) in sets {
        let mut packed = BytesMut::new();
        // Paths may have grown with their AS numbers; what came in one message fits into the longest.
        let fits = [4096, 65535].into_iter().any(|most| {
            let nlri = nlri.iter().copied();
            pack_announcements(&context(most), family, attributes, &next_hop, nlri, &mut packed).is_ok()
        });
        if fits {
            take(packed);
        }
    }
    out.extend(news.end_of_rib.iter().map(end_of_rib));
    out
}

#[cfg(test)]
mod tests;
