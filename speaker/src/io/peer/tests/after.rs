//! A new connection does not overtake the end of the old one.

use super::*;

/// Longer than a dial over loopback takes, by far.
const NOTHING: Duration = Duration::from_millis(300);

async fn nobody_comes(listener: &TcpListener) {
    let came = tokio::time::timeout(NOTHING, listener.accept()).await;
    assert!(came.is_err(), "it dialled while the old connection was open: {came:?}");
}

/// Reads to the end of what the task sent.
async fn read_to_the_end(raw: &mut Raw) {
    let mut rest = Vec::new();
    soon("the end", raw.stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_reset_is_dialled_again_once_the_peer_has_closed_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut node = Node::new(spec("127.0.0.1", "127.0.0.1", port, 64501, 64502), Routes::new(0));
    let mut raw = Raw::accept(&listener, 64502).await;
    raw.handshake(90).await;
    node.up().await;
    node.handle.stop(StopReason { restart: true, ..stop(4, "cleared") });
    node.down().await;
    read_to_the_end(&mut raw).await;
    nobody_comes(&listener).await;
    drop(raw);
    let mut again = Raw::accept(&listener, 64502).await;
    again.handshake(90).await;
    node.up().await;
}

#[tokio::test]
async fn the_next_task_dials_once_the_one_before_it_has_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spec = || spec("127.0.0.1", "127.0.0.1", port, 64501, 64502);
    let mut old = Node::new(spec(), Routes::new(0));
    let mut raw = Raw::accept(&listener, 64502).await;
    raw.handshake(90).await;
    old.up().await;

    let (sender, events) = mpsc::channel(16);
    let handle = super::spawn(spec(), context(sender));
    handle.follow(old.handle.leaving());
    handle.start();
    let settings = spec().settings;
    let mut new = Node { handle, events, routes: Routes::new(0), settings };
    nobody_comes(&listener).await;
    let ended = old.handle.shutdown(stop(6, "changed"), Duration::ZERO);
    read_to_the_end(&mut raw).await;
    nobody_comes(&listener).await;
    drop(raw);
    let mut again = Raw::accept(&listener, 64502).await;
    again.handshake(90).await;
    new.up().await;
    soon("the end of the old task", ended).await.unwrap();
}
