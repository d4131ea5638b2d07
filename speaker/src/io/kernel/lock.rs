//! One speaker looks after a network namespace: two would each take the other's routes for leftovers.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex, PoisonError};

/// A name in the abstract namespace, which every network namespace has of its own, and which is free again when the
/// process ends, however that happens.
const NAME: &[u8] = b"speaker/kernel";

/// Held as long as this process looks after the kernel.
#[derive(Debug)]
pub(super) struct Lock {
    _socket: UnixListener,
}

/// The lock of this process, which several of its tasks need.
#[derive(Debug, Clone, Default)]
pub struct Holder(Arc<Mutex<Option<Lock>>>);

impl Holder {
    /// Takes the lock, unless it is held already.
    ///
    /// # Errors
    /// Somebody else has it.
    pub fn take(&self) -> Result<(), String> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(take()?);
        }
        Ok(())
    }

    /// Whether this process has it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Takes the lock.
///
/// # Errors
/// Somebody else has it.
pub(super) fn take() -> Result<Lock, String> {
    take_name(NAME)
}

fn take_name(name: &[u8]) -> Result<Lock, String> {
    let socket = SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name));
    match socket {
        Ok(socket) => Ok(Lock { _socket: socket }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err("another speaker looks after the kernel of this network namespace".to_owned())
        }
        Err(error) => Err(format!("cannot take the lock of this network namespace: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let name = format!("speaker/test/{}", std::process::id());
        let first = take_name(name.as_bytes()).unwrap();
        assert!(take_name(name.as_bytes()).unwrap_err().contains("another speaker"));
        drop(first);
        take_name(name.as_bytes()).unwrap();
    }
}
