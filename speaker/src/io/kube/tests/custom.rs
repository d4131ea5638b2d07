//! Custom resources: kinds that may not be installed, go and come back, and whose they are.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_has_a_deadline_and_is_read_when_it_comes() {
    let (mut server, mut hub) = start(ObjectKind::POOLS, Filter::default());
    let begun = tokio::time::Instant::now();
    let mut asked = 0;
    let mut faults = Vec::new();
    loop {
        tokio::select! {
            call = server.call("/apis/cilium.io/") => {
                asked += 1;
                call.refuse(404, "the server could not find the requested resource");
            }
            batch = hub.batch() => {
                faults.extend(batch.faults.unwrap_or_default());
                if batch.synced { break }
            }
        }
    }
    assert!(begun.elapsed() >= watch::ABSENT, "{:?}", begun.elapsed());
    assert!(asked > 2 && faults[0].contains("ciliumloadbalancerippools.cilium.io"), "{asked} {faults:?}");
    // An older Cilium serves this version alone.
    loop {
        let call = server.call("/apis/cilium.io/").await;
        if call.target.contains("/v2alpha1/") {
            call.page("3", &[pool("blue", "2")], "");
            break;
        }
        call.refuse(404, "the server could not find the requested resource");
    }
    let batch = hub.batch().await;
    assert_eq!((batch.changes.len(), batch.faults), (1, Some(Vec::new())));
    let call = server.call("/apis/cilium.io/v2alpha1/ciliumloadbalancerippools&watch=true").await;
    drop(call.stream());
}

/// The operator writes nothing of BGP before it has the whole list of each kind.
#[tokio::test(start_paused = true)]
async fn an_empty_list_of_a_kind_that_came_late_is_handed_over_once() {
    let (client, mut server) = server();
    let (sender, mut batches) = mpsc::channel(16);
    let optional = Filter { optional: true, ..Filter::default() };
    drop(tokio::spawn(follow(client, ObjectKind::BGP_OVERRIDES, optional, sender, Clock::start())));
    let batch = loop {
        tokio::select! {
            call = server.call("/apis/cilium.io/") => call.refuse(404, "the server could not find it"),
            batch = batches.recv() => break batch.unwrap(),
        }
    };
    assert!(batch.synced && batch.part == Part::Watch, "there is none: {batch:?}");
    loop {
        let call = server.call("/apis/cilium.io/").await;
        if call.target.contains("/v2/") {
            call.page("7", &[], "");
            break;
        }
        call.refuse(404, "the server could not find it");
    }
    let batch = batches.recv().await.unwrap();
    assert_eq!((batch.part, batch.synced, batch.deltas.len()), (Part::LastPage, false, 0));
    // The same list again is no news.
    let watch = server.watch("7").await;
    watch.event("ERROR", &json!({"code": 410, "message": "too old"})).await;
    server.call("limit=").await.page("9", &[], "");
    let watch = server.watch("9").await;
    assert!(batches.try_recv().is_err());
    // But the same in another version is: writes are to go there.
    watch.event("ERROR", &json!({"code": 410, "message": "too old"})).await;
    server.call("/v2/").await.refuse(404, "the server could not find it");
    server.call("/v2alpha1/").await.page("11", &[], "");
    let batch = batches.recv().await.unwrap();
    assert_eq!((batch.part, batch.version, batch.deltas.len()), (Part::LastPage, "v2alpha1", 0));
}

fn discovery(verbs: &[&str]) -> Json {
    json!({
        "kind": "APIResourceList", "groupVersion": "cilium.io/v2",
        "resources": [{"name": "ciliumloadbalancerippools", "kind": "CiliumLoadBalancerIPPool", "verbs": verbs}],
    })
}

