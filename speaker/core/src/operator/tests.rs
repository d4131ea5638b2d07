mod api;
mod cilium;
mod cleanup;
mod history;
mod writes;
