//! What can be typed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bgp_proto::types::{Family, Prefix};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the daemon answers when nothing else is said.
const DEFAULT_SOCKET: &str = "/run/speaker/api.sock";

/// A load balancer for bare-metal Kubernetes and a BGP speaker.
#[derive(Debug, Parser)]
#[command(name = "speaker", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The daemon's socket, for a command that asks the daemon; as well behind the command
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How to print it, for a command that shows something; as well behind the command
    #[arg(short, long, value_enum, hide_possible_values = true, value_name = "FORMAT")]
    output: Option<RibFormat>,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// The command, with what stands before it as if it stood behind it. What stands behind it goes first.
    ///
    /// # Errors
    /// The command has no use for it.
    pub(crate) fn into_command(self) -> Result<Command, clap::Error> {
        let Self { socket, output, mut command } = self;
        let refuse = |option: &str| {
            let text = format!("this command takes no {option}");
            Err(<Self as clap::CommandFactory>::command()
                .error(clap::error::ErrorKind::UnknownArgument, text))
        };
        if let Some(socket) = socket {
            let Some(daemon) = command.daemon() else { return refuse("--socket") };
            daemon.socket.get_or_insert(socket);
        }
        if let Some(wanted) = output {
            match (command.output(), wanted.plain()) {
                (Output::Routes(output), _) => {
                    output.get_or_insert(wanted);
                }
                (Output::Reader(output), Some(wanted)) => {
                    output.get_or_insert(wanted);
                }
                (Output::Reader(_), None) => return refuse("--output mrt: it is a format of routes"),
                (Output::None, _) => return refuse("--output"),
            }
        }
        Ok(command)
    }
}

/// Where a command keeps how its answer is printed.
enum Output<'a> {
    None,
    Reader(&'a mut Option<Format>),
    Routes(&'a mut Option<RibFormat>),
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole of it in one process: real BGP over loopback, no root, no cluster, no file
    Demo,
    /// Run the daemon
    Run(Run),
    /// Give LoadBalancer Services of a Kubernetes cluster their addresses; replicas elect a leader
    Operator(Operator),
    /// Check a configuration; prints every error and warning
    Check(Check),
    /// Show routes
    #[command(subcommand)]
    Rib(Rib),
    /// Show BGP sessions, or one in full
    #[command(alias = "neighbors", alias = "neighbours")]
    Peers(Peers),
    /// Show pools and what became of their prefixes
    Pools(Reader),
    /// Show LoadBalancer Services and what became of their addresses
    Services(Reader),
    /// Say why a prefix, an address or a Service is announced, or which gate holds it back
    Explain(Explain),
    /// Reset a session, or with `soft` only the routes
    Clear(Clear),
    /// Take a session down until `no-shutdown`; the message goes to the peer (RFC 9003)
    Shutdown(Shutdown),
    /// Let a session come up again
    NoShutdown(OnePeer),
    /// Take this node out of service: warn its peers, then withdraw its routes; until `undrain`
    Drain(Drain),
    /// Bring this node back into service
    Undrain(Daemon),
    /// Sessions and routes, live
    Watch(Daemon),
    /// Print the custom resource definitions as YAML
    Crds,
    /// Print what makes a shell complete this command: `speaker completions bash > /etc/bash_completion.d/speaker`
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Show the versions of the command and of the daemon
    Version(Reader),
}

impl Command {
    /// Where it keeps the daemon that it asks.
    fn daemon(&mut self) -> Option<&mut Daemon> {
        Some(match self {
            Self::Demo
            | Self::Run(_)
            | Self::Operator(_)
            | Self::Check(_)
            | Self::Crds
            | Self::Completions { .. } => return None,
            Self::Rib(Rib::Advertised(query) | Rib::Local(query) | Rib::Received(query)) => &mut query.daemon,
            Self::Peers(Peers { reader, .. })
            | Self::Explain(Explain { reader, .. })
            | Self::Pools(reader)
            | Self::Services(reader)
            | Self::Version(reader) => &mut reader.daemon,
            Self::Clear(Clear { daemon, .. })
            | Self::Shutdown(Shutdown { daemon, .. })
            | Self::NoShutdown(OnePeer { daemon, .. })
            | Self::Drain(Drain { daemon, .. })
            | Self::Undrain(daemon)
            | Self::Watch(daemon) => daemon,
        })
    }

    fn output(&mut self) -> Output<'_> {
        match self {
            Self::Rib(Rib::Advertised(query) | Rib::Local(query) | Rib::Received(query)) => {
                Output::Routes(&mut query.output)
            }
            Self::Peers(Peers { reader, .. })
            | Self::Explain(Explain { reader, .. })
            | Self::Pools(reader)
            | Self::Services(reader)
            | Self::Version(reader) => Output::Reader(&mut reader.output),
            _ => Output::None,
        }
    }
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// speaker.yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Write every event as a JSON line, for replay in a test
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Serve /metrics, and nothing else, on this address too: the node's own, where api.http is on loopback
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_socket)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Remove every route and rule that a speaker has put into this host's kernel, and end
    #[arg(long, conflicts_with = "record")]
    pub(crate) cleanup: bool,
}

