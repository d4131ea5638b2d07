//! Captures with tcpdump, and a reader for what it writes: classic pcap, Ethernet, IPv4 and IPv6, TCP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::{Lab, Node};
use crate::process::Process;
use crate::wait::eventually;

/// A running capture of BGP traffic.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// One TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Microseconds since 1970.
    pub micros: u64,
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Sequence number of the first byte.
    pub sequence: u32,
    /// The SYN flag.
    pub syn: bool,
    /// FIN or RST.
    pub close: bool,
    /// The IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// TCP option 19 (MD5) is there.
    pub md5: bool,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl Capture {
    /// Starts tcpdump for TCP port 179 on an interface and waits until it listens.
    pub fn start(lab: &Lab, node: &Node, dev: &str) -> Self {
        Self::of(lab, node, dev, "tcp port 179")
    }

    /// The same for what `filter` (pcap-filter(7)) lets through.
    pub fn of(lab: &Lab, node: &Node, dev: &str, filter: &str) -> Self {
        let file = lab.capture_file();
        let name = format!("tcpdump-{}", file.file_stem().unwrap_or_default().to_string_lossy());
        let process = node.spawn(
            &name,
            Command::new("tcpdump")
                .args(["-i", dev, "-U", "--immediate-mode", "-s0", "-B", "32768", "-Z", "root", "-w"])
                .arg(&file)
                .arg(filter),
        );
        eventually(Duration::from_secs(10), "tcpdump listens", || {
            let log = process.log();
            if log.contains("listening on") { Ok(()) } else { Err(log) }
        });
        Self { process, file }
    }

    /// What has been captured so far.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        read(&self.file)
    }

    /// The Ethernet frames captured so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        records(&self.file).into_iter().map(|(_, frame)| frame).collect()
    }

    /// Ends the capture and returns all of it.
    #[must_use]
    pub fn stop(self) -> Vec<Segment> {
        self.process.terminate();
        read(&self.file)
    }
}

/// Reads a capture file; a record that is not whole yet ends it.
///
/// # Panics
/// If the file is not a classic little-endian pcap of Ethernet frames.
#[must_use]
pub fn read(file: &Path) -> Vec<Segment> {
    records(file).into_iter().filter_map(|(time, frame)| ethernet(time, &frame)).collect()
}

/// Frames with the microseconds since 1970.
fn records(file: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap_or_default();
    if bytes.len() < 24 {
        return Vec::new();
    }
    assert_eq!(u32_le(&bytes, 0), Some(0xa1b2_c3d4), "{}: not a pcap file", file.display());
    assert_eq!(u32_le(&bytes, 20), Some(1), "{}: not Ethernet", file.display());
    let mut at = 24;
    let mut frames = Vec::new();
    while let (Some(seconds), Some(micros), Some(len)) =
        (u32_le(&bytes, at), u32_le(&bytes, at + 4), u32_le(&bytes, at + 8))
    {
        let start = at + 16;
        let Some(frame) = bytes.get(start..start + len as usize) else { break };
        frames.push((u64::from(seconds) * 1_000_000 + u64::from(micros), frame.to_vec()));
        at = start + len as usize;
    }
    frames
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ethernet(micros: u64, frame: &[u8]) -> Option<Segment> {
    let packet = frame.get(14..)?;
    match u16_be(frame, 12)? {
        0x0800 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let total = usize::from(u16_be(packet, 2)?);
            let address = |at: usize| -> Option<IpAddr> {
                Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into())
            };
            tcp(micros, address(12)?, address(16)?, *packet.get(8)?, packet.get(header..total)?)
        }
        0x86dd => {
            let total = 40 + usize::from(u16_be(packet, 4)?);
            let address = |at: usize| -> Option<IpAddr> {
                Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).into())
            };
            tcp(micros, address(8)?, address(24)?, *packet.get(7)?, packet.get(40..total)?)
        }
        _ => None,
    }
}

fn tcp(micros: u64, from: IpAddr, to: IpAddr, ttl: u8, segment: &[u8]) -> Option<Segment> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    let flags = *segment.get(13)?;
    let sequence = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
    Some(Segment {
        micros,
        from: SocketAddr::new(from, u16_be(segment, 0)?),
        to: SocketAddr::new(to, u16_be(segment, 2)?),
        sequence,
        syn: flags & 0x02 != 0,
        close: flags & 0x05 != 0,
        ttl,
        md5: has_md5(segment.get(20..header)?),
        payload: segment.get(header..)?.to_vec(),
    })
}

