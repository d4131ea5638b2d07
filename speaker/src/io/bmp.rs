//! Connections to monitoring stations (RFC 7854): one task each, which dials, and writes what a [`Collector`] says.
//!
//! Nobody waits for a station: its task looks at the hub's last picture when the socket has taken what was written before.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bgp_proto::session::ConnId;
use bgp_proto::types::FamilyMap;
use socket2::{SockRef, TcpKeepalive};
use speaker_config::model::BmpCollector;
use speaker_config::objects::UnixSeconds;
use speaker_core::bmp::{Collector, Figures, Monitored, Picture, WallTime};
use speaker_core::received::{Follow, ReceivedCount};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

mod tally;

use super::peer::PeerLine;
use tally::whole;

/// The maximum that RFC 7854 §3.2 suggests for the exponential back-off.
const LONGEST_RETRY: Duration = Duration::from_secs(720);
/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(10);
/// A connection that held so long was a good one: the next attempt is made after the first wait.
const GOOD: Duration = Duration::from_secs(60);
/// How long what was written may stay unacknowledged, or a full station read nothing.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// The most destinations that a peer is asked for at once.
const NEWS: usize = 1000;

/// Tells the stations' tasks that some peer has announced something new.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<watch::Sender<u64>>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Pulse {
    /// Something is new.
    pub(super) fn beat(&self) {
        self.0.send_modify(|beats| *beats = beats.wrapping_add(1));
    }
}

/// What there is to be told, and whom to ask for the rest.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// The hub's picture.
    pub picture: Picture,
    /// The peers' tasks.
    pub lines: BTreeMap<Arc<str>, PeerLine>,
    /// The speaker is on its way out.
    pub stopping: bool,
}

/// What a station's task is told to be.
#[derive(Debug, Clone)]
pub struct Station {
    /// Where it is, and what it is told.
    pub collector: BmpCollector,
    /// What we say that we are: sysDescr and sysName.
    pub introduction: (String, String),
}

/// How it goes with a station.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StationState {
    /// Since when it is connected; absent where it is not.
    pub connected: Option<UnixSeconds>,
    /// How often it was connected.
    pub connections: u64,
    /// Messages that its connections have taken, whole.
    pub sent: u64,
    /// Messages that were made for it and lost with their connection. Over the next one everything is told anew.
    pub dropped: u64,
    /// Why the last connection ended or did not come about, and when.
    pub last_error: Option<(UnixSeconds, String)>,
}

/// Starts the task of a station. It ends by itself after [`Watched::stopping`], or when it is aborted.
pub fn spawn(
    station: Station,
    watched: watch::Receiver<Arc<Watched>>,
    pulse: &Pulse,
) -> (JoinHandle<()>, watch::Receiver<StationState>) {
    let beats = pulse.0.subscribe();
    let (state, seen) = watch::channel(StationState::default());
    (tokio::spawn(run(station, watched, beats, state)), seen)
}

async fn run(
    station: Station,
    mut watched: watch::Receiver<Arc<Watched>>,
    beats: watch::Receiver<u64>,
    state: watch::Sender<StationState>,
) {
    let BmpCollector { name, address, connect_retry, .. } = &station.collector;
    let mut retry = *connect_retry;
    let mut said = String::new();
    loop {
        let began = Instant::now();
        let ended = match dial(address).await {
            Ok(stream) => {
                tracing::info!(collector = %name, "BMP: connected to {address}");
                said.clear();
                state.send_modify(|state| {
                    state.connected = Some(wall_time().0.into());
                    state.connections += 1;
                });
                let mut serving = Serving::new(&station, stream, watched.clone(), beats.clone(), &state);
                match serving.run().await {
                    Ok(()) => return,
                    Err(error) => {
                        serving.lost();
                        error
                    }
                }
            }
            Err(error) => error,
        };
        let text = ended.to_string();
        state.send_modify(|state| {
            state.connected = None;
            state.last_error = Some((wall_time().0.into(), text.clone()));
        });
        if text != said {
            tracing::warn!(collector = %name, "BMP: {address}: {text}; tried again from {retry:?} on");
            said = text;
        }
        if Instant::now().saturating_duration_since(began) >= GOOD {
            retry = *connect_retry;
        }
        // A quarter is enough to spread many routers after one station has restarted.
        let wait = retry.mul_f64(1.0 - f64::from(jitter(name)) / 1024.0);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = watched.wait_for(|watched| watched.stopping) => return,
        }
        retry = (retry * 2).min(LONGEST_RETRY.max(*connect_retry));
    }
}

/// 0 to 255, by the clock and the name: no two processes wake at the same moment for long.
fn jitter(name: &str) -> u8 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    name.bytes().fold(nanos.to_le_bytes()[1], |sum, byte| sum.wrapping_mul(31).wrapping_add(byte))
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(DIAL, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)))?;
    socket.set_tcp_user_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One connection.
struct Serving<'a> {
    state: &'a watch::Sender<StationState>,
    stream: TcpStream,
    watched: watch::Receiver<Arc<Watched>>,
    beats: watch::Receiver<u64>,
    collector: Collector,
    follow: Follow,
    /// Peers that are to be asked for news.
    due: VecDeque<(Arc<str>, ConnId)>,
    statistics: Option<Interval>,
    statistics_due: bool,
    /// What the socket has not taken yet.
    pending: Vec<u8>,
    written: usize,
}

