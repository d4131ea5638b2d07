//! What becomes of a panic. None is known; one that happens must not leave the process half alive.
//!
//! * In a peer's task it costs that session: [`contained`] catches it, and the hub begins the task anew.
//! * Anywhere else, in a task or a thread, it ends the process ([`Panics`]): whoever started it starts it again, and
//!   the peers notice. Half a daemon nobody would notice.

use std::any::Any;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

tokio::task_local! {
    /// There where somebody catches panics.
    static CONTAINED: ();
}

/// Runs `task`; its panic is an error with what was said and goes no further. The caller must not rely on what the task
/// had in hand.
///
/// # Errors
/// The task has panicked.
pub(crate) async fn contained<F: Future>(task: F) -> Result<F::Output, String> {
    let caught = CONTAINED.scope((), AssertUnwindSafe(task).catch_unwind()).await;
    caught.map_err(|payload| words(&*payload).to_owned())
}

/// Panics that nobody has caught.
#[derive(Debug)]
pub(crate) struct Panics(mpsc::UnboundedReceiver<String>);

impl Panics {
    /// From now on, of every thread of the process. What was done about a panic before, a line on standard error, is
    /// done as well.
    pub(crate) fn watch() -> Self {
        let (told, seen) = mpsc::unbounded_channel();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            if CONTAINED.try_with(|()| ()).is_err() {
                let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
                let thread = std::thread::current();
                let thread = thread.name().unwrap_or("a thread").to_owned();
                // Nobody listens any more: the process is ending.
                let _ = told.send(format!("{thread} has panicked{place}: {}", words(info.payload())));
            }
        }));
        Self(seen)
    }

    /// The next one, in words.
    pub(crate) async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(text) => text,
            // Somebody else has taken the hook, and looks after panics.
            None => std::future::pending().await,
        }
    }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of the panics of this test alone: others of the process may panic too.
    async fn next_of(panics: &mut Panics, mark: &str) -> String {
        let found = async {
            loop {
                let text = panics.next().await;
                if text.contains(mark) {
                    return text;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("the panic is told")
    }

    #[tokio::test]
    async fn a_panic_is_told_unless_it_is_contained() {
        let mut panics = Panics::watch();
        let caught = tokio::spawn(contained(async {
            tokio::task::yield_now().await;
            panic!("mark {}", 1);
        }));
        assert_eq!(caught.await.unwrap(), Err::<(), _>("mark 1".to_owned()));
        assert_eq!(contained(async { 7 }).await, Ok(7));

        // Of a task, of a task within one that is contained, of blocking work and of a thread.
        drop(tokio::spawn(async { panic!("mark 2") }).await);
        let told = next_of(&mut panics, "mark").await;
        assert!(
            told.contains("mark 2") && told.contains("panics.rs"),
            "the contained one is not told: {told}"
        );
        let inner = contained(async { drop(tokio::spawn(async { panic!("mark 3") }).await) });
        assert_eq!(inner.await, Ok(()));
        assert!(next_of(&mut panics, "mark").await.contains("mark 3"));
        drop(tokio::task::spawn_blocking(|| panic!("mark 4")).await);
        assert!(next_of(&mut panics, "mark").await.contains("mark 4"));
        let thread = std::thread::Builder::new().name("bfd".to_owned()).spawn(|| panic!("mark 5")).unwrap();
        assert!(thread.join().is_err());
        assert!(next_of(&mut panics, "mark").await.starts_with("bfd has panicked at "));
    }
}
