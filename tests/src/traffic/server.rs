//! Servers on Pods that take as many connections as come.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::ONCE;
use crate::lab::Node;

/// Servers, on one thread of their own. They say who they are and whom they see.
#[derive(Debug)]
pub struct Servers {
    runtime: Runtime,
    listening: BTreeMap<String, JoinHandle<()>>,
}

impl Default for Servers {
    fn default() -> Self {
        Self::new()
    }
}

impl Servers {
    /// None yet.
    ///
    /// # Panics
    /// If there is no thread to be had.
    #[must_use]
    pub fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        Self { runtime, listening: BTreeMap::new() }
    }

    /// Listens on a port of `node`, IPv4 and IPv6.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn serve(&mut self, node: &Node, port: u16) {
        let namespace = node.namespace_file();
        let socket = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                let namespace = fs::File::open(namespace).expect("namespace");
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("socket");
                socket.set_reuse_address(true).expect("SO_REUSEADDR");
                socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).expect("bind");
                socket.listen(4096).expect("listen");
                socket.set_nonblocking(true).expect("non-blocking");
                socket
            });
            made.join().expect("listener")
        });
        let name = node.name().to_owned();
        let entered = self.runtime.enter();
        let listener = TcpListener::from_std(socket.into()).expect("listener");
        drop(entered);
        let key = name.clone();
        let task = self.runtime.spawn(async move {
            loop {
                if let Ok((client, from)) = listener.accept().await {
                    tokio::spawn(answer(client, format!("{name} {}", from.ip().to_canonical())));
                }
            }
        });
        self.listening.insert(key, task);
    }

    /// No longer takes connections on a Pod; those that it has go on.
    pub fn stop(&mut self, node: &Node) {
        if let Some(task) = self.listening.remove(node.name()) {
            task.abort();
        }
    }
}

/// A client that goes away is its own affair.
async fn answer(mut client: TcpStream, text: String) -> Option<()> {
    let mut first = [0];
    client.read_exact(&mut first).await.ok()?;
    client.write_all(format!("{text}\n").as_bytes()).await.ok()?;
    if first == [ONCE] {
        return client.shutdown().await.ok();
    }
    let mut buffer = [0; 64];
    loop {
        match client.read(&mut buffer).await.ok()? {
            0 => return Some(()),
            n => client.write_all(&buffer[..n]).await.ok()?,
        }
    }
}