#[tokio::test(start_paused = true)]
async fn cilium_nodes_are_asked_for_without_their_content_and_where_there_are_none_nobody_waits() {
    let (kind, filter) = cilium_nodes();
    let (mut server, mut hub) = start(kind, filter);
    let begun = tokio::time::Instant::now();
    let call = server.call("/apis/cilium.io/v2/ciliumnodes?").await;
    call.refuse(404, "the server could not find the requested resource");
    let batch = hub.batch().await;
    assert!(batch.synced && batch.faults.is_none() && begun.elapsed() < Duration::from_secs(1), "{batch:?}");
    let node = |version: &str| {
        let labels = json!({"fabric": "east"});
        json!({"metadata": {"name": "n1", "resourceVersion": version, "labels": labels}})
    };
    server.list("3", &[node("3")]).await;
    assert_eq!(hub.changes().await, ["+CiliumNode n1"]);
    // Cilium is removed: what it said stays, as with every definition.
    drop(server.watch("3").await);
    for _ in 0..2 {
        server.call("limit=").await.refuse(404, "the server could not find the requested resource");
    }
    assert!(hub.faults().await[0].contains("removed"));
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_a_custom_resource_counts_while_its_kind_stands() {
    let (mut server, mut hub) = start(ObjectKind::POOLS, Filter::default());
    server.list("1", &[pool("a", "1"), pool("b", "1")]).await;
    assert_eq!(hub.changes().await, ["+a", "+b"]);
    let watch = server.watch("1").await;
    watch.event("DELETED", &pool("a", "2")).await;
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["create", "delete", "list", "watch"]));
    assert_eq!(hub.changes().await, ["-a"]);
    // Nobody can say: asked again.
    watch.event("DELETED", &pool("b", "3")).await;
    drop(server.call("/apis/cilium.io/v2").await);
    hub.nothing();
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["create"]));
    assert_eq!(hub.changes().await, ["-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_definition_freezes_its_objects_and_its_return_has_a_deadline() {
    let (mut server, mut hub) = start(ObjectKind::POOLS, Filter::default());
    server.list("1", &[pool("a", "1"), pool("b", "1")]).await;
    assert_eq!(hub.changes().await, ["+a", "+b"]);
    let watch = server.watch("1").await;
    watch.event("DELETED", &pool("a", "2")).await;
    watch.event("DELETED", &pool("b", "2")).await;
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["delete", "list", "watch"]));
    let faults = hub.faults().await;
    assert!(faults[0].contains("removed") && faults[0].contains("2 objects"), "{faults:?}");
    drop(watch);
    for _ in 0..20 {
        server.call("/apis/cilium.io/").await.refuse(404, "the server could not find the requested resource");
    }
    hub.nothing();
    // It is back, and one of the two follows in time.
    loop {
        let call = server.call("/apis/cilium.io/").await;
        if call.target.contains("/v2/") {
            call.page("10", &[], "");
            break;
        }
        call.refuse(404, "the server could not find the requested resource");
    }
    assert_eq!(hub.faults().await, Vec::<String>::new());
    let watch = server.watch("10").await;
    watch.event("ADDED", &pool("a", "11")).await;
    assert_eq!(hub.changes().await, ["+a"]);
    let begun = tokio::time::Instant::now();
    server.call("/apis/cilium.io/v2").await.json(200, &discovery(&["create"]));
    assert!(begun.elapsed() > watch::RETURN / 2, "{:?}", begun.elapsed());
    assert_eq!(hub.changes().await, ["-b"]);
}

#[tokio::test(start_paused = true)]
async fn ciliums_bgp_kinds_are_waited_for_until_it_is_known_whose_they_are() {
    for (enabled, read) in [("false", true), ("true", false)] {
        let (client, mut server) = server();
        let connection =
            Connection { client, namespace: "speaker-system".to_owned(), server: "https://lab".to_owned() };
        let (batches, receiver) = mpsc::channel(16);
        let kinds: Vec<_> = agent_bgp_kinds("n1").into_iter().take(1).collect();
        let cilium = Cilium::follow(None, &connection, Duration::from_secs(3600));
        let running = spawn_bgp_kinds(cilium, connection.client, kinds, batches, Clock::start());
        let mut hub = Hub(receiver);
        let config = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
        drop(server.call(config).await);
        server.call(config).await.refuse(503, "etcd is away");
        assert!(hub.0.try_recv().is_err(), "nobody knows yet");
        let call = server.call(config).await;
        call.json(
            200,
            &json!({"metadata": {"name": "cilium-config"}, "data": {"enable-bgp-control-plane": enabled}}),
        );
        if read {
            server.call("/apis/cilium.io/v2/ciliumbgpclusterconfigs&limit=").await.page("7", &[], "");
        }
        let batch = hub.0.recv().await.unwrap();
        assert_eq!((&*batch.source, batch.synced), ("ciliumbgpclusterconfigs", true), "{enabled}");
        assert!(batch.changes.is_empty());
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_sign_that_ciliums_control_plane_is_off() {
    const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
    const WHY: &str = "configmaps \"cilium-config\" is forbidden";
    let connect = || {
        let (client, server) = server();
        let connection =
            Connection { client, namespace: "speaker-system".to_owned(), server: "https://lab".to_owned() };
        (Cilium::follow(None, &connection, Duration::from_secs(30)), server)
    };
    let says =
        |on: &str| json!({"metadata": {"name": "cilium-config"}, "data": {"enable-bgp-control-plane": on}});
    // It was on, and an API server that has just started, or a token that has run out, says nothing else.
    let (mut cilium, mut server) = connect();
    server.call(CONFIG).await.json(200, &says("true"));
    cilium.first().await;
    for code in [403, 403, 401, 403, 403, 403, 403] {
        let call = server.call(CONFIG).await;
        assert!(cilium.is_on());
        call.refuse(code, WHY);
    }
    let call = server.call(CONFIG).await;
    assert!(cilium.is_on());
    call.json(200, &says("false"));
    cilium.differs(true).await;
    assert!(!cilium.is_on());

    // Nothing was known: it counts as off when it has been refused for a while.
    let (mut cilium, mut server) = connect();
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        let call = server.call(CONFIG).await;
        assert!(cilium.is_on());
        call.refuse(403, WHY);
    }
    cilium.first().await;
    assert!(!cilium.is_on() && begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
