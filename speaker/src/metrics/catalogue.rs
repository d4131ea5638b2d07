//! Every metric: its name, what it counts and by what. `docs/metrics.md` is made from this.
//!
//! Names have a unit at their end where there is one; `_total` stands behind counters alone. Labels have few
//! values: peers and pools by name up to [`MOST`], and words from fixed lists.

/// The most peers, and the most pools, that have numbers of their own; [`OMITTED`] counts the others.
pub const MOST: usize = 500;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process or its peer's task begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values lie below each of some bounds.
    Histogram,
    /// Always 1: the labels say it all.
    Info,
}

/// What a metric counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    None,
    /// Seconds; times are counted from 1970.
    Seconds,
    /// Octets.
    Bytes,
}

/// Which role of the program shows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `speaker run` alone.
    Agent,
    /// `speaker operator` alone.
    Operator,
    /// Both.
    Both,
}

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without the suffixes that come from unit and kind.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// Who shows it.
    pub role: Role,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

impl Metric {
    /// The name as it is scraped: with unit, `_total` or `_info`.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = match self.unit {
            Unit::None => "",
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
        };
        let kind = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{kind}", self.name)
    }

    const fn new(
        name: &'static str,
        kind: Kind,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, unit, role: Role::Agent, labels, help }
    }

    const fn of_operator(self) -> Self {
        Self { role: Role::Operator, ..self }
    }

    const fn both(self) -> Self {
        Self { role: Role::Both, ..self }
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(name, Kind::Gauge, Unit::None, labels, help)
}

const fn seconds(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(name, Kind::Gauge, Unit::Seconds, labels, help)
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(name, Kind::Counter, Unit::None, labels, help)
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(name, Kind::Histogram, Unit::Seconds, labels, help)
}

const fn info(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(name, Kind::Info, Unit::None, labels, help)
}

