pub(in crate::ipam) mod build;

mod allocation;
mod held;
mod lifecycle;
mod names;
mod published;
mod scale;
mod shared;
