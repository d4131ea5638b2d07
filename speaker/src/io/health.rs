//! Asks what `readiness` waits for whether it is healthy: `/healthz` of kube-proxy or of Cilium's agent.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use speaker_core::readiness::Health;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Between two questions until it is healthy, and afterwards.
const OFTEN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(10);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks at the address that `place` names, as long as it names one, and tells what is new.
#[must_use]
pub fn spawn(mut place: watch::Receiver<Option<SocketAddr>>, tell: mpsc::Sender<Health>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut told = None;
        loop {
            let address = *place.borrow_and_update();
            let Some(address) = address else {
                told = None;
                if place.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let health = ask(address).await;
            let pause = if health.healthy { SELDOM } else { OFTEN };
            if told.as_ref() != Some(&health) {
                told = Some(health.clone());
                if tell.send(health).await.is_err() {
                    return;
                }
            }
            // Another address is asked at once.
            match timeout(pause, place.changed()).await {
                Ok(Err(_)) => return,
                Ok(Ok(())) => told = None,
                Err(_) => {}
            }
        }
    })
}

async fn ask(address: SocketAddr) -> Health {
    let found = timeout(PATIENCE, status(address)).await;
    let found = found.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
    match found {
        Ok(status) => Health {
            healthy: status == hyper::StatusCode::OK,
            detail: format!("http://{address}/healthz answers {}", status.as_u16()),
        },
        Err(error) => Health { healthy: false, detail: format!("http://{address}/healthz: {error}") },
    }
}

/// The status alone: the body is not read.
async fn status(address: SocketAddr) -> Result<hyper::StatusCode, String> {
    get(address, "/healthz").await.map(|answer| answer.status())
}

/// Asks a server of this host; the connection lives as long as the answer is read, 3 s at most where the caller waits
/// no longer.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Response<Incoming>, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake::<_, String>(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        // Without it Cilium's agent answers for every part of itself, and for the cluster.
        .header("brief", "true")
        .body(String::new())
        .map_err(|e| e.to_string())?;
    // It ends when the answer and its body are dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each connection with the next of `answers`.
    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let n = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..n]).to_lowercase();
                assert!(request.starts_with("get /healthz http/1.1\r\n") && request.contains("brief: true"));
                // Who asked needs the head alone.
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        address
    }

    #[tokio::test]
    async fn it_tells_what_is_new() {
        const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{";
        let address = server(&[BAD, BAD, "SSH-2.0-OpenSSH\r\n", GOOD]);
        let (asked, place) = watch::channel(None);
        let (tell, mut told) = mpsc::channel(8);
        let task = spawn(place, tell);
        asked.send_replace(Some(address));
        let health = told.recv().await.unwrap();
        assert_eq!((health.healthy, health.detail), (false, format!("http://{address}/healthz answers 503")));
        assert!(!told.recv().await.unwrap().healthy, "not HTTP at all");
        let health = told.recv().await.unwrap();
        assert_eq!((health.healthy, health.detail), (true, format!("http://{address}/healthz answers 200")));
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        asked.send_replace(Some(nobody));
        let health = told.recv().await.unwrap();
        assert!(!health.healthy && health.detail.contains("refused"), "{health:?}");
        drop(asked);
        task.await.unwrap();
    }
}
