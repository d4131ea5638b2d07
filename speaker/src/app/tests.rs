use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::question::{Question, Reply};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_hub_that_ends_unasked_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = start("api: {socket: api.sock}\ndatapath: {loops: none}\n", folder.path()).await;
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, app.broken()).await.is_err(), "it runs");
    app.hub().send(Message::Stop(app.witness.ask().await)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), app.broken()).await.unwrap();
    app.stop().await;
}

async fn start(text: &str, folder: &Path) -> App {
    let loaded = load::parse(text.to_owned(), "speaker.yaml", folder).unwrap();
    App::start(AppSpec { loaded, file: None, record: None, metrics: None, kernel: false }).await.unwrap()
}

/// A router that waits for the speaker on an address of its own.
async fn router(address: &str, folder: &Path) -> (App, u16) {
    let text = format!(
        "node: {{name: r-{address}}}\nrouter: {{asn: 64500, routerId: {address}, listen: [\"{address}:0\"]}}\n\
         ipam: {{enabled: false, stateDir: state-{address}}}\n\
         peers: [{{name: speaker, address: 127.0.0.1, asn: 64501, passive: true, receive: all}}]\n\
         api: {{socket: {address}.sock}}\ndatapath: {{loops: none}}\n"
    );
    let app = start(&text, folder).await;
    let mut listening = app.listening();
    let bound = |all: &Vec<ListenStatus>| all.iter().find_map(|one| one.bound.clone().ok());
    let wait = listening.wait_for(|all| bound(all).is_some());
    let all = tokio::time::timeout(DEADLINE, wait).await.expect("it listens").unwrap().clone();
    let port = bound(&all).unwrap().port();
    (app, port)
}

async fn ask(app: &App, question: Question) -> Value {
    let (reply, answer) = oneshot::channel();
    app.hub().send(Message::Asked(Asked { question, reply })).await.unwrap();
    match answer.await.unwrap().unwrap() {
        Reply::Json(value) => serde_json::to_value(value).unwrap(),
        Reply::File(_) => panic!("a file"),
    }
}

/// Asks until the answer is `right`.
async fn until(app: &App, question: Question, what: &str, right: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let wait = async {
        loop {
            last = ask(app, question.clone()).await;
            if right(&last) {
                return last.clone();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, wait).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited in vain until {what}; last seen: {last}"),
    }
}

/// The first prefix that each router holds.
fn holds(rows: &Value) -> bool {
    rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["prefix"] == "203.0.113.0/24"))
}

#[tokio::test]
async fn a_peers_task_that_panics_is_begun_anew_and_the_other_sessions_do_not_notice() {
    let folder = tempfile::tempdir().unwrap();
    let (a, port_a) = router("127.0.0.2", folder.path()).await;
    let (b, port_b) = router("127.0.0.3", folder.path()).await;
    let text = format!(
        "node: {{name: n1}}\nrouter: {{asn: 64501, routerId: 10.255.0.9}}\nipam: {{enabled: false, stateDir: state}}\n\
         peers:\n  - {{name: a, address: 127.0.0.2, port: {port_a}, localAddress: 127.0.0.1, asn: 64500}}\n  \
         - {{name: b, address: 127.0.0.3, port: {port_b}, localAddress: 127.0.0.1, asn: 64500}}\n\
         advertisements: [{{name: fixed, prefixes: [203.0.113.0/24], allow: [203.0.113.0/24]}}]\n\
         api: {{socket: api.sock}}\ndatapath: {{loops: none}}\n"
    );
    let speaker = start(&text, folder.path()).await;
    let received = || Question::Received(crate::question::RibFilter::default());
    until(&a, received(), "a has the prefix", holds).await;
    until(&b, received(), "b has the prefix", holds).await;

    speaker.hub().send(Message::PanicIn("a".to_owned())).await.unwrap();
    until(&a, received(), "a has lost the session", |rows| !holds(rows)).await;
    let seen = until(&speaker, Question::Peers, "the fault is told", |peers| {
        let text = peers[0]["lastError"]["text"].as_str();
        text.is_some_and(|text| text.contains("a fault of the speaker itself: told to"))
    })
    .await;
    assert_eq!(seen[1]["state"], "Established", "{seen}");
    // An order finds the task that has taken the place of the one that is gone.
    let said = ask(&speaker, Question::Reset("a".to_owned())).await;
    assert!(said.as_str().is_some_and(|said| said.contains("its task has panicked")), "{said}");

    until(&a, received(), "a has the prefix again", holds).await;
    let seen = ask(&speaker, Question::Peers).await;
    assert_eq!(
        (&seen[0]["state"], &seen[1]["state"]),
        (&"Established".into(), &"Established".into()),
        "{seen}"
    );
    let other = ask(&b, Question::Peers).await;
    assert_eq!(other[0]["establishedCount"], 1, "the session with b has stood all the time: {other}");

    let (reply, observed) = oneshot::channel();
    speaker.hub().send(Message::Observe(reply)).await.unwrap();
    let text = crate::monitor::text("agent", observed.await.unwrap().complete().await).unwrap();
    for (peer, count) in [("a", 1), ("b", 0)] {
        let line = format!("speaker_bgp_task_panics_total{{peer=\"{peer}\"}} {count}");
        assert!(text.contains(&line), "{line} is not in:\n{text}");
    }
    for app in [speaker, a, b] {
        app.stop().await;
    }
}
