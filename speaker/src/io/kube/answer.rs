//! Requests that are not answered, or not as hoped.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tokio::time::timeout;

/// How long an answer may take to begin, and a page to come.
const ANSWER: Duration = Duration::from_secs(30);

/// Why something was not answered.
pub(super) enum Trouble {
    /// The API server does not know the kind.
    Absent,
    /// The version is older than what the API server remembers.
    Expired,
    /// We may not ask; in words.
    Refused(String),
    /// Everything else, in words.
    Failed(String),
}

/// Waits for an answer, so long.
pub(super) async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match timeout(ANSWER, request).await {
        Ok(answer) => answer.map_err(trouble),
        Err(_) => Err(Trouble::Failed(format!("the API server has not answered for {} s", ANSWER.as_secs()))),
    }
}

/// What kube makes of an answer.
pub(super) fn trouble(error: kube::Error) -> Trouble {
    let kube::Error::Api(status) = error else { return Trouble::Failed(Chain(&error).to_string()) };
    match status.code {
        404 => Trouble::Absent,
        410 => Trouble::Expired,
        401 => Trouble::Failed(format!("the API server does not accept our credentials: {}", status.message)),
        403 => Trouble::Refused(format!(
            "not allowed: {}; the speaker's ServiceAccount needs the verbs list and watch",
            status.message
        )),
        code => Trouble::Failed(format!("the API server answers {code}: {}", status.message)),
    }
}

/// An error with what caused it, which kube leaves out.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            source = error.source();
        }
        Ok(())
    }
}

/// From half to the whole of a time: a thousand agents do not come back in the same millisecond.
pub(super) fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let share = u32::try_from(random % 512).unwrap_or_default();
    time / 2 + time / 1024 * share
}
