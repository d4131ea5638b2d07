use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use speaker_config::objects::{Object, ObjectRef, Service};
use tempfile::TempDir;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Fixture {
    folder: TempDir,
    state: TempDir,
    handle: Option<ManifestsHandle>,
    batches: mpsc::Receiver<ManifestBatch>,
}

impl Fixture {
    async fn new(files: &[(&str, String)]) -> (Self, ManifestBatch) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let state = tempfile::tempdir().unwrap();
        let (handle, batches) = start(folder.path(), state.path());
        let mut fixture = Self { folder, state, handle: Some(handle), batches };
        let first = fixture.batch().await;
        assert!(first.synced, "{first:?}");
        (fixture, first)
    }

    /// As after kill -9: nothing is said to the thread that matters.
    async fn restart(&mut self) -> ManifestBatch {
        drop(std::mem::replace(&mut self.batches, mpsc::channel(1).1));
        self.handle.take().unwrap().close();
        let (handle, batches) = start(self.folder.path(), self.state.path());
        (self.handle, self.batches) = (Some(handle), batches);
        let first = self.batch().await;
        assert!(first.synced, "{first:?}");
        first
    }

    async fn batch(&mut self) -> ManifestBatch {
        let batch = tokio::time::timeout(DEADLINE, self.batches.recv()).await;
        batch.expect("a batch before the deadline").expect("the thread lives")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn handle(&self) -> &ManifestsHandle {
        self.handle.as_ref().unwrap()
    }
}

fn start(folder: &Path, state: &Path) -> (ManifestsHandle, mpsc::Receiver<ManifestBatch>) {
    let (sender, batches) = mpsc::channel(64);
    let spec = ManifestsSpec { paths: vec![folder.to_owned()], state_dir: state.to_owned() };
    (spawn(&spec, sender, Clock::start()).unwrap(), batches)
}

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{type: LoadBalancer, ports: [{{port: {port}}}]}}\n"
    )
}

fn pool(name: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {{name: {name}}}\n\
         spec: {{blocks: [{{cidr: 192.0.2.0/24}}]}}\n"
    )
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn gone(name: &str) -> ObjectChange {
    ObjectChange::Delete(ObjectRef::Service(key(name)))
}

fn services(batch: &ManifestBatch) -> Vec<&Service> {
    let services = batch.changes.iter().filter_map(|change| match change {
        ObjectChange::Upsert(Object::Service(service)) => Some(service.as_ref()),
        _ => None,
    });
    services.collect()
}

/// Name and port, the only ones that the tests change.
fn ports(batch: &ManifestBatch) -> Vec<(String, u16)> {
    assert_eq!(services(batch).len(), batch.changes.len(), "Services alone: {batch:?}");
    services(batch).iter().map(|service| (service.key.name.clone(), service.ports[0].port)).collect()
}

fn status(name: &str, ingress: &str) -> StatusPatch {
    StatusPatch::Service { key: key(name), ingress: vec![ingress.parse().unwrap()], conditions: Vec::new() }
}

#[tokio::test]
async fn everything_comes_once_and_then_what_changes() {
    let files = [("a.yaml", service("a", 80) + "---\n" + &service("b", 80)), ("p.yml", pool("blue"))];
    let (mut fixture, first) = Fixture::new(&files).await;
    assert_eq!(first.changes.len(), 3);
    assert_eq!(first.faults, None);
    fixture.write("a.yaml", &(service("a", 81) + "---\n" + &service("c", 80)));
    let batch = fixture.batch().await;
    assert_eq!(batch.changes.len(), 3);
    assert!(batch.changes.contains(&gone("b")));
    assert_eq!(services(&batch).iter().map(|service| service.ports[0].port).collect::<Vec<_>>(), [81, 80]);
    assert!(!batch.synced);
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert_eq!(fixture.batch().await.changes, [gone("a"), gone("c")]);
}