/// Declares the metrics and the list of all of them together, so that none is missing from the list.
macro_rules! metrics {
    ($($name:ident = $metric:expr;)*) => {
        $(
            #[doc = "See its help text."]
            pub static $name: Metric = $metric;
        )*
        /// Every metric.
        pub static ALL: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    SESSION = info("speaker_bgp_session", &["peer", "address", "asn", "local_asn"], "The peer as configured; its AS as agreed on where the session was up.");
    SESSION_UP = gauge("speaker_bgp_session_up", &["peer"], "Whether the session is Established.");
    SESSION_STATE = gauge("speaker_bgp_session_state", &["peer"], "State of the FSM, numbered as bgpPeerState of RFC 4273: 1 Idle, 2 Connect, 3 Active, 4 OpenSent, 5 OpenConfirm, 6 Established.");
    SESSION_SHUTDOWN = gauge("speaker_bgp_session_shutdown", &["peer"], "Whether an operator keeps the session down.");
    SESSION_UPTIME = seconds("speaker_bgp_session_uptime", &["peer"], "How long the session has been Established; 0 where it is not.");
    SESSION_ESTABLISHED = counter("speaker_bgp_session_established", &["peer"], "How often the session came up.");
    SESSION_FLAPS = counter("speaker_bgp_session_flaps", &["peer"], "How often the session went down after it had been up.");
    TASK_PANICS = counter("speaker_bgp_task_panics", &["peer"], "How often the peer's task has panicked, a fault of the speaker itself, and was begun anew.");
    LAST_ERROR_CODE = gauge("speaker_bgp_session_last_error_code", &["peer", "direction"], "Code of the last NOTIFICATION, sent or received; not there before the first.");
    LAST_ERROR_SUBCODE = gauge("speaker_bgp_session_last_error_subcode", &["peer", "direction"], "Its subcode.");
    MESSAGES_RECEIVED = counter("speaker_bgp_messages_received", &["peer", "type"], "Messages from the peer: open, update, notification, keepalive, route-refresh.");
    MESSAGES_SENT = counter("speaker_bgp_messages_sent", &["peer", "type"], "Messages to the peer.");
    QUEUE = Metric::new("speaker_bgp_queue", Kind::Gauge, Unit::Bytes, &["peer", "direction"], "Octets that wait: in, to be looked at; out, for the peer to read them.");
    ROUTES_RECEIVED = gauge("speaker_bgp_routes_received", &["peer", "family"], "Prefixes that the peer announces, up to maxPrefixes.");
    ROUTES_LEARNED = gauge("speaker_bgp_routes_learned", &["peer", "family", "state"], "Routes of the peer that learn asks for: kept, up to maxPrefixes; used, of those; stale, of those kept while it restarts.");
    LEARNED_INSTALLED = gauge("speaker_kernel_routes_learned", &[], "Learned routes in the kernel's main table.");
    ROUTES_ADVERTISED = gauge("speaker_bgp_routes_advertised", &["peer", "family"], "Prefixes that the peer is told.");
    ADVERTISE = histogram("speaker_bgp_advertise_duration", &["peer"], "From the moment when a source told of a change until its last octet was written to the peer: changes that announced something.");
    WITHDRAW = histogram("speaker_bgp_withdraw_duration", &["peer"], "The same for changes that withdrew something.");
    ROUTES = gauge("speaker_bgp_routes", &["family"], "Prefixes that this node has a reason to announce: the Loc-RIB.");
    L2_ADDRESSES = gauge("speaker_l2_addresses", &["family", "state"], "Addresses that may be announced on the segments, where L2 is on: held, this node answers for them; elsewhere, another node holds them; waiting, this node may hold them and does not answer yet; excluded, it may not, and nobody holds them.");
    LISTENER_UP = gauge("speaker_bgp_listener_up", &["address"], "Whether a socket of router.listen is bound.");
    BMP_CONNECTED = gauge("speaker_bmp_connected", &["collector"], "Whether the monitoring station is connected.");
    BMP_CONNECTED_SINCE = seconds("speaker_bmp_connected_timestamp", &["collector"], "Since when it is connected; 0 where it is not.");
    BMP_CONNECTIONS = counter("speaker_bmp_connections", &["collector"], "How often it was connected.");
    BMP_MESSAGES_SENT = counter("speaker_bmp_messages_sent", &["collector"], "Messages that its connections have taken.");
    BMP_MESSAGES_DROPPED = counter("speaker_bmp_messages_dropped", &["collector"], "Messages that were made for it and lost with their connection; over the next one everything is told anew.");
    POOL_ADDRESSES = gauge("speaker_ipam_pool_addresses", &["pool", "family"], "Addresses of the pool in all.").both();
    POOL_USED = gauge("speaker_ipam_pool_addresses_used", &["pool", "family"], "Addresses handed out or reserved.").both();
    POOL_AVAILABLE = gauge("speaker_ipam_pool_addresses_available", &["pool", "family"], "Addresses left.").both();
    POOL_CONFLICTING = gauge("speaker_ipam_pool_conflicting", &["pool"], "Whether the pool overlaps an older one and gives out nothing.").both();
    POOL_DISABLED = gauge("speaker_ipam_pool_disabled", &["pool"], "Whether the pool is disabled.").both();
    SERVICES = gauge("speaker_ipam_services", &["state"], "Services of type LoadBalancer by what their condition says of their request for addresses: satisfied, unsatisfied, or unknown where there is no such condition.").both();
    LEADER = gauge("speaker_operator_leader", &[], "Whether this replica leads; the sum over all is 1, or 0 while nobody does.").of_operator();
    STATUS_WRITES = counter("speaker_operator_status_writes", &["result"], "Writes since this replica leads, of statuses and of CiliumBGPNodeConfigs, by what became of them: written, conflict or failed.").of_operator();
    STATUS_WRITES_WAITING = gauge("speaker_operator_status_writes_waiting", &[], "Objects that are to be written.").of_operator();
    STATUS_WRITES_IN_FLIGHT = gauge("speaker_operator_status_writes_in_flight", &[], "Objects that are being written.").of_operator();
    EVENTS_DROPPED = counter("speaker_operator_events_dropped", &[], "Kubernetes Events that were dropped, since more came than may go out.").of_operator();
    READY = gauge("speaker_ready", &[], "Whether readiness lets this node announce: 1 where nothing is waited for.");
    KEPT_IN_FORCE = gauge("speaker_kept_in_force", &[], "Whether what is announced is the set that the process before this one left, since the API server has not answered yet.");
    KEPT = seconds("speaker_kept_timestamp", &[], "When the set was made that is kept for a restart without the API server, or is announced after one; not there where there is none.");
    CONFIG = info("speaker_config", &["hash"], "The configuration in force, by a hash of its text (FNV-1a, 64 bits).");
    CONFIG_LOADED = seconds("speaker_config_loaded_timestamp", &[], "When the configuration in force was loaded.");
    CONFIG_REFUSED = gauge("speaker_config_refused", &[], "Whether the file as it stands was refused, so that an older text is in force.");
    CONFIG_RELOADS = counter("speaker_config_reloads", &["result"], "Changed files, by what became of them: loaded or refused.");
    CONFIG_RESTART_NEEDED = gauge("speaker_config_restart_needed", &[], "Keys whose new values wait for a restart.");
    SOURCE_SYNCED = gauge("speaker_source_synced", &["source"], "Whether the source has delivered its first full list.");
    SOURCE_LAST_EVENT = seconds("speaker_source_last_event_timestamp", &["source"], "When the source last told of something.");
    SOURCE_FAULTS = gauge("speaker_source_faults", &[], "What sources have that is not in force as it stands: manifests, objects, state files; each is told by `speaker version`.");
    RECONCILE_ERRORS = counter("speaker_reconcile_errors", &["component"], "Failures that are tried again: kubernetes, kernel, link, manifests.").both();
    HUB_TURN = histogram("speaker_hub_turn_duration", &[], "How long the single writer was busy with what came together, scrapes included.");
    OMITTED = gauge("speaker_metrics_omitted", &["kind"], "Peers and pools beyond the first 500, which have no numbers of their own.").both();
    BUILD = info("speaker_build", &["version", "role"], "The program: its version, and agent or operator.").both();
    PROCESS_START = seconds("process_start_time", &[], "When the process started.").both();
    PROCESS_CPU = Metric::new("process_cpu", Kind::Counter, Unit::Seconds, &[], "Processor time, user and system.").both();
    PROCESS_RESIDENT = Metric::new("process_resident_memory", Kind::Gauge, Unit::Bytes, &[], "Resident memory.").both();
    PROCESS_VIRTUAL = Metric::new("process_virtual_memory", Kind::Gauge, Unit::Bytes, &[], "Virtual memory.").both();
    PROCESS_FDS = gauge("process_open_fds", &[], "Open file descriptors.").both();
    PROCESS_MAX_FDS = gauge("process_max_fds", &[], "The most that may be open.").both();
}

#[cfg(test)]
mod tests;