impl<'a> Serving<'a> {
    fn new(
        station: &Station,
        stream: TcpStream,
        watched: watch::Receiver<Arc<Watched>>,
        beats: watch::Receiver<u64>,
        state: &'a watch::Sender<StationState>,
    ) -> Self {
        let BmpCollector { adj_rib_in, adj_rib_out, loc_rib, statistics, .. } = station.collector;
        let monitored = Monitored { adj_rib_in, adj_rib_out, loc_rib };
        let (description, name) = station.introduction.clone();
        let statistics = statistics.map(|period| {
            let mut interval = tokio::time::interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self {
            state,
            stream,
            watched,
            beats,
            collector: Collector::new(monitored, description, name),
            follow: Follow::default(),
            due: VecDeque::new(),
            statistics,
            statistics_due: false,
            pending: Vec::new(),
            written: 0,
        }
    }

    /// Ends well when the speaker stops.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let now = Arc::clone(&self.watched.borrow_and_update());
            if now.stopping {
                return self.part(&now).await;
            }
            self.more(&now).await;
            self.wait().await?;
        }
    }

    /// Finds something to write, where nothing waits.
    async fn more(&mut self, now: &Watched) {
        while self.pending.is_empty() {
            self.pending = self.collector.next(&now.picture, wall_time());
            if !self.pending.is_empty() {
                // Sessions may have come up.
                self.ask_all();
                return;
            }
            if let Some((name, conn)) = self.due.pop_front() {
                self.ask(now, name, conn).await;
            } else if std::mem::take(&mut self.statistics_due) {
                let figures = figures(now).await;
                self.pending = self.collector.statistics(&now.picture, &figures, wall_time());
            } else {
                return;
            }
        }
    }

    fn ask_all(&mut self) {
        self.due = self.collector.followed().into();
    }

    async fn ask(&mut self, now: &Watched, name: Arc<str>, conn: ConnId) {
        let Some(line) = now.lines.get(&name) else { return };
        let Some(news) = line.news(conn, self.follow.clone(), NEWS).await else { return };
        self.pending = self.collector.news(&name, conn, &news, wall_time());
        if news.more {
            self.due.push_back((name, conn));
        }
    }

    /// Waits for the socket, or where nothing waits for it for something to write.
    async fn wait(&mut self) -> io::Result<()> {
        let idle = self.pending.is_empty();
        let mut discarded = [0; 512];
        tokio::select! {
            writable = self.stream.writable(), if !idle => {
                writable?;
                self.write()
            }
            readable = self.stream.readable() => {
                readable?;
                // "No BMP message is ever sent from the monitoring station to the monitored router" (RFC 7854 §3.2).
                match self.stream.try_read(&mut discarded) {
                    Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the station")),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    _ => Ok(()),
                }
            }
            changed = self.watched.changed(), if idle => {
                // A hub that is gone has no last words.
                changed.map_err(|_| io::Error::other("the speaker has ended"))
            }
            Ok(()) = self.beats.changed(), if idle => {
                self.ask_all();
                Ok(())
            }
            () = tick(self.statistics.as_mut()), if idle => {
                self.statistics_due = true;
                Ok(())
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let rest = self.pending.get(self.written..).unwrap_or_default();
        match self.stream.try_write(rest) {
            Ok(count) => self.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.written >= self.pending.len() {
            let all = whole(&self.pending, self.written);
            self.state.send_modify(|state| state.sent += all);
            self.pending = Vec::new();
            self.written = 0;
        }
        Ok(())
    }

    /// The connection is gone, with what it has not taken.
    fn lost(&self) {
        let (all, sent) = (whole(&self.pending, self.pending.len()), whole(&self.pending, self.written));
        self.state.send_modify(|state| {
            state.sent += sent;
            state.dropped += all.saturating_sub(sent);
        });
    }

    /// What is begun, the ends of all sessions, and a Termination, as far as the station takes them at once.
    async fn part(&mut self, now: &Watched) -> io::Result<()> {
        let last = self.collector.next(&now.picture, wall_time());
        self.pending.extend(last);
        self.pending.extend(Collector::farewell("the speaker is stopping"));
        let flushed = tokio::time::timeout(FAREWELL, async {
            while !self.pending.is_empty() {
                self.stream.writable().await?;
                self.write()?;
            }
            Ok::<_, io::Error>(())
        });
        // Nothing follows from a station that does not take it.
        drop(flushed.await);
        Ok(())
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Asks every peer's task.
async fn figures(now: &Watched) -> BTreeMap<Arc<str>, Figures> {
    let mut all = BTreeMap::new();
    for (name, line) in &now.lines {
        let Some(view) = line.view().await else { continue };
        let received = FamilyMap::from_fn(|family| match view.received.get(family) {
            ReceivedCount::Exact(count) => Some(u64::from(*count)),
            // Nobody knows how many there are.
            ReceivedCount::MoreThan(_) | ReceivedCount::Nlri { .. } => None,
        });
        all.insert(Arc::clone(name), Figures { received, treated_as_withdraw: view.treated_as_withdraw });
    }
    all
}

fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (u32::try_from(since.as_secs()).unwrap_or(u32::MAX), since.subsec_micros())
}
