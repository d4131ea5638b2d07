//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use bgp_proto::types::{Family, Prefix};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the daemon answers when nothing else is said.
pub(crate) const DEFAULT_SOCKET: &str = "/run/speaker/api.sock";

/// A load balancer for bare-metal Kubernetes and a BGP speaker.
#[derive(Debug, Parser)]
#[command(name = "speaker", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
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

/// Where the daemon is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Daemon {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// What every reader takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reader {
    /// The daemon
    #[command(flatten)]
    pub(crate) daemon: Daemon,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
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
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: RibFormat,
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
        let Command::Clear(clear) = cli.command else { panic!("{cli:?}") };
        assert_eq!((clear.soft, clear.direction), (Some(Soft::Soft), Some(Direction::Out)));

        let cli = Cli::parse_from(["speaker", "rib", "advertised", "203.0.113.0/24", "longer", "-o", "json"]);
        let Command::Rib(Rib::Advertised(query)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(query.longer, Some(Longer::Longer));
        assert_eq!(query.output, RibFormat::Json);
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
