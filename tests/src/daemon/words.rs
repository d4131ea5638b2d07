//! What several daemons print in words, as numbers.

/// A community in the form `high:low`, well-known names (IANA) included.
#[must_use]
pub fn community(text: &str) -> String {
    let key: String = text.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let low = match key.as_str() {
        "gracefulshutdown" | "plannedshut" => 0,
        "llgrstale" => 6,
        "nollgr" => 7,
        "blackhole" => 666,
        "noexport" => 65281,
        "noadvertise" => 65282,
        "noexportsubconfed" | "localas" => 65283,
        "nopeer" => 65284,
        _ => return text.to_owned(),
    };
    format!("65535:{low}")
}

/// An extended community as `rt:ADMIN:VALUE` or `soo:…`; anything else as it stands.
#[must_use]
pub fn extended(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase().replace([' ', ','], ":");
    let parts: Vec<&str> = lower.split(':').filter(|p| !p.is_empty()).collect();
    match parts.as_slice() {
        ["rt" | "target", admin, value] => format!("rt:{admin}:{value}"),
        ["soo" | "origin" | "ro", admin, value] => format!("soo:{admin}:{value}"),
        _ => lower,
    }
}

/// Code and subcode from the words in which BIRD and OpenBGPD print an error: the longest phrase that
/// `text` contains.
#[must_use]
pub fn notification(text: &str, table: &[(&str, u8, u8)]) -> Option<(u8, u8)> {
    let lower = text.to_ascii_lowercase();
    let found = table.iter().filter(|(words, ..)| lower.contains(&words.to_ascii_lowercase()));
    found.max_by_key(|(words, ..)| words.len()).map(|(_, code, subcode)| (*code, *subcode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_daemon_meet_in_one_form() {
        assert_eq!(community("no-export"), "65535:65281");
        assert_eq!(community("noExport"), "65535:65281");
        assert_eq!(community("NO_EXPORT"), "65535:65281");
        assert_eq!(community("64501:100"), "64501:100");
        assert_eq!(extended("RT:64502:7"), "rt:64502:7");
        assert_eq!(extended("rt, 64502, 7"), "rt:64502:7");
        assert_eq!(extended("target:64502:7"), "rt:64502:7");
    }

    #[test]
    fn the_longest_phrase_wins() {
        let table = [("Cease", 6, 0), ("Cease: administrative reset", 6, 4)];
        assert_eq!(notification("received Cease: Administrative reset", &table), Some((6, 4)));
        assert_eq!(notification("fine", &table), None);
    }
}
