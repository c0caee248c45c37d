//! The contract's rule of who is in, sentence by sentence.

use super::*;

const GRACE: Duration = Duration::from_secs(15);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn silo(id: &str, incarnation: u64) -> SiloInfo {
    let mut info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
    info.incarnation = incarnation;
    info.last_heartbeat = time::OffsetDateTime::UNIX_EPOCH;
    info
}

fn id(id: &str) -> SiloId {
    id.parse().unwrap()
}

fn row(info: SiloInfo) -> Row {
    Row::Readable(Arc::new(info))
}

/// The judge of silo `a` in a cluster of these, all with incarnation 1, nothing left to do.
fn judge_among(others: &[&str]) -> Judge {
    let mut judge = Judge::new(Some(silo("a", 1)), GRACE);
    judge.rows(at(0), others.iter().map(|other| (id(other), row(silo(other, 1)))).collect());
    judge.take_actions();
    judge
}

fn ids(judge: &Judge) -> Vec<&str> {
    judge.silos().map(|info| info.silo_id.as_str()).collect()
}

fn evicted(actions: &[Action]) -> Vec<&str> {
    let evicted = actions.iter().filter_map(|action| match action {
        Action::Evict(info) => Some(info.silo_id.as_str()),
        _ => None,
    });
    evicted.collect()
}