fn has_md5(mut options: &[u8]) -> bool {
    loop {
        match options {
            [19, ..] => return true,
            [1, rest @ ..] => options = rest,
            [kind, len, ..] if *kind >= 2 && *len >= 2 && usize::from(*len) <= options.len() => {
                options = &options[usize::from(*len)..];
            }
            _ => return false,
        }
    }
}

/// A direction of a TCP connection: source, destination, sequence number of its SYN.
pub type Direction = (SocketAddr, SocketAddr, u32);

/// Pieces of a direction by offset, with the time of each.
type Pieces<'a> = BTreeMap<u32, (u64, &'a [u8])>;

/// A direction of a TCP connection and when each of its bytes was first seen.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// The bytes from the first one after the SYN, without gaps.
    pub bytes: Vec<u8>,
    /// Offset in `bytes` and time of each segment that added bytes.
    pub times: Vec<(usize, u64)>,
}

impl Stream {
    /// When the byte at `offset` was seen.
    #[must_use]
    pub fn time(&self, offset: usize) -> u64 {
        self.times.iter().rev().find(|(start, _)| *start <= offset).map_or(0, |(_, time)| *time)
    }
}

/// Puts the segments of each direction of each connection in order; retransmitted bytes count once. A
/// connection whose SYN was not captured is left out.
#[must_use]
pub fn streams(segments: &[Segment]) -> BTreeMap<Direction, Stream> {
    let mut open: BTreeMap<(SocketAddr, SocketAddr), u32> = BTreeMap::new();
    let mut pieces: BTreeMap<Direction, Pieces<'_>> = BTreeMap::new();
    for segment in segments {
        let ends = (segment.from, segment.to);
        if segment.syn {
            open.insert(ends, segment.sequence);
        }
        let Some(&start) = open.get(&ends) else { continue };
        if segment.payload.is_empty() {
            continue;
        }
        let offset = segment.sequence.wrapping_sub(start).wrapping_sub(1);
        let entry = pieces.entry((segment.from, segment.to, start)).or_default();
        let known = entry.entry(offset).or_insert((segment.micros, &segment.payload));
        if known.1.len() < segment.payload.len() {
            known.1 = &segment.payload;
        }
    }
    pieces.into_iter().map(|(key, parts)| (key, join(&parts))).collect()
}

fn join(parts: &Pieces<'_>) -> Stream {
    let mut stream = Stream::default();
    for (offset, (time, bytes)) in parts {
        let offset = *offset as usize;
        let have = stream.bytes.len();
        if offset > have {
            break;
        }
        if let Some(new) = bytes.get(have - offset..).filter(|new| !new.is_empty()) {
            stream.times.push((have, *time));
            stream.bytes.extend_from_slice(new);
        }
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u32, syn: bool, payload: &[u8]) -> Segment {
        let ends = |n| SocketAddr::new(IpAddr::from([10, 0, 0, n]), 179);
        Segment {
            micros: u64::from(sequence),
            from: ends(1),
            to: ends(2),
            sequence,
            syn,
            close: false,
            ttl: 1,
            md5: false,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn segments_join_in_order_once_and_stop_at_a_gap() {
        let start = u32::MAX - 1;
        let all = [
            segment(start, true, b""),
            segment(start.wrapping_add(4), false, b"def"),
            segment(start.wrapping_add(1), false, b"abc"),
            segment(start.wrapping_add(3), false, b"cdefg"),
            segment(start.wrapping_add(20), false, b"lost before"),
        ];
        let streams = streams(&all);
        let stream = streams.values().next().unwrap();
        assert_eq!(stream.bytes, b"abcdefg");
        assert_eq!(stream.time(0), 0xffff_ffff);
        assert_eq!(stream.time(6), 1);
    }

    #[test]
    fn the_md5_option_is_found_behind_others() {
        assert!(has_md5(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 19, 18]));
        assert!(!has_md5(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!has_md5(&[2, 0, 0]));
    }
}
