mod api;
mod bgp;
mod cilium;
mod cleanup;
mod history;
mod writes;
