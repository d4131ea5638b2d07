//! FNV-1a (draft-eastlake-fnv): tells texts apart and spreads them. It keeps nobody from making two texts alike.

/// The hash of 64 bits.
#[must_use]
pub fn fnv1a_64(octets: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    octets.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The hash of 32 bits.
#[must_use]
pub fn fnv1a_32(octets: impl IntoIterator<Item = u8>) -> u32 {
    let step = |hash: u32, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
    octets.into_iter().fold(0x811c_9dc5, step)
}

/// The octets of `first/second`.
pub fn joined<'a>(first: &'a str, second: &'a str) -> impl Iterator<Item = u8> + 'a {
    first.bytes().chain([b'/']).chain(second.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of draft-eastlake-fnv.
    #[test]
    fn the_hashes_are_the_published_ones() {
        for (text, wide, narrow) in [
            ("", 0xcbf2_9ce4_8422_2325, 0x811c_9dc5),
            ("a", 0xaf63_dc4c_8601_ec8c, 0xe40c_292c),
            ("foobar", 0x8594_4171_f739_67e8, 0xbf9c_f968),
        ] {
            assert_eq!((fnv1a_64(text.bytes()), fnv1a_32(text.bytes())), (wide, narrow), "{text:?}");
        }
        assert_eq!(fnv1a_64(joined("a", "b")), fnv1a_64("a/b".bytes()));
    }
}
