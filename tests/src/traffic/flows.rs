//! Connections that stay: a byte goes to and fro on each, all the time.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{PATIENCE, STAY};
use crate::e2e::SOON;
use crate::lab::Node;
use crate::wait::eventually;

/// One of them.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// The client's port.
    pub port: u16,
    /// Whom it has reached, and as whom.
    pub answer: String,
    /// Bytes that have come back.
    pub rounds: u64,
    /// Why it is no more.
    pub broken: Option<String>,
}

/// They end with the handle.
#[derive(Debug)]
pub struct Flows {
    flows: Arc<Mutex<Vec<Flow>>>,
    _runtime: Runtime,
}

impl Flows {
    /// Opens `count` of them from `node` to `server` and waits until each has been answered.
    ///
    /// # Panics
    /// If one cannot be opened.
    #[must_use]
    pub fn open(node: &Node, server: SocketAddr, count: usize) -> Self {
        let namespace = node.namespace_file();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || {
                let namespace = fs::File::open(&namespace).expect("namespace");
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            })
            .build()
            .expect("runtime");
        let flows = Arc::new(Mutex::new(vec![Flow::default(); count]));
        for n in 0..count {
            let flows = Arc::clone(&flows);
            runtime.spawn(async move {
                let end = stay(server, |change| change(&mut lock(&flows)[n])).await;
                lock(&flows)[n].broken = Some(end.err().unwrap_or_default());
            });
        }
        let all = Self { flows, _runtime: runtime };
        eventually(SOON, &format!("{count} flows are open"), || {
            let flows = all.now();
            let open = flows.iter().filter(|flow| flow.rounds > 0).count();
            if open == count {
                Ok(())
            } else {
                Err(format!("{open}; {:?}", flows.iter().find(|f| f.rounds == 0)))
            }
        });
        all
    }

    /// How they are.
    #[must_use]
    pub fn now(&self) -> Vec<Flow> {
        lock(&self.flows).clone()
    }

    /// How they are once each of those that are whole has been to and fro twice more.
    #[must_use]
    pub fn settled(&self) -> Vec<Flow> {
        let before = self.now();
        eventually(SOON, "every flow goes on or is broken", || {
            let now = self.now();
            let stuck = now
                .iter()
                .zip(&before)
                .find(|(now, before)| now.broken.is_none() && now.rounds < before.rounds + 2);
            stuck.map_or(Ok(now.clone()), |stuck| Err(format!("{stuck:?}")))
        })
    }
}

fn lock(flows: &Mutex<Vec<Flow>>) -> std::sync::MutexGuard<'_, Vec<Flow>> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn stay(server: SocketAddr, mut note: impl FnMut(&dyn Fn(&mut Flow))) -> Result<(), String> {
    let words = |e: std::io::Error| e.to_string();
    let connected = timeout(PATIENCE, TcpStream::connect(server)).await;
    let mut stream = connected.map_err(|_| "connect: timed out".to_owned())?.map_err(words)?;
    let port = stream.local_addr().map_err(words)?.port();
    note(&|flow| flow.port = port);
    stream.write_all(&[STAY]).await.map_err(words)?;
    let mut answer = String::new();
    while !answer.ends_with('\n') {
        let byte = timeout(PATIENCE, stream.read_u8()).await.map_err(|_| "no answer".to_owned())?;
        answer.push(char::from(byte.map_err(words)?));
    }
    note(&|flow| flow.answer = answer.trim().to_owned());
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        stream.write_all(b".").await.map_err(words)?;
        let back = timeout(2 * PATIENCE, stream.read_u8()).await;
        back.map_err(|_| "nothing came back".to_owned())?.map_err(words)?;
        note(&|flow| flow.rounds += 1);
    }
}
