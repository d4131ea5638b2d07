//! A TCP server that says who it is and whom it sees, and the client that asks it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::lab::Node;

/// A server on all addresses of a node. It ends with its handle.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a client was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's node.
    pub server: String,
    /// From which address the server saw the client come.
    pub client: IpAddr,
}

impl Echo {
    /// Listens on a port of `node`, IPv4 and IPv6.
    ///
    /// # Panics
    /// If the port is taken.
    #[must_use]
    pub fn serve(node: &Node, port: u16) -> Self {
        let listener = node.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("listener"));
        let name = node.name().to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ready, PollTimeout::from(50u8)).is_ok_and(|n| n > 0)
                    && let Ok((mut client, from)) = listener.accept()
                {
                    // A client that has gone is its own affair.
                    let _gone = write!(client, "{name} {}", from.ip().to_canonical());
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Connects from `node` to a server and returns its answer.
///
/// # Errors
/// Why there was none within `patience`.
pub fn ask(node: &Node, address: IpAddr, port: u16, patience: Duration) -> Result<Answer, String> {
    let server = SocketAddr::new(address, port);
    let answer = node.inside(|| {
        let mut stream = TcpStream::connect_timeout(&server, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let text = answer.map_err(|e| format!("{} to {server}: {e}", node.name()))?;
    let (name, client) = text.split_once(' ').ok_or_else(|| format!("{server} said {text:?}"))?;
    let client = client.parse().map_err(|e| format!("{client}: {e}"))?;
    Ok(Answer { server: name.to_owned(), client })
}