/// `operator`.
#[derive(Debug, Args)]
pub(crate) struct Operator {
    /// speaker.yaml, of which ipam, nodeIpam, operator and api.http count; without it the defaults do
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve /metrics, and nothing else, on this address too
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_socket)]
    pub(crate) metrics: Option<SocketAddr>,
}

/// `check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// speaker.yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Look at this host too: whether ports and paths are free, and what its kernel lacks
    #[arg(long)]
    pub(crate) node: bool,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns
    Table,
    /// Columns, all of them
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// How routes are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RibFormat {
    /// Columns
    Table,
    /// Columns, all of them
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// An MRT file for bgpdump and its like: the table (TABLE_DUMP_V2, RFC 6396)
    Mrt,
    /// An MRT file: the UPDATEs that build the table (BGP4MP)
    MrtUpdates,
}

impl RibFormat {
    /// The format of every reader, where it is one.
    pub(crate) const fn plain(self) -> Option<Format> {
        Some(match self {
            Self::Table => Format::Table,
            Self::Wide => Format::Wide,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
            Self::Mrt | Self::MrtUpdates => return None,
        })
    }
}

/// Where the daemon is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Daemon {
    /// The daemon's socket [default: /run/speaker/api.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Daemon {
    /// Its socket.
    pub(crate) fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
    }
}

/// What every reader takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reader {
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
    /// How to print it [default: table]
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

impl Reader {
    /// How to print it.
    pub(crate) fn output(&self) -> Format {
        self.output.unwrap_or(Format::Table)
    }
}

/// `rib`.
#[derive(Debug, Subcommand)]
pub(crate) enum Rib {
    /// What each peer was told: the Adj-RIB-Out, after policy
    Advertised(RibQuery),
    /// What this node has a reason to announce: the Loc-RIB
    Local(RibQuery),
    /// What peers sent
    Received(RibQuery),
}

/// Which routes.
#[derive(Debug, Args)]
pub(crate) struct RibQuery {
    /// Only this peer
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,
    /// Only this family: ipv4-unicast or ipv6-unicast
    #[arg(long, value_name = "FAMILY")]
    pub(crate) family: Option<Family>,
    /// Only this prefix; an address stands for its host route
    #[arg(value_parser = parse_prefix)]
    pub(crate) prefix: Option<Prefix>,
    /// And what is inside it
    #[arg(value_enum, requires = "prefix")]
    pub(crate) longer: Option<Longer>,
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
    /// How to print it [default: table]
    #[arg(short, long, value_enum)]
    output: Option<RibFormat>,
}

impl RibQuery {
    /// How to print it.
    pub(crate) fn output(&self) -> RibFormat {
        self.output.unwrap_or(RibFormat::Table)
    }
}

/// The word `longer` after a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Longer {
    /// Include more specific prefixes
    #[value(alias = "longer-prefixes", alias = "or-longer")]
    Longer,
}

/// `peers`.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// One peer in full
    pub(crate) name: Option<String>,
    /// Daemon and format
    #[command(flatten)]
    pub(crate) reader: Reader,
}

/// `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A prefix, an address, NAMESPACE/NAME of a Service, or the name of a pool
    pub(crate) target: String,
    /// Daemon and format
    #[command(flatten)]
    pub(crate) reader: Reader,
}

/// `clear`.
#[derive(Debug, Args)]
pub(crate) struct Clear {
    /// The peer's name, or `all`
    pub(crate) peer: String,
    /// Keep the session: exchange the routes again
    #[arg(value_enum)]
    pub(crate) soft: Option<Soft>,
    /// Which direction; both where absent
    #[arg(value_enum, requires = "soft")]
    pub(crate) direction: Option<Direction>,
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// The word `soft`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Soft {
    /// Route refresh instead of a reset
    Soft,
}

/// The words `in` and `out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// Ask the peer for its routes again
    In,
    /// Send the peer our routes again
    Out,
}

/// `shutdown`.
#[derive(Debug, Args)]
pub(crate) struct Shutdown {
    /// The peer's name
    pub(crate) peer: String,
    /// What to tell the other side's operator, 255 octets at most
    pub(crate) message: Vec<String>,
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// `drain`.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// How long routes are announced with the graceful-shutdown community before they are withdrawn, such as
    /// 60s or 2m; else as the daemon's configuration says
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) lasts: Option<u32>,
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// A command about one peer.
#[derive(Debug, Args)]
pub(crate) struct OnePeer {
    /// The peer's name
    pub(crate) peer: String,
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
}

