//! How a session ends from our side.

use super::*;

#[tokio::test]
async fn a_wrong_as_is_refused_with_a_notification_that_arrives() {
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(0)).await;
    raw.open(64999, 90).await;
    // Octets that nobody will read must not turn the close into a reset.
    raw.send(keepalive()).await;
    let notification = raw.notification().await;
    assert_eq!((notification.code, notification.subcode), (2, 2));
    raw.end().await;
    let reason = node.down().await;
    assert!(matches!(&reason, DownReason::Sent(n, _) if (n.code, n.subcode) == (2, 2)), "{reason:?}");
    let text = words::down(&reason, State::OpenSent);
    assert!(text.contains("64999") && text.contains("64502"), "{text}");
}

#[tokio::test]
async fn shutting_down_sends_what_is_left_says_so_and_ends() {
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(5_000)).await;
    raw.handshake(90).await;
    node.up().await;
    let task = node.handle.shutdown(stop(2, "rack 4 moves"), DEADLINE);
    drop(node.events);
    let mut told = 0;
    let notification = loop {
        match raw.message().await {
            Message::Update(update) => {
                told += update.announced.iter().map(|announcement| announcement.nlri.count()).sum::<usize>();
            }
            Message::Notification(notification) => break notification,
            Message::Keepalive => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told, 10_000);
    assert_eq!(notification.shutdown_communication().as_deref(), Some("rack 4 moves"));
    raw.end().await;
    drop(raw);
    soon("the task's end", task).await.unwrap();
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_a_peer_that_does_not_read() {
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(60_000)).await;
    raw.handshake(90).await;
    node.up().await;
    let task = node.handle.shutdown(stop(2, "now"), Duration::from_millis(200));
    soon("the task's end", task).await.unwrap();
}
