//! Where the kernel itself answers ARP for addresses that are delivered on this host without being its own.

use std::collections::BTreeSet;
use std::path::Path;

/// The settings, a folder for each interface.
pub(super) const SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// The interfaces on which it does: "the max value from conf/{all,interface}/arp_ignore is used" (ip-sysctl), and 0 is
/// "reply for any local target IP address, configured on any interface". 4 to 7 are reserved, and the same to the kernel.
pub(super) fn answering<'a>(
    settings: &Path,
    interfaces: impl Iterator<Item = &'a String>,
) -> BTreeSet<String> {
    let value = |interface: &str| -> u32 {
        let file = settings.join(interface).join("arp_ignore");
        std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    };
    let all = value("all");
    interfaces.filter(|one| matches!(all.max(value(one)), 0 | 4..=7)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_of_two_settings_counts() {
        let root = tempfile::tempdir().unwrap();
        let set = |interface: &str, value: &str| {
            std::fs::create_dir_all(root.path().join(interface)).unwrap();
            std::fs::write(root.path().join(interface).join("arp_ignore"), value).unwrap();
        };
        let names = ["eth0".to_owned(), "eth1".to_owned()];
        let found = || answering(root.path(), names.iter()).into_iter().collect::<Vec<_>>().join(" ");
        set("all", "0\n");
        set("eth0", "0\n");
        set("eth1", "1\n");
        assert_eq!(found(), "eth0");
        set("all", "1\n");
        assert_eq!(found(), "");
        set("eth0", "5\n");
        assert_eq!(found(), "eth0");
    }
}
