//! Routing tables as MRT files. They are written away from the hub.

use speaker_config::model::Receive;
use speaker_core::dump::{Dump, Form, Peer};
use speaker_core::export::Exporter;
use tokio::sync::oneshot;

use super::{Hub, unix_now};
use crate::question::{Answer, Refused, Reply, RibFilter, Table};

impl Hub {
    pub(super) fn mrt(&self, table: Table, form: Form, filter: &RibFilter, reply: oneshot::Sender<Answer>) {
        if let Some(peer) = &filter.peer
            && self.peers.get(peer).is_none()
        {
            drop(reply.send(Err(self.no_peer(peer))));
            return;
        }
        let Some(router_id) = self.peers.router_id() else {
            let text = "there is no BGP identifier yet, and so no session; a table needs one";
            drop(reply.send(Err(Refused::Invalid(text.to_owned()))));
            return;
        };
        let dump = |view| Dump { router_id, at: unix_now(), view, sent: table != Table::Received };
        match table {
            Table::Advertised => {
                let tables = self.established(filter).map(|(name, negotiated)| {
                    let rib = self.world.announcer().rib();
                    let wanted = |prefix| filter.wants(prefix);
                    let routes = self.world.exporter().advertised_routes(name, rib, wanted);
                    (Peer::of(negotiated, true), routes)
                });
                let (dump, tables) = (dump("advertised"), tables.collect::<Vec<_>>());
                tokio::task::spawn_blocking(move || write(dump, form, &tables, reply));
            }
            Table::Local => {
                let peers = self.peers.iter().map(|(_, peer)| peer.wanted.spec.session.local_asn);
                let asn = self.config.router.asn.or_else(|| peers.min()).filter(|_| form == Form::Table);
                let Some(asn) = asn else {
                    let text =
                        "the Loc-RIB belongs to no session that could have UPDATEs; write it with -o mrt";
                    drop(reply.send(Err(Refused::Invalid(text.to_owned()))));
                    return;
                };
                let routes =
                    Exporter::local_routes(self.world.announcer().rib(), |prefix| filter.wants(prefix));
                let (dump, tables) = (dump("local"), vec![(Peer::this(router_id, asn), routes)]);
                tokio::task::spawn_blocking(move || write(dump, form, &tables, reply));
            }
            Table::Received => self.mrt_received(dump("received"), form, filter, reply),
        }
    }

    fn mrt_received(&self, dump: Dump, form: Form, filter: &RibFilter, reply: oneshot::Sender<Answer>) {
        let mut asked = Vec::new();
        for (name, negotiated) in self.established(filter) {
            let Some(peer) = self.peers.get(name) else { continue };
            if peer.wanted.spec.settings.receive != Receive::All {
                let text = format!(
                    "the attributes of {name}'s routes are not kept, and MRT has no routes without them; \
                     set `receive: all` for it, or choose another with --peer"
                );
                drop(reply.send(Err(Refused::Invalid(text))));
                return;
            }
            let filter = filter.clone();
            let routes = peer.handle.routes(move |prefix| filter.wants(prefix));
            asked.push((Peer::of(negotiated, false), routes));
        }
        tokio::spawn(async move {
            let mut tables = Vec::with_capacity(asked.len());
            for (peer, routes) in asked {
                tables.push((peer, routes.await));
            }
            tokio::task::spawn_blocking(move || write(dump, form, &tables, reply));
        });
    }

    /// The established peers that are asked for.
    fn established<'a>(
        &'a self,
        filter: &'a RibFilter,
    ) -> impl Iterator<Item = (&'a str, &'a bgp_proto::session::Negotiated)> {
        self.peers
            .iter()
            .filter(|(name, _)| filter.peer.as_deref().is_none_or(|one| one == &***name))
            .filter_map(|(name, peer)| Some((&**name, &peer.established.as_ref()?.negotiated)))
    }
}

fn write(
    dump: Dump,
    form: Form,
    tables: &[(Peer, Vec<speaker_core::dump::Route>)],
    reply: oneshot::Sender<Answer>,
) {
    let file = dump.write(form, tables);
    let answer = file.map(|octets| Reply::File(octets.into()));
    // Who asked may have gone.
    drop(reply.send(answer.map_err(|error| Refused::Invalid(error.to_string()))));
}
