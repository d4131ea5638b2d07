//! Whether this process may change the network.

/// CAP_NET_ADMIN, as a bit of the effective set.
const NET_ADMIN: u32 = 12;

/// What to do where it is missing.
pub(crate) const MISSING: &str = "CAP_NET_ADMIN is missing; give it to the process (in Kubernetes: securityContext.capabilities.add: [NET_ADMIN])";

/// Whether the process has CAP_NET_ADMIN. True where that cannot be found out: the kernel will say.
#[must_use]
pub fn may_change_network() -> bool {
    std::fs::read_to_string("/proc/self/status").map_or(true, |status| effective(&status).is_none_or(has))
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn has(capabilities: u64) -> bool {
    capabilities & (1 << NET_ADMIN) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_is_read_from_the_effective_set() {
        let status = "Name:\tspeaker\nCapPrm:\t0000000000001000\nCapEff:\t0000000000000000\n";
        assert_eq!(effective(status).map(has), Some(false));
        assert_eq!(effective("CapEff:\t00000000a80425fb\n").map(has), Some(false));
        assert_eq!(effective("CapEff:\t0000000000001000\n").map(has), Some(true));
        assert_eq!(effective("CapEff:\t000001ffffffffff\n").map(has), Some(true));
        assert_eq!(effective("Name:\tspeaker\n"), None);
    }
}