/// An address and a port. A Pod's `$(NODE_IP):9180` has no brackets around an IPv6 address: the port is what
/// stands behind the last colon.
fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    if let Ok(socket) = text.parse() {
        return Ok(socket);
    }
    text.rsplit_once(':')
        .and_then(|(address, port)| Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?)))
        .ok_or_else(|| "write address and port, for example 10.0.0.1:9180 or [2001:db8::1]:9180".to_owned())
}

/// Whole seconds, written with a unit.
fn parse_time(text: &str) -> Result<u32, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let parsed = units.into_iter().find_map(|(unit, seconds)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|time| *time <= 24 * 3600)
    });
    parsed.ok_or_else(|| "write it as 60s, 2m or 1h, a day at most".to_owned())
}

/// A prefix, or an address as its host route.
fn parse_prefix(text: &str) -> Result<Prefix, String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(addr) => Ok(Prefix::host(addr)),
        Err(_) => text.parse::<Prefix>().map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_router_operators_words_are_understood() {
        let cli = Cli::parse_from(["speaker", "clear", "tor-a", "soft", "out"]);
        let Command::Clear(clear) = cli.into_command().unwrap() else { panic!("another command") };
        assert_eq!((clear.soft, clear.direction), (Some(Soft::Soft), Some(Direction::Out)));

        let cli = Cli::parse_from(["speaker", "rib", "advertised", "203.0.113.0/24", "longer", "-o", "json"]);
        let Command::Rib(Rib::Advertised(query)) = cli.into_command().unwrap() else {
            panic!("another command")
        };
        assert_eq!(query.longer, Some(Longer::Longer));
        assert_eq!(query.output(), RibFormat::Json);
    }

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).and_then(Cli::into_command)
    }

    #[test]
    fn what_stands_before_a_command_counts_as_if_it_stood_behind_it() {
        for line in ["speaker --socket /s -o json peers", "speaker peers --socket /s -o json"] {
            let Command::Peers(peers) = parsed(line).unwrap() else { panic!("{line}") };
            assert_eq!(
                (peers.reader.daemon.socket(), peers.reader.output()),
                (Path::new("/s"), Format::Json)
            );
        }
        let Command::Pools(pools) = parsed("speaker --socket /a -o json pools --socket /b -o yaml").unwrap()
        else {
            panic!("another command")
        };
        assert_eq!((pools.daemon.socket(), pools.output()), (Path::new("/b"), Format::Yaml));
        let Command::Services(plain) = parsed("speaker services").unwrap() else { panic!("another command") };
        assert_eq!((plain.daemon.socket(), plain.output()), (Path::new(DEFAULT_SOCKET), Format::Table));
        let Command::Rib(Rib::Local(query)) = parsed("speaker -o mrt rib local").unwrap() else {
            panic!("another command")
        };
        assert_eq!(query.output(), RibFormat::Mrt);
        for line in
            ["speaker --socket /s clear all", "speaker --socket /s watch", "speaker --socket /s drain"]
        {
            assert_eq!(parsed(line).unwrap().daemon().unwrap().socket(), Path::new("/s"), "{line}");
        }
    }

    /// An option that would do nothing is wrong usage.
    #[test]
    fn a_command_refuses_what_it_has_no_use_for() {
        for line in [
            "speaker --socket /s demo",
            "speaker --socket /s check --config f",
            "speaker --socket /s run --config f",
            "speaker -o json clear all",
            "speaker -o json crds",
            "speaker -o mrt peers",
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("this command takes no --"), "{line}: {error}");
        }
    }

    #[test]
    fn metrics_take_an_address_as_a_pod_is_told_it() {
        for (text, expected) in [
            ("10.0.0.1:9180", "10.0.0.1:9180"),
            ("[2001:db8::1]:9180", "[2001:db8::1]:9180"),
            ("2001:db8::1:9180", "[2001:db8::1]:9180"),
        ] {
            assert_eq!(parse_socket(text).unwrap().to_string(), expected);
        }
        for wrong in ["9180", ":9180", "node:9180", "10.0.0.1", "10.0.0.1:http"] {
            assert!(parse_socket(wrong).unwrap_err().contains("10.0.0.1:9180"), "{wrong}");
        }
    }

    #[test]
    fn a_drain_lasts_a_time_with_a_unit() {
        assert_eq!((parse_time("90s"), parse_time("2m"), parse_time("24h")), (Ok(90), Ok(120), Ok(86_400)));
        for text in ["60", "", "s", "-1s", "25h", "99999999999h", "1d"] {
            assert!(parse_time(text).unwrap_err().contains("60s"), "{text}");
        }
    }

    #[test]
    fn an_address_stands_for_its_host_route() {
        assert_eq!(parse_prefix("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert!(parse_prefix("nonsense").is_err());
    }
}
