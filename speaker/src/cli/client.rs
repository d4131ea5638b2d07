//! Questions to the daemon: HTTP with JSON over its unix socket.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// What the daemon answers when it cannot do what was asked.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

/// The daemon's answer, or why there is none to be shown.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// Done.
    Ok(T),
    /// There is no such thing; the text says what there is.
    NotFound(String),
}

/// Asks with GET.
pub(crate) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> anyhow::Result<Answer<T>> {
    ask(socket, Method::GET, path).await
}

/// Tells with POST.
pub(crate) async fn post<T: DeserializeOwned>(socket: &Path, path: &str) -> anyhow::Result<Answer<T>> {
    ask(socket, Method::POST, path).await
}

/// Asks for a file with GET.
pub(crate) async fn get_file(socket: &Path, path: &str) -> anyhow::Result<Answer<Bytes>> {
    let (status, body) = exchange(socket, Method::GET, path).await?;
    if status.is_success() { Ok(Answer::Ok(body)) } else { refused(status, &body) }
}

async fn ask<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> anyhow::Result<Answer<T>> {
    let (status, body) = exchange(socket, method, path).await?;
    if status.is_success() {
        let answer =
            serde_json::from_slice(&body).context("the daemon's answer is not what this version expects")?;
        return Ok(Answer::Ok(answer));
    }
    refused(status, &body)
}

fn refused<T>(status: StatusCode, body: &[u8]) -> anyhow::Result<Answer<T>> {
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    if status == StatusCode::NOT_FOUND { Ok(Answer::NotFound(text)) } else { Err(anyhow!(text)) }
}

/// Why nobody can be asked, and what to do.
fn unanswered(socket: &Path, error: std::io::Error) -> anyhow::Error {
    let path = socket.display();
    let what = if error.kind() == std::io::ErrorKind::PermissionDenied {
        format!("{path} may not be opened by this user; it is for the daemon's user and group, such as root")
    } else {
        format!(
            "no daemon answers on {path}; is `speaker run` running, or is its socket elsewhere (--socket)?"
        )
    };
    anyhow::Error::new(error).context(what)
}

async fn exchange(socket: &Path, method: Method, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = UnixStream::connect(socket).await.map_err(|error| unanswered(socket, error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "speaker")
        .body(Empty::<Bytes>::new())
        .context("the question cannot be written as a request")?;
    let response = sender.send_request(request).await.context("the daemon hung up")?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .context("the daemon hung up in the middle of its answer")?
        .to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, body))
}

/// Writes one part of a path or query so that any name can stand in it.
pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("web/a b"), "web%2Fa%20b");
        assert_eq!(escape("2001:db8::/32"), "2001%3Adb8%3A%3A%2F32");
    }

    #[tokio::test]
    async fn a_missing_daemon_is_named_with_what_to_do() {
        let error =
            get::<serde_json::Value>(Path::new("/nonexistent/api.sock"), "/v1/peers").await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/api.sock"), "{error}");
        assert!(error.to_string().contains("--socket"), "{error}");
    }

    #[test]
    fn a_socket_that_may_not_be_opened_is_no_missing_daemon() {
        let error = unanswered(Path::new("/run/api.sock"), std::io::ErrorKind::PermissionDenied.into());
        let text = format!("{error:#}");
        assert!(
            text.starts_with("/run/api.sock may not be opened by this user") && !text.contains("no daemon"),
            "{text}"
        );
    }
}
