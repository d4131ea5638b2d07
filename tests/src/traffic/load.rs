//! The client: so many new connections a second, and what became of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ONCE, PATIENCE};
use crate::e2e::SOON;
use crate::lab::Node;
use crate::wait::{eventually, pause};

/// A SYN that was lost is sent again after a second: whoever took longer than this has lost one.
const SLOW: Duration = Duration::from_millis(900);

/// What became of connections.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Begun, also those that have not ended.
    pub started: u64,
    /// Answered, by whom and from where they should.
    pub ok: u64,
    /// Of the answered, those that took longer than a lost SYN does.
    pub slow: u64,
    /// Not taken: answered by RST.
    pub refused: u64,
    /// Not taken: the router or a node says that there is no way.
    pub unreachable: u64,
    /// Not taken, without a word.
    pub connect_timeouts: u64,
    /// Taken, and then RST.
    pub resets: u64,
    /// Taken, and then not answered.
    pub answer_timeouts: u64,
    /// Answered, but the server saw the client come from elsewhere.
    pub wrong_sources: u64,
    /// Anything else.
    pub odd: u64,
    /// Answers by the server's name and the address that it saw.
    pub answers: BTreeMap<(String, IpAddr), u64>,
    /// The first words about something that went wrong.
    pub first: Option<String>,
    /// The longest that an answer took.
    pub longest: Duration,
    /// When the last of those began that failed or were slow.
    pub last_bad: Option<Instant>,
    /// The most that were under way at once.
    pub peak: u64,
}

impl Tally {
    /// New connections that were not taken.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.refused + self.unreachable + self.connect_timeouts + self.odd
    }

    /// Connections that were taken and then broke: their path changed under them, or the server went.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.resets + self.answer_timeouts
    }

    /// Answers of each server.
    #[must_use]
    pub fn servers(&self) -> BTreeMap<&str, u64> {
        let mut all = BTreeMap::new();
        for ((server, _), n) in &self.answers {
            *all.entry(server.as_str()).or_default() += n;
        }
        all
    }

    /// Answers by the address that the servers saw.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<IpAddr, u64> {
        let mut all = BTreeMap::new();
        for ((_, source), n) in &self.answers {
            *all.entry(*source).or_default() += n;
        }
        all
    }

    /// Every connection was answered, at once, and seen to come from where it should.
    #[track_caller]
    pub fn assert_flawless(&self, what: &str) {
        println!("{what}: {self}");
        let flaws = self.failed() + self.broken() + self.wrong_sources + self.slow;
        assert!(flaws == 0 && self.ok > 0, "{what}: {self}");
    }

    /// No new connection failed; of those that were under way when paths changed, some may have been cut, or had to
    /// say something twice: `few`, or as many as there were at most, where the machine is slow and they pile up.
    #[track_caller]
    pub fn assert_served(&self, what: &str, few: u64) {
        println!("{what}: {self}");
        let disturbed = self.broken() + self.slow;
        assert!(
            self.failed() + self.wrong_sources == 0 && disturbed <= few.max(self.peak) && self.ok > 0,
            "{what}: {self}"
        );
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} begun, {} at once, {} ok ({} slow, longest {} ms), {} refused, {} unreachable, {} connect time-outs, {} resets, \
             {} answer time-outs, {} wrong sources, {} odd",
            self.started,
            self.peak,
            self.ok,
            self.slow,
            self.longest.as_millis(),
            self.refused,
            self.unreachable,
            self.connect_timeouts,
            self.resets,
            self.answer_timeouts,
            self.wrong_sources,
            self.odd
        )?;
        self.first.as_ref().map_or(Ok(()), |first| write!(f, "; first: {first}"))
    }
}

/// The tally, and which connections have not ended.
#[derive(Debug, Default)]
struct Books {
    tally: Tally,
    begun: u64,
    open: BTreeSet<u64>,
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Traffic to one address, until the handle goes.
#[derive(Debug)]
pub struct Load {
    books: Arc<Mutex<Books>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins `rate` connections a second from `node` to `server`, which must be seen to come from one of `sources`.
    #[must_use]
    pub fn start(node: &Node, server: SocketAddr, rate: u32, sources: &[IpAddr]) -> Self {
        // Every port once in a minute, at a thousand a second.
        node.sysctl("net/ipv4/ip_local_port_range", "1025 65535");
        let (books, stop) = (Arc::<Mutex<Books>>::default(), Arc::new(AtomicBool::new(false)));
        let (namespace, sources) = (node.namespace_file(), Arc::<[IpAddr]>::from(sources));
        let (written, stopped) = (Arc::clone(&books), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let namespace = fs::File::open(namespace).expect("namespace");
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(run(server, rate, &sources, &written, &stopped));
        });
        Self { books, stop, thread: Some(thread) }
    }

