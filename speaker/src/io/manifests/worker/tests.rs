use std::fs::{self, File};
use std::net::IpAddr;
use std::path::Path;

use speaker_config::objects::ObjectKey;

use super::*;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\n\
                       spec: {type: LoadBalancer, ports: [{port: 80}]}\n";

fn worker(folders: &[&Path], state: &Path, clock: Clock) -> (Worker, mpsc::Receiver<ManifestBatch>) {
    let (messages, _inbox) = channel::channel();
    let paths = folders.iter().map(|path| path.to_path_buf()).collect();
    let source = Source::new(paths, source::watcher(messages, clock).unwrap());
    let (sender, batches) = mpsc::channel(16);
    (Worker::new(source, Store::open(state).unwrap(), sender, clock), batches)
}

fn patch(ingress: &[IpAddr]) -> Message {
    let key = ObjectKey::new("default", "a");
    let patch = StatusPatch::Service { key, ingress: ingress.to_vec(), conditions: Vec::new() };
    Message::Record(vec![patch])
}

/// Its Services are not those that were deleted while we were away.
#[test]
fn a_folder_that_comes_late_finds_its_statuses() {
    let (here, late) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (away, state) = (here.path().join("away"), tempfile::tempdir().unwrap());
    fs::write(late.path().join("a.yaml"), SERVICE).unwrap();
    fs::write(here.path().join("b.yaml"), SERVICE.replace("name: a", "name: b")).unwrap();
    let ingress: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
    let folders = [here.path(), late.path()];
    let (mut first, mut batches) = worker(&folders, state.path(), Clock::start());
    assert!(first.turn().is_ok() && first.take(patch(&ingress)).is_ok() && first.turn().is_ok());
    assert_eq!(batches.try_recv().unwrap().changes.len(), 2);
    drop(first);

    fs::rename(late.path(), &away).unwrap();
    let (mut second, mut batches) = worker(&folders, state.path(), Clock::started_before(ABSENT));
    second.started = Timestamp::ZERO;
    assert!(second.turn().is_ok());
    assert!(batches.try_recv().unwrap().synced, "waited long enough");
    fs::rename(&away, late.path()).unwrap();
    second.next_scan = second.clock.now();
    let found = loop {
        assert!(second.turn().is_ok());
        match batches.try_recv() {
            Ok(batch) if !batch.changes.is_empty() => break batch,
            _ => assert!(second.clock.now().since(Timestamp::ZERO) < 2 * ABSENT),
        }
    };
    assert!(
        matches!(&found.changes[..], [ObjectChange::Upsert(Object::Service(service))] if service.ingress == ingress),
        "{found:?}"
    );
}

/// The successor of a Service that was deleted a moment ago gets nothing of what was kept of it.
#[test]
fn a_deletion_is_on_the_disk_before_its_name_is_used_again() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("a.yaml");
    fs::write(&file, SERVICE).unwrap();
    let (mut worker, mut batches) = worker(&[folder.path()], state.path(), Clock::start());
    let ingress: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
    assert!(worker.turn().is_ok() && worker.take(patch(&ingress)).is_ok() && worker.turn().is_ok());
    assert_eq!(batches.try_recv().unwrap().changes.len() + batches.try_recv().unwrap().changes.len(), 2);
    let key = ObjectKey::new("default", "a");

    let touch = |worker: &mut Worker| {
        worker.due.changed(file.clone(), worker.clock.now(), Duration::ZERO);
        assert!(worker.turn().is_ok());
    };
    fs::remove_file(&file).unwrap();
    touch(&mut worker);
    assert!(matches!(&batches.try_recv().unwrap().changes[..], [ObjectChange::Delete(_)]));
    assert!(worker.store.service(&key).is_some(), "the withdrawal goes first");
    assert!(worker.next().unwrap() <= worker.clock.now() + LATER);
    fs::write(&file, SERVICE).unwrap();
    touch(&mut worker);
    let again = batches.try_recv().unwrap().changes;
    assert!(
        matches!(&again[..], [ObjectChange::Upsert(Object::Service(service))] if service.ingress.is_empty()),
        "{again:?}"
    );

    fs::remove_file(&file).unwrap();
    touch(&mut worker);
    assert!(worker.take(Message::Stop).is_err() && worker.save().is_ok());
    drop(worker);
    assert_eq!(Store::open(state.path()).unwrap().service(&key), None);
}

#[test]
fn a_disk_that_is_full_holds_the_echo_back_until_it_has_room() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("a.yaml"), SERVICE).unwrap();
    let (mut worker, mut batches) = worker(&[folder.path()], state.path(), Clock::start());
    assert!(worker.turn().is_ok());
    assert!(batches.try_recv().unwrap().synced);

    let disk = worker.store.swap_file(File::open("/dev/null").unwrap());
    let ingress: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
    assert!(worker.take(patch(&ingress)).is_ok());
    assert!(worker.turn().is_ok() && worker.turn().is_ok());
    let told = batches.try_recv().unwrap();
    assert!(told.changes.is_empty(), "nothing is recorded: {told:?}");
    let faults = told.faults.unwrap();
    assert_eq!(faults[0].path, state.path().join("state.journal"));
    assert!(faults[0].text.starts_with("writing failed, nothing new is announced: "), "{}", faults[0]);
    assert!(worker.next().unwrap() > worker.clock.now(), "tried again later, not in a loop");

    worker.store.swap_file(disk);
    worker.retry_at = Some(worker.clock.now());
    assert!(worker.turn().is_ok() && worker.turn().is_ok());
    let echo = batches.try_recv().unwrap();
    assert!(
        matches!(&echo.changes[..], [ObjectChange::Upsert(Object::Service(service))] if service.ingress == ingress)
    );
    let faults = echo.faults.or_else(|| batches.try_recv().ok()?.faults);
    assert_eq!(faults, Some(Vec::new()));
}