#[test]
fn an_empty_store_evicts_nobody_who_answers() {
    let mut judge = judge_among(&["b", "c"]);
    for second in 0..1_000 {
        judge.rows(at(second), BTreeMap::new());
        judge.look_at_doubtful(at(second));
        for action in judge.take_actions() {
            match action {
                Action::Probe(silo) => judge.probed(at(second), &silo, Probe::Answered),
                Action::Read(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_missing_row_and_a_failing_probe_put_a_silo_out_only_after_the_grace() {
    let mut judge = judge_among(&["b", "c"]);
    judge.row(at(10), &id("b"), Row::Missing { lives: 0 });
    assert_eq!(judge.take_actions(), [Action::Probe(Arc::new(silo("b", 1)))]);
    judge.row(at(24), &id("b"), Row::Missing { lives: 0 });
    judge.probed(at(24), &silo("b", 1), Probe::Silent);
    judge.probed(at(30), &silo("b", 1), Probe::Silent);
    assert_eq!(ids(&judge), ["a", "b", "c"], "it was not read for so long that it was missing for so long");
    judge.row(at(31), &id("b"), Row::Missing { lives: 0 });
    judge.take_actions();
    judge.probed(at(31), &silo("b", 1), Probe::Silent);
    assert_eq!(ids(&judge), ["a", "c"]);
    assert_eq!(evicted(&judge.take_actions()), ["b"]);
}

#[test]
fn two_absences_with_nothing_read_between_them_are_not_one() {
    let mut judge = judge_among(&["b", "c"]);
    for second in [0, 30] {
        judge.row(at(second), &id("b"), Row::Missing { lives: 0 });
        judge.probed(at(second), &silo("b", 1), Probe::Refused);
    }
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_row_that_came_back_starts_the_grace_anew() {
    let mut judge = judge_among(&["b", "c"]);
    judge.row(at(0), &id("b"), Row::Missing { lives: 0 });
    judge.row(at(10), &id("b"), row(silo("b", 1)));
    judge.row(at(20), &id("b"), Row::Missing { lives: 0 });
    judge.row(at(34), &id("b"), Row::Missing { lives: 0 });
    judge.probed(at(34), &silo("b", 1), Probe::Refused);
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn one_silo_that_finds_it_dead_is_a_vote_and_two_put_a_silo_out_whatever_its_row_says() {
    let mut judge = judge_among(&["b", "c"]);
    judge.probed(at(1), &silo("b", 1), Probe::Refused);
    assert_eq!(judge.take_actions(), [Action::Vote(Arc::new(silo("b", 1)))]);
    judge.votes(at(1), &silo("b", 1), 1);
    judge.row(at(2), &id("b"), row(silo("b", 1)));
    assert_eq!(ids(&judge), ["a", "b", "c"]);
    judge.votes(at(2), &silo("b", 1), 2);
    assert_eq!(ids(&judge), ["a", "c"]);
    assert_eq!(evicted(&judge.take_actions()), ["b"]);
}

#[test]
fn one_silence_is_looked_into_and_a_second_in_a_row_is_a_failure() {
    let mut judge = judge_among(&["b", "c"]);
    for second in 0..10 {
        // A hiccup now and then.
        judge.probed(at(second), &silo("b", 1), Probe::Silent);
        assert_eq!(judge.take_actions(), [Action::Probe(Arc::new(silo("b", 1)))]);
        judge.probed(at(second), &silo("b", 1), Probe::Answered);
        assert!(judge.take_actions().is_empty());
    }
    judge.probed(at(20), &silo("b", 1), Probe::Silent);
    judge.take_actions();
    judge.probed(at(22), &silo("b", 1), Probe::Silent);
    assert_eq!(judge.take_actions(), [Action::Vote(Arc::new(silo("b", 1)))]);
}

#[test]
fn votes_of_others_count_nothing_for_a_silo_that_answers_me() {
    let mut judge = judge_among(&["b", "c"]);
    judge.probed(at(1), &silo("b", 1), Probe::Refused);
    judge.take_actions();
    judge.probed(at(2), &silo("b", 1), Probe::Answered);
    assert_eq!(judge.take_actions(), [Action::Withdraw(Arc::new(silo("b", 1)))]);
    judge.votes(at(2), &silo("b", 1), 5);
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_vote_about_an_earlier_life_does_not_touch_the_later_one() {
    let mut judge = judge_among(&["b", "c"]);
    judge.probed(at(1), &silo("b", 1), Probe::Refused);
    judge.row(at(2), &id("b"), row(silo("b", 2)));
    judge.votes(at(3), &silo("b", 1), 2);
    judge.probed(at(3), &silo("b", 1), Probe::Refused);
    judge.votes(at(3), &silo("b", 1), 2);
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_silo_in_doubt_is_looked_at_in_its_turn_however_often_it_is_suspected() {
    let mut judge = judge_among(&["b", "c"]);
    judge.suspect(&id("b"), 1);
    assert_eq!(judge.take_actions(), [Action::Probe(Arc::new(silo("b", 1)))]);
    judge.probed(at(1), &silo("b", 1), Probe::Refused);
    assert_eq!(judge.take_actions(), [Action::Vote(Arc::new(silo("b", 1)))]);
    judge.suspect(&id("b"), 1);
    assert!(judge.take_actions().is_empty());
    judge.look_at_doubtful(at(3));
    assert_eq!(judge.take_actions(), [Action::Probe(Arc::new(silo("b", 1))), Action::Read(id("b"))]);
}

#[test]
fn in_a_cluster_of_two_a_refused_connection_suffices_and_silence_waits_for_the_row() {
    let mut judge = judge_among(&["b"]);
    judge.probed(at(1), &silo("b", 1), Probe::Silent);
    judge.take_actions();
    judge.probed(at(1), &silo("b", 1), Probe::Silent);
    assert!(judge.take_actions().is_empty());
    assert_eq!(ids(&judge), ["a", "b"]);
    judge.probed(at(2), &silo("b", 1), Probe::Refused);
    assert_eq!(ids(&judge), ["a"]);
    assert_eq!(evicted(&judge.take_actions()), ["b"]);
}

fn missing(lives: u64) -> Row {
    Row::Missing { lives }
}

fn original(id: &str) -> SiloInfo {
    SiloInfo { protocol_version: None, ..silo(id, 0) }
}

#[test]
fn a_life_that_the_store_counts_as_over_is_out_without_a_word() {
    let mut judge = judge_among(&["b", "c"]);
    judge.row(at(1), &id("b"), missing(1));
    assert_eq!(ids(&judge), ["a", "b", "c"], "its own life is counted, no later one");
    judge.take_actions();
    judge.row(at(1), &id("b"), missing(2));
    assert_eq!(ids(&judge), ["a", "c"]);
    assert!(judge.take_actions().is_empty(), "somebody has done all that is to be done");
}

#[test]
fn the_leave_of_an_original_silo_counts_when_its_row_is_gone_and_ours_must_be_counted() {
    let mut judge = judge_among(&["b", "c"]);
    judge.row(at(0), &id("old"), row(original("old")));
    for gone in ["old", "b"] {
        judge.leave_heard(id(gone));
        assert_eq!(judge.take_actions(), [Action::Read(id(gone))]);
        judge.row(at(1), &id(gone), missing(0));
    }
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_silo_that_was_put_out_leaves_its_own_view_has_no_say_and_begins_another_life() {
    let mut judge = judge_among(&["b", "c"]);
    judge.row(at(1), &id("a"), missing(1));
    assert!(!judge.is_out(), "its row is lost, no more");
    judge.row(at(1), &id("a"), missing(2));
    assert!(judge.is_out() && judge.take_changed());
    assert_eq!(ids(&judge), ["b", "c"]);
    assert_eq!(judge.take_actions(), [Action::Rejoin]);
    judge.probed(at(2), &silo("b", 1), Probe::Refused);
    judge.votes(at(2), &silo("b", 1), 2);
    assert!(!judge.is_elected());
    assert!(judge.take_actions().iter().all(|action| !matches!(action, Action::Vote(_) | Action::Evict(_))));
    judge.rejoined(silo("a", 2));
    assert_eq!(judge.silos().next().unwrap().incarnation, 2);
    judge.row(at(3), &id("a"), missing(2));
    assert!(!judge.is_out());
}

#[test]
fn the_same_life_elsewhere_is_not_this_one() {
    let mut judge = judge_among(&["b"]);
    let mut elsewhere = silo("a", 1);
    elsewhere.endpoint = "127.0.0.1:2".parse().unwrap();
    judge.row(at(1), &id("a"), row(silo("a", 1)));
    assert!(!judge.is_out());
    judge.row(at(1), &id("a"), row(elsewhere.clone()));
    assert!(judge.is_out());
    assert_eq!(judge.silos().next().unwrap().endpoint, elsewhere.endpoint);
    judge.row(at(1), &id("a"), missing(2));
    assert_eq!(ids(&judge), ["b"], "the other one is gone, too");
}

#[test]
fn a_leave_counts_when_the_row_says_that_it_shuts_down() {
    let mut judge = judge_among(&["b", "c"]);
    let mut leaving = silo("b", 1);
    leaving.status = SiloStatus::ShuttingDown;
    judge.row(at(1), &id("b"), row(leaving.clone()));
    assert_eq!(ids(&judge), ["a", "b", "c"], "shutting down is still in");
    judge.leave_heard(id("b"));
    judge.row(at(2), &id("b"), row(leaving));
    assert_eq!(ids(&judge), ["a", "c"]);
}

#[test]
fn a_forged_leave_changes_nothing_then_or_later() {
    let mut judge = judge_among(&["b", "c"]);
    judge.leave_heard(id("b"));
    judge.leave_heard(id("a"));
    judge.row(at(1), &id("b"), row(silo("b", 1)));
    judge.row(at(2), &id("b"), Row::Missing { lives: 0 });
    judge.row(at(2), &id("a"), Row::Missing { lives: 0 });
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_dead_row_is_out_at_once() {
    let mut judge = judge_among(&["b"]);
    let mut dead = silo("b", 1);
    dead.status = SiloStatus::Dead;
    judge.row(at(1), &id("b"), row(dead));
    assert_eq!(ids(&judge), ["a"]);
}

#[test]
fn who_went_out_comes_back_when_it_answers_or_in_a_later_life() {
    let mut judge = judge_among(&["b", "c"]);
    for out in ["b", "c"] {
        judge.row(at(1), &id(out), missing(2));
    }
    judge.take_actions();
    judge.row(at(2), &id("b"), row(silo("b", 1)));
    assert_eq!(judge.take_actions(), [Action::Probe(Arc::new(silo("b", 1)))]);
    judge.probed(at(3), &silo("b", 1), Probe::Silent);
    assert_eq!(ids(&judge), ["a"], "its row alone does not bring it back");
    judge.probed(at(4), &silo("b", 1), Probe::Answered);
    judge.row(at(5), &id("c"), row(silo("c", 2)));
    assert_eq!(ids(&judge), ["a", "b", "c"]);
}

#[test]
fn a_later_life_takes_over_and_a_late_write_of_the_earlier_one_does_not() {
    let mut judge = judge_among(&["b", "c"]);
    judge.row(at(1), &id("b"), row(silo("b", 2)));
    judge.row(at(2), &id("b"), row(silo("b", 1)));
    let incarnation = |judge: &Judge| judge.silos().find(|info| info.silo_id == id("b")).unwrap().incarnation;
    assert_eq!(incarnation(&judge), 2);
    judge.row(at(2) + GRACE, &id("b"), row(silo("b", 1)));
    assert_eq!(incarnation(&judge), 1, "nobody wrote over it: the store lost its count of lives");
}

#[test]
fn a_client_evicts_nobody_and_follows_the_rows() {
    let mut judge = Judge::new(None, GRACE);
    judge.rows(at(0), ["b", "c"].map(|other| (id(other), row(silo(other, 1)))).into());
    judge.probed(at(1), &silo("b", 1), Probe::Refused);
    judge.votes(at(1), &silo("b", 1), 1);
    assert!(judge.take_actions().is_empty());
    for second in [1, 10, 20] {
        judge.row(at(second), &id("c"), Row::Missing { lives: 0 });
    }
    judge.take_actions();
    judge.probed(at(20), &silo("c", 1), Probe::Refused);
    assert_eq!(ids(&judge), ["b"]);
    assert!(judge.take_actions().is_empty());
}

#[test]
fn an_unreadable_row_is_neither_news_nor_an_absence() {
    let mut judge = judge_among(&["b"]);
    judge.row(at(0), &id("b"), Row::Missing { lives: 0 });
    judge.row(at(5), &id("b"), Row::Unreadable);
    judge.row(at(5), &id("x"), Row::Unreadable);
    judge.probed(at(30), &silo("b", 1), Probe::Silent);
    assert_eq!(ids(&judge), ["a", "b"]);
}

#[test]
fn everybody_is_looked_at_by_the_ones_before_it() {
    let mut judge = judge_among(&["0", "b", "c", "d"]);
    judge.look_at_successors(2);
    let looked_at: Vec<_> = judge.take_actions();
    assert_eq!(looked_at, [Action::Probe(Arc::new(silo("b", 1))), Action::Probe(Arc::new(silo("c", 1)))]);
    judge.look_at_successors(2);
    assert!(judge.take_actions().is_empty(), "one probe of a silo at a time");
    let mut last = Judge::new(Some(silo("z", 1)), GRACE);
    last.rows(at(0), [(id("b"), row(silo("b", 1)))].into());
    last.look_at_successors(2);
    assert_eq!(last.take_actions(), [Action::Probe(Arc::new(silo("b", 1)))]);
}

#[test]
fn the_smallest_active_id_of_ours_looks_after_the_original_silos() {
    let mut judge = judge_among(&["b"]);
    assert!(judge.is_elected());
    let mut original = silo("0-original", 0);
    original.protocol_version = None;
    judge.row(at(1), &id("0-original"), row(original));
    assert!(judge.is_elected());
    judge.row(at(1), &id("0"), row(silo("0", 1)));
    assert!(!judge.is_elected());
    assert!(!Judge::new(None, GRACE).is_elected());
}

#[test]
fn a_later_life_of_this_very_id_is_shown_in_its_place() {
    let mut judge = judge_among(&["b"]);
    judge.row(at(1), &id("a"), row(silo("a", 2)));
    assert_eq!(judge.silos().next().unwrap().incarnation, 2);
}

#[test]
fn asked_to_look_are_only_the_silos_before_it_and_a_broken_link_needs_no_asking() {
    let names: Vec<String> = (100..160).map(|number| format!("b{number}")).collect();
    let others: Vec<&str> = names.iter().map(String::as_str).collect();
    let looks = |suspect: fn(&mut Judge, &SiloId, u64), name: &str| {
        let mut judge = judge_among(&others);
        suspect(&mut judge, &id(name), 1);
        !judge.take_actions().is_empty()
    };
    assert!(looks(Judge::suspect_heard, "b100") && looks(Judge::suspect_heard, "b115"));
    assert!(!looks(Judge::suspect_heard, "b116") && !looks(Judge::suspect_heard, "b159"));
    assert!(looks(Judge::suspect, "b159"));
}

#[test]
fn original_silos_which_do_not_vote_are_not_counted_among_those_who_are_asked() {
    let mut judge = judge_among(&["c"]);
    for number in 0..30 {
        let name = format!("b-original-{number:02}");
        let original = SiloInfo { protocol_version: None, ..silo(&name, 1) };
        judge.row(at(1), &id(&name), row(original));
    }
    judge.take_actions();
    judge.suspect_heard(&id("c"), 1);
    assert!(!judge.take_actions().is_empty(), "nobody else could second it");
}
