use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn service(name: &str, created: UnixSeconds, ingress: &[&str]) -> Record {
    let ingress = ingress.iter().map(|text| text.parse().unwrap()).collect();
    Record::Service { key: key(name), state: ServiceState { created, ingress, conditions: Vec::new() } }
}

fn pool(name: &str, created: UnixSeconds) -> Record {
    Record::Pool { name: name.to_owned(), state: PoolState { created, conditions: Vec::new() } }
}

fn freed(store: &Store) -> Vec<String> {
    store.freed().iter().map(ToString::to_string).collect()
}

fn open(folder: &Path) -> Store {
    let store = Store::open(folder).unwrap();
    assert_eq!(store.warning(), None);
    store
}

fn journal(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(JOURNAL)).unwrap()
}

#[test]
fn what_was_recorded_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store
        .append(&[
            service("a", 7, &["192.0.2.1", "2001:db8::1"]),
            service("b", 8, &["192.0.2.2"]),
            pool("blue", 3),
            pool("gone", 4),
        ])
        .unwrap();
    store.append(&[Record::ServiceGone(key("b")), Record::PoolGone("gone".to_owned())]).unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.service(&key("a")).unwrap().ingress.len(), 2);
    assert_eq!(store.service(&key("a")).unwrap().created, 7);
    assert_eq!(store.service(&key("b")), None);
    assert_eq!((store.pool("blue").map(|pool| pool.created), store.pool("gone")), (Some(3), None));
    assert_eq!(freed(&store), ["192.0.2.2"]);
}

#[test]
fn an_address_is_free_when_its_last_user_gave_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.append(&[service("a", 1, &["192.0.2.1"]), service("b", 1, &["192.0.2.1", "192.0.2.2"])]).unwrap();
    store.append(&[service("a", 1, &["192.0.2.3"])]).unwrap();
    assert!(freed(&store).is_empty(), "b still has 192.0.2.1");
    store.append(&[Record::ServiceGone(key("a")), Record::ServiceGone(key("b"))]).unwrap();
    assert_eq!(freed(&store), ["192.0.2.3", "192.0.2.1", "192.0.2.2"]);
    store.append(&[service("c", 1, &["192.0.2.1"])]).unwrap();
    assert_eq!(freed(&store), ["192.0.2.3", "192.0.2.2"]);
    drop(store);
    assert_eq!(freed(&open(folder.path())), ["192.0.2.3", "192.0.2.2"]);
    let mut store = open(folder.path());
    store.append(&[Record::ServiceGone(key("c"))]).unwrap();
    assert_eq!(freed(&store), ["192.0.2.3", "192.0.2.2", "192.0.2.1"]);
}

/// The state after each batch, and the size of the journal then.
fn history(folder: &Path) -> Vec<(u64, State)> {
    let mut store = open(folder);
    let batches = [
        vec![service("a", 1, &["192.0.2.1"]), pool("blue", 3)],
        vec![service("b", 2, &["2001:db8::1"])],
        vec![service("a", 1, &["192.0.2.9"]), Record::ServiceGone(key("b"))],
    ];
    let mut history = vec![(store.journal.len, replay(&journal(folder)).unwrap().state)];
    for batch in batches {
        store.append(&batch).unwrap();
        assert_eq!(replay(&journal(folder)).unwrap().state, store.state);
        history.push((store.journal.len, replay(&journal(folder)).unwrap().state));
    }
    history
}

#[test]
fn cut_at_any_octet_the_journal_keeps_every_whole_record_before() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(folder.path());
    let whole = journal(folder.path());
    let other = tempfile::tempdir().unwrap();
    for cut in 0..=whole.len() {
        fs::write(other.path().join(JOURNAL), &whole[..cut]).unwrap();
        let store = Store::open(other.path()).unwrap();
        assert_eq!(store.warning(), None, "a crash in the middle of a write is no damage (cut at {cut})");
        // A batch that reached the disk as a whole is there; of the one that did not, whole lines may be.
        let lines = whole[..cut].iter().filter(|octet| **octet == b'\n').count();
        assert_eq!(store.state, replay(&whole[..line_end(&whole, lines)]).unwrap().state, "cut at {cut}");
        if let Some((_, state)) = history.iter().find(|(len, _)| *len == cut as u64) {
            assert_eq!(&store.state, state);
        }
        // And it can be written to.
        let mut store = store;
        store.append(&[service("z", 9, &[])]).unwrap();
        drop(store);
        assert!(open(other.path()).service(&key("z")).is_some(), "cut at {cut}");
    }
}