#[tokio::test]
async fn files_that_are_no_manifests_are_passed_over() {
    let files = [
        (".hidden.yaml", service("a", 80)),
        ("b.yaml~", service("b", 80)),
        (".#c.yaml", service("c", 80)),
        ("d.yaml.swp", service("d", 80)),
        ("e.json", r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#.to_owned()),
    ];
    let (mut fixture, first) = Fixture::new(&files).await;
    assert!(matches!(&first.changes[..], [ObjectChange::Upsert(Object::Node(_))]), "{first:?}");
    fs::create_dir(fixture.path("folder.yaml")).unwrap();
    fs::write(fixture.path("folder.yaml").join("x.yaml"), service("x", 80)).unwrap();
    fixture.write("#f.yaml#", &service("f", 80));
    fixture.write("g.yaml", &service("g", 80));
    assert_eq!(ports(&fixture.batch().await), [("g".to_owned(), 80)]);
}

#[tokio::test]
async fn replacing_and_renaming_a_file_changes_nothing_but_its_content() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", service("a", 80))]).await;
    fixture.write(".new", &service("a", 81));
    fs::rename(fixture.path(".new"), fixture.path("a.yaml")).unwrap();
    assert_eq!(ports(&fixture.batch().await), [("a".to_owned(), 81)]);
    // As vi does it: the old one out of the way, a new one in its place.
    fs::rename(fixture.path("a.yaml"), fixture.path("a.yaml~")).unwrap();
    fixture.write("a.yaml", &service("a", 82));
    assert_eq!(ports(&fixture.batch().await), [("a".to_owned(), 82)]);
    fs::rename(fixture.path("a.yaml"), fixture.path("b.yaml")).unwrap();
    fixture.write("z.yaml", &service("z", 80));
    assert_eq!(ports(&fixture.batch().await), [("z".to_owned(), 80)]);
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", service("a", 80) + "---\n" + &service("b", 80))]).await;
    let mut half = fs::File::create(fixture.path("a.yaml")).unwrap();
    half.write_all(service("a", 81).as_bytes()).unwrap();
    fixture.write("z.yaml", &service("z", 80));
    assert_eq!(ports(&fixture.batch().await), [("z".to_owned(), 80)], "b is not gone");
    half.write_all(b"---\n").unwrap();
    half.write_all(service("b", 81).as_bytes()).unwrap();
    drop(half);
    assert_eq!(ports(&fixture.batch().await), [("a".to_owned(), 81), ("b".to_owned(), 81)]);
}

#[tokio::test]
async fn a_file_that_is_emptied_before_it_is_written_anew_loses_nothing() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", service("a", 80))]).await;
    // Closed, as a shell leaves it between `: > a.yaml` and `cat >> a.yaml`.
    fixture.write("a.yaml", "");
    // Later than the worker has read it for that.
    fixture.write("b.yaml", &service("b", 80));
    assert_eq!(ports(&fixture.batch().await), [("b".to_owned(), 80)], "and a is not gone");
    fixture.write("a.yaml", &service("a", 81));
    assert_eq!(ports(&fixture.batch().await), [("a".to_owned(), 81)]);
    // One that stays empty has nothing.
    fixture.write("a.yaml", "");
    assert_eq!(fixture.batch().await.changes, [gone("a")]);
}

#[tokio::test]
async fn what_cannot_be_parsed_stays_what_it_was_and_is_a_fault() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", service("a", 80) + "---\n" + &service("b", 80))]).await;
    fixture.write("a.yaml", &(service("a", 81) + "---\nkind: Service\n  metadata: ]\n"));
    let batch = fixture.batch().await;
    assert_eq!(ports(&batch), [("a".to_owned(), 81)]);
    let faults = batch.faults.unwrap();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, fixture.path("a.yaml"));
    assert!(faults[0].to_string().contains("a.yaml:7:"), "with the line: {}", faults[0]);
    fs::write(fixture.path("a.yaml"), [0xff, 0xfe]).unwrap();
    let faults = loop {
        let batch = fixture.batch().await;
        assert!(batch.changes.is_empty(), "{batch:?}");
        let faults = batch.faults.unwrap();
        if faults.iter().any(|fault| fault.text.contains("UTF-8")) {
            break faults;
        }
    };
    assert_eq!(faults[0].text, "it is not UTF-8: octet 0 is 0xff");
    fixture.write("a.yaml", &service("a", 82));
    let batch = fixture.batch().await;
    assert_eq!(batch.changes.len(), 2, "now b is gone");
    assert!(batch.changes.contains(&gone("b")));
    assert_eq!(batch.faults, Some(Vec::new()));
}

