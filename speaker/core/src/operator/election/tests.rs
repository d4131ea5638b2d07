use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DURATION: Duration = Duration::from_secs(15);

fn settings(identity: &str) -> ElectionSettings {
    ElectionSettings { identity: identity.to_owned(), duration: DURATION }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_secs(1_000_000 + seconds)
}

/// The API server's side of a Lease.
#[derive(Debug, Default)]
struct Store {
    record: Option<Record>,
    version: u64,
}

impl Store {
    fn apply(&mut self, step: &Step, identity: &str) -> Answer {
        let transitions = match (step, &self.record) {
            (Step::Read, None) => return Answer::Absent,
            (Step::Read, Some(record)) => return Answer::Found(record.clone()),
            (Step::Create, None) => 0,
            (Step::Update { version, transitions, .. }, Some(record)) if record.version == *version => {
                *transitions
            }
            (Step::Create | Step::Update { .. }, _) => return Answer::Refused,
            (Step::Wait(_), _) => panic!("nothing is asked"),
        };
        self.version += 1;
        let (holder, version) = (identity.to_owned(), self.version.to_string());
        self.record = Some(Record { holder, duration: DURATION, transitions, version });
        Answer::Written(self.record.clone().unwrap())
    }
}

/// Lets a candidate do what it wants until it waits; nothing takes time.
fn run(election: &mut Election, store: &mut Store, now: Timestamp) {
    for _ in 0..5 {
        let step = election.step(now);
        if let Step::Wait(_) = step {
            return;
        }
        let answer = store.apply(&step, &election.settings.identity.clone());
        election.answer(answer, now, now);
    }
    panic!("it does not come to rest");
}

fn leads(election: &Election, now: Timestamp) -> bool {
    election.leads_until().is_some_and(|until| now < until)
}

#[test]
fn the_first_leads_and_the_second_takes_over_when_nothing_was_renewed_for_the_duration() {
    let mut store = Store::default();
    let (mut a, mut b) = (Election::new(settings("a")), Election::new(settings("b")));
    run(&mut a, &mut store, at(0));
    assert!(leads(&a, at(0)) && leads(&a, at(9)) && !leads(&a, at(10)));
    run(&mut b, &mut store, at(1));
    assert_eq!((leads(&b, at(1)), b.holder()), (false, Some("a")));
    run(&mut a, &mut store, at(2));
    assert_eq!(store.record.as_ref().unwrap().transitions, 0, "a renewal is no transition");
    // a is gone. What b observed last is the renewal at 2, seen at 3.
    let mut taken = None;
    for second in 3..40 {
        run(&mut b, &mut store, at(second));
        if leads(&b, at(second)) {
            taken = Some(second);
            break;
        }
    }
    assert_eq!(taken, Some(18));
    assert_eq!(store.record.as_ref().unwrap().transitions, 1);
    // a comes back: its renewal is refused, and it follows.
    run(&mut a, &mut store, at(18));
    assert_eq!((leads(&a, at(18)), a.holder()), (false, Some("b")));
}

#[test]
fn a_lease_given_up_is_taken_at_the_next_look() {
    let mut store = Store::default();
    let (mut a, mut b) = (Election::new(settings("a")), Election::new(settings("b")));
    run(&mut a, &mut store, at(0));
    run(&mut b, &mut store, at(0));
    let given = a.release().unwrap();
    assert_eq!(given.version, store.record.as_ref().unwrap().version);
    assert!(!leads(&a, at(0)));
    store.record.as_mut().unwrap().holder.clear();
    run(&mut b, &mut store, at(2));
    assert!(leads(&b, at(2)));
    assert_eq!(b.release().unwrap().holder, "b");
    assert_eq!(a.release(), None, "it is not ours to give");
}

#[test]
fn a_leader_without_answers_stops_before_anybody_else_begins() {
    let mut store = Store::default();
    let mut a = Election::new(settings("a"));
    run(&mut a, &mut store, at(0));
    for second in 1..12 {
        if !matches!(a.step(at(second)), Step::Wait(_)) {
            a.answer(Answer::Failed, at(second), at(second));
        }
        assert_eq!(leads(&a, at(second)), second < 10, "{second}");
    }
    assert!(settings("a").write_timeout() < DURATION - settings("a").renew_within());
    // The server is back, the Lease still ours: it goes on.
    run(&mut a, &mut store, at(13));
    assert!(leads(&a, at(13)));
}