fn line_end(bytes: &[u8], lines: usize) -> usize {
    bytes.split_inclusive(|octet| *octet == b'\n').take(lines).map(<[u8]>::len).sum()
}

#[test]
fn an_octet_changed_anywhere_is_found_and_the_file_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let whole = journal(folder.path());
    // Without its line feed the last line is one that was cut off.
    for at in 0..whole.len() - 1 {
        let other = tempfile::tempdir().unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(other.path().join(JOURNAL), &bytes).unwrap();
        let store = Store::open(other.path()).unwrap();
        let before = whole[..at].iter().filter(|octet| **octet == b'\n').count();
        assert_eq!(store.state, replay(&whole[..line_end(&whole, before)]).unwrap().state, "octet {at}");
        let warning = store.warning().unwrap_or_else(|| panic!("octet {at}: no warning"));
        assert!(warning.contains(&format!("line {}: ", before + 1)), "octet {at}: {warning}");
        assert!(warning.contains("state.journal.damaged-1"), "{warning}");
        assert_eq!(fs::read(other.path().join("state.journal.damaged-1")).unwrap(), bytes);
    }
}

#[test]
fn the_only_line_is_not_dropped_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let whole = journal(folder.path());
    let one = whole[..line_end(&whole, 1)].to_vec();
    let mut damaged = one.clone();
    damaged[20] ^= 1;
    fs::write(folder.path().join(JOURNAL), &damaged).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let warning = store.warning().unwrap_or_default();
    assert!(warning.contains("is damaged: line 1: its checksum does not match; 0 records"), "{warning}");
    assert_eq!(fs::read(folder.path().join("state.journal.damaged-1")).unwrap(), damaged);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = lines(&[Record::Version(2)]).unwrap();
    line.extend_from_slice(b"what a later version writes\n");
    fs::write(folder.path().join(JOURNAL), &line).unwrap();
    let text = Store::open(folder.path()).unwrap_err();
    assert!(text.ends_with("it has format 2; this version of the speaker reads 1"), "{text}");
    assert_eq!(journal(folder.path()), line);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let text = Store::open(folder.path()).unwrap_err();
    assert!(text.ends_with("another speaker uses it"), "{text}");
    drop(first);
    open(folder.path());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = Store::open(&file.path().join("state")).unwrap_err();
    assert!(text.contains("making it: Not a directory"), "{text}");
}

#[test]
fn ten_thousand_statuses_are_one_write_and_history_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let batch: Vec<Record> = (0..10_000).map(|n| service(&format!("s{n}"), n, &["192.0.2.1"])).collect();
    store.append(&batch).unwrap();
    let size = store.journal.len;
    let one = [service("s1", 1, &["192.0.2.7"])];
    store.append(&one).unwrap();
    assert!(store.journal.len - size < 200, "one change writes one record");
    for _ in 0..15_000 {
        store.state.apply(one[0].clone());
    }
    store.journal.records += 15_000;
    store.append(&one).unwrap();
    assert_eq!(store.journal.records, 10_002, "rewritten");
    assert_eq!(store.journal.len, journal(folder.path()).len() as u64);
    assert!(!folder.path().join(REPLACEMENT).exists());
    drop(store);
    assert_eq!(open(folder.path()).services().count(), 10_000);
}

#[test]
fn a_write_that_failed_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    store.append(&[service("a", 1, &[])]).unwrap();
    // As a full disk leaves it: part of a line beyond what counts.
    store.journal.file.write_all_at(b"0123456789abcdef {\"serv", store.journal.len).unwrap();
    store.journal.torn = true;
    store.append(&[Record::ServiceGone(key("a"))]).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).service(&key("a")), None);
}

#[test]
fn a_disk_that_refuses_is_an_error_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let good = store.swap_file(File::open("/dev/null").unwrap());
    assert!(store.append(&[service("a", 1, &[])]).is_err());
    assert_eq!(store.service(&key("a")), None);
    store.swap_file(good);
    store.append(&[service("a", 1, &[])]).unwrap();
    assert!(store.service(&key("a")).is_some());
}
