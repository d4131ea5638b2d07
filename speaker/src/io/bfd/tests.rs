use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::sockets::{Buffer, Came, Door, Outlet};
use crate::io::sockopt;

const DEADLINE: Duration = Duration::from_secs(10);

/// A door on a port that the kernel chooses.
fn door(v6: bool) -> (Door, u16) {
    let door = Door::open(v6, 0).unwrap();
    let port = socket2::SockRef::from(&door.fd()).local_addr().unwrap().as_socket().unwrap().port();
    (door, port)
}

fn next(door: &Door, buffer: &mut Buffer) -> Came {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(came) = door.receive(buffer).unwrap() {
            return came;
        }
        assert!(Instant::now() < end, "nothing came");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_sent_arrives_with_ttl_255_and_says_by_which_interface() {
    let mut buffer = Buffer::default();
    for address in ["127.0.0.1", "::1"] {
        let address: IpAddr = address.parse().unwrap();
        let (door, port) = door(address.is_ipv6());
        let outlet = Outlet::open(address, Some(address), 0, port, 5).unwrap();
        outlet.send(&[7; 24]).unwrap();
        let came = next(&door, &mut buffer);
        assert_eq!((came.source, came.ttl, came.length), (address, 255, 24));
        assert_eq!(came.interface, sockopt::interface_index("lo").unwrap());
        assert_eq!(buffer.payload[..24], [7; 24]);
        assert!(door.receive(&mut buffer).unwrap().is_none());
    }
}

#[test]
fn the_ttl_of_others_is_seen_as_it_is() {
    let mut buffer = Buffer::default();
    for (address, v6) in [("127.0.0.1", false), ("::1", true)] {
        let (door, port) = door(v6);
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let reference = socket2::SockRef::from(&socket);
        if v6 { reference.set_unicast_hops_v6(254) } else { reference.set_ttl_v4(254) }.unwrap();
        socket.send_to(&[1; 300], (address, port)).unwrap();
        let came = next(&door, &mut buffer);
        assert_eq!((came.ttl, came.length), (254, 256), "longer than a packet can be is cut");
    }
}

#[test]
fn every_session_has_a_port_of_its_own_in_the_range() {
    let remote = "127.0.0.1".parse().unwrap();
    let outlets: Vec<Outlet> = (0..20).map(|_| Outlet::open(remote, None, 0, 9, 16_380).unwrap()).collect();
    let mut ports: Vec<u16> = outlets.iter().map(|outlet| outlet.port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 20);
    assert!(ports.iter().all(|port| *port >= 49152), "{ports:?}");
    assert!(ports[0] < 49180, "it begins anew at the start of the range: {ports:?}");
}

#[test]
fn what_cannot_be_opened_says_so() {
    let (_door, port) = door(false);
    let text = Door::open(false, port).unwrap_err();
    assert!(text.contains(&format!("UDP port {port}")) && text.contains("another BFD daemon"), "{text}");
    let foreign = Some("192.0.2.77".parse().unwrap());
    let text = Outlet::open("192.0.2.1".parse().unwrap(), foreign, 0, 9, 0).unwrap_err();
    assert_eq!(text, "cannot send from 192.0.2.77: Cannot assign requested address");
}
