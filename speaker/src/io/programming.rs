//! Asks kube-proxy's metrics whether it has set up what this process has heard of.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use speaker_core::programming::{Programmed, Progress, Sample};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::clock::Clock;
use super::health;

/// Between two looks, while something is waited for.
const OFTEN: Duration = Duration::from_millis(50);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// kube-proxy's metrics have some hundred kilobytes.
const LARGEST: usize = 8 << 20;

/// What is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Where kube-proxy's metrics are (`metricsBindAddress`).
    pub address: SocketAddr,
    /// Whether everything is set up that was known when this number came up; it grows.
    pub ticket: u64,
}

/// Asks as long as there is something to find out, and tells what is settled.
#[must_use]
pub fn spawn(
    mut asked: watch::Receiver<Option<Question>>,
    tell: mpsc::Sender<Programmed>,
    clock: Clock,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut progress = Progress::default();
        let mut newest = 0;
        loop {
            let question = *asked.borrow_and_update();
            let Some(question) = question else {
                progress = Progress::default();
                if asked.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if question.ticket > newest {
                newest = question.ticket;
                progress.ask(newest, clock.now());
            }
            if progress.is_idle() {
                if asked.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let sample = read(question.address).await;
            if let Some(settled) = progress.see(&sample, clock.now())
                && tell.send(settled).await.is_err()
            {
                return;
            }
            if let Ok(Err(_)) = timeout(OFTEN, asked.changed()).await {
                return;
            }
        }
    })
}

async fn read(address: SocketAddr) -> Result<Sample, String> {
    let text = timeout(PATIENCE, metrics(address)).await;
    let text = text.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
    let sample = text.and_then(|text| Sample::parse(&text));
    sample.map_err(|why| format!("http://{address}/metrics: {why}"))
}

async fn metrics(address: SocketAddr) -> Result<String, String> {
    let answer = health::get(address, "/metrics").await?;
    if answer.status() != hyper::StatusCode::OK {
        return Err(format!("answers {}", answer.status().as_u16()));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|e| e.to_string())?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|_| "not text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn it_asks_until_kube_proxy_is_done() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for ended in [1, 1, 1, 1, 2, 2, 2, 2] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let n = stream.read(&mut request).unwrap();
                assert!(request[..n].starts_with(b"GET /metrics HTTP/1.1\r\n"));
                let body = format!(
                    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds 2\n\
                     kubeproxy_sync_proxy_rules_last_timestamp_seconds {ended}\n"
                );
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        });
        let (ask, asked) = watch::channel(None);
        let (tell, mut told) = mpsc::channel(1);
        let task = spawn(asked, tell, Clock::start());
        ask.send_replace(Some(Question { address, ticket: 3 }));
        let settled = told.recv().await.unwrap();
        assert_eq!(settled, Programmed { ticket: 3, trouble: None });
        drop(ask);
        task.await.unwrap();
    }
}
