//! The kernel's main table, as far as routes of our protocol go, and what next hops depend on.

use std::io;

use bgp_proto::types::Prefix;
use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use speaker_core::learn::{FibOp, Found, Surroundings};

use super::messages::{attached, queries};
use super::reader;
use super::writer::Writer;
use crate::io::egress::own_addresses;

/// Who makes routes to networks that a host is attached to: the kernel, people (boot, static), router advertisements,
/// DHCP clients. By name, so that the kernel does not tell of a million others.
const MAKERS: [u8; 5] = [2, 3, 4, 9, 16];

/// Routes that are written at once.
pub(super) const STEP: usize = 256;

/// Connections for questions and changes.
#[derive(Debug)]
pub(super) struct Table {
    handle: Handle,
    /// Dumps are filtered by the kernel on this one (NETLINK_GET_STRICT_CHK).
    strict: Handle,
    /// Absent while it is at work, and after that failed.
    writer: Option<Writer>,
    /// By which the kernel names the writer.
    port: u32,
}

impl Table {
    /// Opens them, and the tasks that serve them; call inside the runtime.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let (connection, strict, _) = rtnetlink::new_connection_with_strict_check()?;
        tokio::spawn(connection);
        let writer = Writer::open()?;
        let port = writer.port();
        Ok(Self { handle, strict, writer: Some(writer), port })
    }

    /// What the kernel says beside changes that are made here.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Nobody knows what became of the last changes.
    pub(super) fn is_lost(&self) -> bool {
        self.writer.is_none()
    }

    /// Every route of ours in the main table, pushed into a new `T`.
    pub(super) async fn found<T: Default + Send + 'static>(
        &self,
        push: impl Fn(&mut T, Found) + Send + 'static,
    ) -> Result<T, String> {
        let reading = tokio::task::spawn_blocking(move || {
            let mut all = T::default();
            reader::routes(|found| push(&mut all, found)).map(|()| all)
        });
        let read = reading.await.map_err(io::Error::other).flatten();
        read.map_err(|error| format!("reading the learned routes: {error}"))
    }

    /// What this host is attached to.
    pub(super) async fn surroundings(&self) -> Result<Surroundings, String> {
        self.try_surroundings()
            .await
            .map_err(|error| format!("reading what this host is attached to: {error}"))
    }

    async fn try_surroundings(&self) -> Result<Surroundings, rtnetlink::Error> {
        let mut around = Surroundings::default();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let flags = link.header.flags;
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            if flags.contains(LinkFlags::Up | LinkFlags::LowerUp) && !flags.contains(LinkFlags::Loopback) {
                around.interfaces.extend(name.map(|name| (link.header.index, name)));
            }
        }
        around.own = own_addresses(&self.handle).await?;
        for query in MAKERS.into_iter().flat_map(queries) {
            let mut routes = self.strict.route().get(query).execute();
            while let Some(route) = routes.try_next().await? {
                let network = attached(&route).filter(|one| around.interfaces.contains_key(&one.interface));
                around.attached.extend(network);
            }
        }
        Ok(around)
    }

    /// Does all of it, [`STEP`] at most; none depends on another. Gives back each with what came of it.
    pub(super) async fn apply(&mut self, ops: Vec<FibOp>) -> Vec<(FibOp, Result<(), String>)> {
        if ops.is_empty() {
            return Vec::new();
        }
        let writer =
            match self.writer.take().map_or_else(|| Writer::open().map_err(|error| error.to_string()), Ok) {
                Ok(writer) => writer,
                Err(why) => return failed(ops, &why),
            };
        let asked = ops.clone();
        // The kernel does its part while it is told: milliseconds, in which the runtime has something else to do.
        let done = tokio::task::spawn_blocking(move || {
            let results = writer.apply(&asked);
            (writer, results)
        });
        match done.await {
            Ok((writer, Ok(results))) => {
                self.writer = Some(writer);
                ops.into_iter().zip(results).collect()
            }
            Ok((_, Err(error))) => failed(ops, &format!("no answer of the kernel: {error}")),
            Err(error) => failed(ops, &error.to_string()),
        }
    }

    /// Removes every route of ours; gives back what is still there, in words.
    pub(super) async fn clear(&mut self) -> Result<Vec<String>, String> {
        let all: Vec<(Prefix, u32)> =
            self.found(|all: &mut Vec<_>, found| all.push((found.prefix, found.metric))).await?;
        let mut left = Vec::new();
        for some in all.chunks(STEP) {
            let ops = some.iter().map(|(prefix, metric)| FibOp::Delete(*prefix, *metric)).collect();
            for (op, result) in self.apply(ops).await {
                left.extend(result.err().map(|error| format!("route delete {}: {error}", op.prefix())));
            }
        }
        Ok(left)
    }
}

fn failed(ops: Vec<FibOp>, why: &str) -> Vec<(FibOp, Result<(), String>)> {
    ops.into_iter().map(|op| (op, Err(why.to_owned()))).collect()
}

fn open() -> Result<Table, String> {
    Table::open().map_err(|error| format!("no netlink socket: {error}"))
}

/// The learned routes in the kernel, for `--cleanup`.
pub(crate) async fn found() -> Result<Vec<Found>, String> {
    open()?.found(Vec::push).await
}

/// Removes them; gives back what is still there, in words.
pub(crate) async fn remove() -> Result<(), String> {
    match open()?.clear().await?.into_iter().next() {
        Some(left) => Err(left),
        None => Ok(()),
    }
}
