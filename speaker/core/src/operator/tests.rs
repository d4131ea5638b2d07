mod api;
mod cilium;
mod history;
mod writes;