#[tokio::test]
async fn of_two_files_with_one_object_the_first_by_path_counts() {
    let (mut fixture, _) = Fixture::new(&[("b.yaml", service("a", 2))]).await;
    fixture.write("c.yaml", &service("a", 3));
    let batch = fixture.batch().await;
    assert!(batch.changes.is_empty());
    let faults = batch.faults.unwrap();
    assert_eq!(faults[0].path, fixture.path("c.yaml"));
    assert!(faults[0].text.ends_with("b.yaml too, and that one counts"), "{}", faults[0]);
    fixture.write("a.yaml", &service("a", 1));
    assert_eq!(ports(&fixture.batch().await), [("a".to_owned(), 1)]);
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert_eq!(ports(&fixture.batch().await), [("a".to_owned(), 2)]);
    fs::remove_file(fixture.path("b.yaml")).unwrap();
    let batch = fixture.batch().await;
    assert_eq!(ports(&batch), [("a".to_owned(), 3)]);
    assert_eq!(batch.faults, Some(Vec::new()));
}

#[tokio::test]
async fn a_status_is_echoed_and_survives_a_restart() {
    let text = service("a", 80) + "status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}\n";
    let (mut fixture, first) = Fixture::new(&[("a.yaml", text), ("b.yaml", service("b", 80))]).await;
    assert!(services(&first).iter().all(|service| service.ingress.is_empty()), "a file records nothing");
    let created = services(&first)[0].created;
    assert!(created > 1_700_000_000, "the time of first sight: {created}");
    fixture.handle().record(vec![status("a", "192.0.2.1"), status("no-such", "192.0.2.2")]);
    let echo = fixture.batch().await;
    assert_eq!(ports(&echo), [("a".to_owned(), 80)]);
    assert_eq!(services(&echo)[0].ingress, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    fixture.write("a.yaml", &service("a", 81));
    let edited = fixture.batch().await;
    assert_eq!(services(&edited)[0].ingress, services(&echo)[0].ingress);
    let again = fixture.restart().await;
    assert_eq!(services(&again)[0].ingress, services(&echo)[0].ingress);
    assert_eq!(services(&again)[0].created, created);
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert_eq!(fixture.batch().await.changes, [gone("a")]);
    fixture.write("a.yaml", &service("a", 82));
    assert!(services(&fixture.batch().await)[0].ingress.is_empty(), "another Service of the same name");
    fixture.restart().await;
    assert_eq!(fixture.handle().restored().freed, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn what_went_while_we_were_away_gives_its_address_back_unless_it_may_be_hidden() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", service("a", 80)), ("b.yaml", service("b", 80))]).await;
    fixture.handle().record(vec![status("a", "192.0.2.1"), status("b", "192.0.2.2")]);
    assert_eq!(fixture.batch().await.changes.len(), 2);
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert_eq!(fixture.batch().await.changes, [gone("a")]);
    fixture.write("b.yaml", "kind: Service\n  oops: ]\n");
    assert!(fixture.batch().await.faults.is_some());
    let first = fixture.restart().await;
    assert!(first.changes.is_empty());
    assert_eq!(fixture.handle().restored().freed.len(), 1, "a's alone");
    fixture.restart().await;
    assert_eq!(fixture.handle().restored().freed.len(), 1, "b may stand in the broken file");
    fixture.write("b.yaml", &service("b", 81));
    let batch = fixture.batch().await;
    assert_eq!(services(&batch)[0].ingress, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    drop(std::mem::replace(&mut fixture.batches, mpsc::channel(1).1));
    fixture.handle.take().unwrap().close();
    fs::remove_file(fixture.path("b.yaml")).unwrap();
    let (handle, batches) = start(fixture.folder.path(), fixture.state.path());
    (fixture.handle, fixture.batches) = (Some(handle), batches);
    assert!(fixture.batch().await.synced);
    fixture.restart().await;
    assert_eq!(fixture.handle().restored().freed.len(), 2);
}

#[tokio::test]
async fn a_pools_conditions_are_kept() {
    let (mut fixture, first) = Fixture::new(&[("p.yaml", pool("blue"))]).await;
    let ObjectChange::Upsert(Object::Pool(pool)) = &first.changes[0] else { panic!("{first:?}") };
    assert!(pool.created > 0 && pool.conditions.is_empty());
    let condition = Condition {
        kind: "cilium.io/PoolConflict".to_owned(),
        status: "False".to_owned(),
        reason: "resolved".to_owned(),
        message: String::new(),
        observed_generation: 1,
        since: 0,
    };
    fixture.handle().record(vec![StatusPatch::Pool { name: "blue".to_owned(), conditions: vec![condition] }]);
    let echo = fixture.batch().await;
    assert_eq!(fixture.restart().await.changes, echo.changes);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_waited_for_and_one_that_goes_freezes_its_objects() {
    let parent = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let folder = parent.path().join("manifests");
    let (_handle, mut batches) = start(&folder, state.path());
    let mut batch = async || tokio::time::timeout(DEADLINE, batches.recv()).await.unwrap().unwrap();
    let missing = batch().await;
    assert!(!missing.synced);
    assert_eq!(missing.faults.unwrap()[0].text, "No such file or directory");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), service("a", 80)).unwrap();
    let mut found = batch().await;
    let mut changes = found.changes.clone();
    while !found.synced {
        found = batch().await;
        changes.extend(found.changes.clone());
    }
    assert_eq!(changes.len(), 1);
    fs::rename(&folder, parent.path().join("elsewhere")).unwrap();
    let frozen = batch().await;
    assert!(frozen.changes.is_empty(), "{frozen:?}");
    assert_eq!(frozen.faults.unwrap().len(), 1);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("b.yaml"), service("b", 80)).unwrap();
    let mut changes = Vec::new();
    while changes.len() < 2 {
        changes.extend(batch().await.changes);
    }
    assert!(changes.contains(&gone("a")), "{changes:?}");
    fs::write(folder.join("b.yaml"), service("b", 81)).unwrap();
    assert_eq!(ports(&batch().await), [("b".to_owned(), 81)], "the new folder is watched");
}

#[tokio::test]
async fn a_mounted_config_map_is_replaced_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let version = |name: &str, port| {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a.yaml"), service("a", port)).unwrap();
    };
    version("..1", 80);
    std::os::unix::fs::symlink("..1", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    let (_handle, mut batches) = start(folder.path(), state.path());
    let mut batch = async || tokio::time::timeout(DEADLINE, batches.recv()).await.unwrap().unwrap();
    assert_eq!(ports(&batch().await), [("a".to_owned(), 80)]);
    version("..2", 81);
    std::os::unix::fs::symlink("..2", folder.path().join("..tmp")).unwrap();
    fs::rename(folder.path().join("..tmp"), folder.path().join("..data")).unwrap();
    assert_eq!(ports(&batch().await), [("a".to_owned(), 81)]);
}

#[tokio::test]
async fn a_single_file_is_watched_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    fs::write(&file, service("a", 80)).unwrap();
    let (_handle, mut batches) = start(&file, state.path());
    let mut batch = async || tokio::time::timeout(DEADLINE, batches.recv()).await.unwrap().unwrap();
    assert!(batch().await.synced);
    fs::write(folder.path().join("other.yaml"), service("z", 80)).unwrap();
    fs::write(folder.path().join("new"), service("a", 81)).unwrap();
    fs::rename(folder.path().join("new"), &file).unwrap();
    assert_eq!(ports(&batch().await), [("a".to_owned(), 81)]);
}

#[tokio::test]
async fn of_several_statuses_of_one_object_the_last_one_counts() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", service("a", 80))]).await;
    fixture.handle().record(vec![status("a", "192.0.2.1")]);
    assert_eq!(services(&fixture.batch().await)[0].ingress.len(), 1);
    let many: Vec<_> = (0..3).map(|n| status("a", &format!("192.0.2.{n}"))).collect();
    fixture.handle().record(many);
    let echo = fixture.batch().await;
    assert_eq!(services(&echo)[0].ingress, ["192.0.2.2".parse::<IpAddr>().unwrap()], "the last one counts");
}
