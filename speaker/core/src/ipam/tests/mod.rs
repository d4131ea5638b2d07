pub(in crate::ipam) mod build;

mod allocation;
mod lifecycle;
mod names;
mod scale;
mod shared;
