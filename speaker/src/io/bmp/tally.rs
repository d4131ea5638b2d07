//! Counting messages where they are written.

/// The common header: version, length of the whole message, type (RFC 7854 §4.1).
const HEADER: usize = 6;

/// How many of the messages in `octets` lie within the first `written`.
pub(super) fn whole(octets: &[u8], written: usize) -> u64 {
    let (mut count, mut end) = (0, 0_usize);
    while let Some([_, a, b, c, d, _]) = octets.get(end..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        end = end.saturating_add(length.max(HEADER));
        if end > written {
            break;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use bgp_proto::bmp::Message;

    use super::*;

    #[test]
    fn a_message_counts_once_it_is_written_whole() {
        let mut octets = Vec::new();
        let ends: Vec<usize> = ["one", "another", ""]
            .map(|text| {
                Message::Initiation(vec![(0, text.to_owned())]).encode(&mut octets);
                octets.len()
            })
            .to_vec();
        for written in 0..=octets.len() {
            let before = ends.iter().filter(|end| **end <= written).count();
            assert_eq!(whole(&octets, written), before as u64, "{written} of {ends:?}");
        }
        assert_eq!(whole(&[3, 0, 0, 0, 0, 4], 6), 1, "a length below that of the header ends too");
    }
}
