//! Slow readers, full tables, and floods.

use super::*;

#[tokio::test]
async fn a_slow_reader_costs_bounded_memory_hears_keepalives_and_ends_with_the_whole_table() {
    let count = 60_000;
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(count)).await;
    raw.handshake(3).await;
    node.up().await;
    // Nothing is read until the second KEEPALIVE has been due behind the table's beginning.
    let view = node.until("two more KEEPALIVEs", |view| view.session.sent.keepalives >= 3).await;
    assert!(!view.caught_up);
    assert!(view.out_queue < 512 * 1024, "{} octets wait", view.out_queue);
    assert_eq!(view.session.state, State::Established);
    let (mut told, mut read, mut second_keepalive) = (BTreeSet::new(), 0, None);
    let mut keepalives = 0;
    while told.len() < 2 * count {
        raw.keep_alive();
        let before = raw.taken;
        match raw.message().await {
            Message::Update(update) => {
                assert!(update.withdrawn.is_empty());
                let routes = update.announced.iter().flat_map(|announcement| announcement.nlri.iter());
                told.extend(routes.map(|nlri| nlri.prefix));
                read = before;
            }
            Message::Keepalive => {
                keepalives += 1;
                if keepalives == 2 {
                    second_keepalive.get_or_insert(read);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let expected: BTreeSet<Prefix> =
        Family::ALL.into_iter().flat_map(|family| prefixes(family, count)).collect();
    assert_eq!(told, expected);
    let at = second_keepalive.expect("KEEPALIVEs came in between");
    assert!(at < 640 * 1024 && at < raw.taken / 2, "a KEEPALIVE waited behind {at} of {} octets", raw.taken);
}

/// Nothing but the table wakes the task: it must not take an empty outbox at the end of its turn for an end
/// of the table.
#[tokio::test]
async fn a_peer_that_takes_everything_at_once_is_told_everything_at_once() {
    let count = 100_000;
    let (mut raw, mut node) = Raw::roomy(64501, 64502, Routes::new(count)).await;
    raw.handshake(90).await;
    node.up().await;
    let told = async {
        let mut told = 0;
        while told < 2 * count {
            if let Message::Update(update) = raw.message().await {
                told += update.announced.iter().map(|announcement| announcement.nlri.count()).sum::<usize>();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("the table before any timer fires");
}

#[tokio::test]
async fn a_flood_of_routes_is_counted_and_the_task_still_answers() {
    let (mut raw, mut node) = Raw::new(64501, 64502, Routes::new(0)).await;
    raw.handshake(90).await;
    node.up().await;
    let context = EncodeContext { asn4: true, ..EncodeContext::default() };
    let mut bytes = BytesMut::new();
    let attributes = routes::attributes(64502);
    for prefix in prefixes(Family::Ipv4Unicast, 40_000) {
        let one = [prefix.into()];
        pack_announcements(&context, Family::Ipv4Unicast, &attributes, &routes::V4, one, &mut bytes).unwrap();
    }
    let (mut read, mut write) = raw.stream.into_split();
    let bytes = bytes.freeze();
    let flood = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write
    });
    let drain =
        tokio::spawn(async move { while read.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {} });
    let mut looks = 0;
    let view = node
        .until("all of it", |view| {
            assert!(view.in_queue < 16 * 1024 * 1024);
            view.received.ipv4 == ReceivedCount::Exact(40_000)
        })
        .await;
    while !flood.is_finished() {
        node.view().await;
        looks += 1;
        assert!(looks < 1_000_000);
    }
    assert_eq!(view.session.received.updates, 40_000);
    drop(flood.await.unwrap());
    assert!(matches!(node.down().await, DownReason::Transport(_)));
    drain.await.unwrap();
}
