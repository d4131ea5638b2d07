//! Whether this process may change the network, and open raw sockets.

/// CAP_NET_ADMIN, as a bit of the effective set.
const NET_ADMIN: u32 = 12;

/// CAP_NET_RAW, likewise.
const NET_RAW: u32 = 13;

/// What to do where it is missing.
pub(crate) const MISSING: &str = "CAP_NET_ADMIN is missing; give it to the process (in Kubernetes: securityContext.capabilities.add: [NET_ADMIN])";

/// What to do where raw sockets cannot be opened.
pub(crate) const MISSING_RAW: &str = "CAP_NET_RAW is missing; give it to the process (in Kubernetes: securityContext.capabilities.add: [NET_RAW])";

/// Whether the process has CAP_NET_ADMIN. True where that cannot be found out: the kernel will say.
#[must_use]
pub fn may_change_network() -> bool {
    may(NET_ADMIN)
}

/// Whether the process has CAP_NET_RAW, likewise.
pub(crate) fn may_open_raw_sockets() -> bool {
    may(NET_RAW)
}

fn may(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).is_none_or(|all| has(all, capability))
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn has(capabilities: u64, capability: u32) -> bool {
    capabilities & (1 << capability) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_is_read_from_the_effective_set() {
        let status = "Name:\tspeaker\nCapPrm:\t0000000000001000\nCapEff:\t0000000000000000\n";
        let has = |status: &str| effective(status).map(|all| (has(all, NET_ADMIN), has(all, NET_RAW)));
        assert_eq!(has(status), Some((false, false)));
        assert_eq!(has("CapEff:\t00000000a80425fb\n"), Some((false, true)));
        assert_eq!(has("CapEff:\t0000000000001000\n"), Some((true, false)));
        assert_eq!(has("CapEff:\t000001ffffffffff\n"), Some((true, true)));
        assert_eq!(effective("Name:\tspeaker\n"), None);
    }
}