    /// What ended since the last call.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut lock(&self.books).tally)
    }

    /// Does `work` under traffic and goes on for a while; the books from its beginning to the end of that.
    pub fn during(&self, work: impl FnOnce()) -> Tally {
        let _before = self.take();
        work();
        self.go_on(1500);
        self.take()
    }

    /// Waits until `more` connections have begun, and all up to those have ended.
    pub fn go_on(&self, more: u64) {
        let goal = lock(&self.books).begun + more;
        eventually(SOON, &format!("{more} more connections"), || {
            let begun = lock(&self.books).begun;
            if begun >= goal { Ok(()) } else { Err(format!("{begun} of {goal}")) }
        });
        eventually(SOON, "they have ended", || {
            let first = lock(&self.books).open.first().copied();
            if first.is_none_or(|first| first >= goal) { Ok(()) } else { Err(format!("{first:?} of {goal}")) }
        });
    }

    /// Waits until nothing has gone wrong for `calm`; says when the last one that did began. None where nothing did
    /// since the last [`Self::take`].
    #[must_use]
    pub fn recovered(&self, calm: Duration, deadline: Duration) -> Option<Instant> {
        let end = Instant::now() + deadline;
        let begun = Instant::now();
        loop {
            let last = lock(&self.books).tally.last_bad;
            // One that fails is only known after its time.
            if last.unwrap_or(begun).elapsed() > calm + 2 * PATIENCE {
                return last;
            }
            assert!(Instant::now() < end, "still failing: {}", self.take());
            pause();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

async fn run(
    server: SocketAddr,
    rate: u32,
    sources: &Arc<[IpAddr]>,
    books: &Arc<Mutex<Books>>,
    stop: &AtomicBool,
) {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let mut sent: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) * u64::from(rate) / 1000;
        // What a stall has left behind is caught up with by and by, not in one burst.
        let now = due.saturating_sub(sent).min(20);
        sent = if due.saturating_sub(sent) > 2000 { due } else { sent + now };
        for _ in 0..now {
            let (sources, books) = (Arc::clone(sources), Arc::clone(books));
            let number = {
                let mut books = lock(&books);
                books.tally.started += 1;
                books.begun += 1;
                let number = books.begun;
                books.open.insert(number);
                let now = u64::try_from(books.open.len()).unwrap_or(u64::MAX);
                books.tally.peak = books.tally.peak.max(now);
                number
            };
            tokio::spawn(async move {
                let begun = Instant::now();
                let outcome = one(server).await;
                let mut books = lock(&books);
                books.open.remove(&number);
                note(&mut books.tally, outcome, begun, &sources);
            });
        }
    }
}

enum Failure {
    Connect(std::io::Error),
    ConnectTimeout,
    Answer(std::io::Error),
    AnswerTimeout,
}

async fn one(server: SocketAddr) -> Result<String, Failure> {
    let connected = timeout(PATIENCE, TcpStream::connect(server)).await;
    let mut stream = connected.map_err(|_| Failure::ConnectTimeout)?.map_err(Failure::Connect)?;
    let exchange = async {
        stream.write_all(&[ONCE]).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        // The server has closed: RST frees the port on the way, and conntrack's entry.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(text)
    };
    timeout(PATIENCE, exchange).await.map_err(|_| Failure::AnswerTimeout)?.map_err(Failure::Answer)
}

fn note(tally: &mut Tally, outcome: Result<String, Failure>, begun: Instant, sources: &[IpAddr]) {
    let took = begun.elapsed();
    let words = match outcome {
        Ok(text) => {
            let parsed = text.trim().split_once(' ').and_then(|(who, from)| Some((who, from.parse().ok()?)));
            let Some((server, from)) = parsed else {
                tally.odd += 1;
                bad(tally, begun, format!("answer {text:?}"));
                return;
            };
            *tally.answers.entry((server.to_owned(), from)).or_default() += 1;
            tally.longest = tally.longest.max(took);
            if sources.contains(&from) {
                tally.ok += 1;
                tally.slow += u64::from(took > SLOW);
                if took > SLOW {
                    bad(tally, begun, format!("{server} answered after {} ms", took.as_millis()));
                }
                return;
            }
            tally.wrong_sources += 1;
            format!("{server} saw {from}")
        }
        Err(Failure::ConnectTimeout) => {
            tally.connect_timeouts += 1;
            "connect: timed out".to_owned()
        }
        Err(Failure::AnswerTimeout) => {
            tally.answer_timeouts += 1;
            "answer: timed out".to_owned()
        }
        Err(Failure::Connect(e)) => {
            match e.kind() {
                ErrorKind::ConnectionRefused => tally.refused += 1,
                // RST to a SYN is "refused": this one was taken, and cut before anybody here had looked.
                ErrorKind::ConnectionReset => tally.resets += 1,
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => tally.unreachable += 1,
                _ => tally.odd += 1,
            }
            format!("connect: {e}")
        }
        Err(Failure::Answer(e)) => {
            tally.resets += 1;
            format!("answer: {e}")
        }
    };
    bad(tally, begun, words);
}

fn bad(tally: &mut Tally, begun: Instant, words: String) {
    tally.last_bad = tally.last_bad.max(Some(begun));
    tally.first.get_or_insert(words);
}