#[test]
fn a_lost_answer_to_a_write_that_was_stored_is_found_out() {
    let mut store = Store::default();
    let mut a = Election::new(settings("a"));
    assert_eq!(a.step(at(0)), Step::Read);
    a.answer(Answer::Absent, at(0), at(0));
    assert_eq!(a.step(at(0)), Step::Create);
    store.apply(&Step::Create, "a");
    a.answer(Answer::Failed, at(0), at(5));
    assert!(!leads(&a, at(5)));
    run(&mut a, &mut store, at(6));
    assert!(leads(&a, at(6)));
    assert_eq!(store.record.unwrap().transitions, 0);
}

#[test]
fn a_deleted_lease_ends_leading_until_it_is_made_again() {
    let mut store = Store::default();
    let mut a = Election::new(settings("a"));
    run(&mut a, &mut store, at(0));
    store.record = None;
    let step = a.step(at(2));
    let answer = store.apply(&step, "a");
    assert_eq!(answer, Answer::Refused);
    a.answer(answer, at(2), at(2));
    a.answer(Answer::Absent, at(2), at(2));
    assert!(!leads(&a, at(2)));
    run(&mut a, &mut store, at(2));
    assert!(leads(&a, at(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Three candidates with clocks that began at different times, requests that take their time or are lost,
    /// processes that stand still.
    #[test]
    fn there_are_never_two_leaders(
        offsets in vec(0..1_000_000u64, 3),
        steps in vec((0..3usize, 0..6000u64, 0..4000u64, 0..4000u64, 0..10u8), 1..200),
    ) {
        let mut store = Store::default();
        let names = ["a", "b", "c"];
        let mut candidates: Vec<Election> = names.iter().map(|name| Election::new(settings(name))).collect();
        // Until when each is busy with a request.
        let mut busy = [0u64; 3];
        // What the server does, and what is heard of it, in the order of time.
        let mut pending: Vec<(u64, usize, Step, u64)> = Vec::new();
        let mut heard: Vec<(u64, usize, Answer, u64)> = Vec::new();
        let mut time = 0u64;
        let clock = |who: usize, time: u64| Timestamp::ZERO + Duration::from_millis(offsets[who] + time);
        for (who, wait, there, back, fate) in steps {
            time += wait;
            loop {
                let next = pending.iter().map(|(due, ..)| *due).chain(heard.iter().map(|(due, ..)| *due)).min();
                let Some(due) = next.filter(|due| *due <= time) else { break };
                if let Some(index) = heard.iter().position(|(at, ..)| *at == due) {
                    let (_, who, answer, asked) = heard.remove(index);
                    candidates[who].answer(answer, clock(who, asked), clock(who, due));
                } else if let Some(index) = pending.iter().position(|(at, ..)| *at == due) {
                    let (_, who, step, asked) = pending.remove(index);
                    let answer = store.apply(&step, names[who]);
                    heard.push((busy[who].max(due), who, answer, asked));
                }
                let leading: Vec<&str> =
                    (0..3).filter(|who| leads(&candidates[*who], clock(*who, due))).map(|who| names[who]).collect();
                prop_assert!(leading.len() <= 1, "{leading:?} lead at {due}");
            }
            if time < busy[who] || pending.iter().chain([]).any(|(_, other, ..)| *other == who) {
                continue;
            }
            let step = candidates[who].step(clock(who, time));
            if let Step::Wait(_) = step {
                continue;
            }
            busy[who] = time + there + back;
            match fate {
                // Lost on the way there, or on the way back.
                0 => heard.push((busy[who], who, Answer::Failed, time)),
                1 => {
                    pending.retain(|(_, other, ..)| *other != who);
                    store.apply(&step, names[who]);
                    heard.push((busy[who], who, Answer::Failed, time));
                }
                _ => pending.push((time + there, who, step, time)),
            }
        }
    }
}
