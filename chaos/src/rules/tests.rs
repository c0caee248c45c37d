//! The checker notices each rule that is broken, and nothing else.

use super::{Broken, Interference, Rule, check};
use crate::ledger::Ledger;

fn broken_with(interference: &Interference, lines: &str) -> Vec<Broken> {
    let mut ledger = Ledger::default();
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    ledger.read(lines.join("\n").as_bytes()).expect("the test writes ledgers");
    check(&ledger, interference)
}

/// The rules that these lines break.
fn broken(lines: &str) -> Vec<Rule> {
    broken_with(&Interference::default(), lines).iter().map(|broken| broken.rule).collect()
}

#[test]
fn calls_that_keep_the_rules_are_not_reported() {
    let kept = broken(
        "begin c:0:a:1 call 1000 9 0 1
         ran c:0:a:1 a s 0 5 1
         end c:0:a:1 ok - 10 1 c:0:a:1/9
         begin c:0:a:2 call 1000 9 0 1
         end c:0:a:2 UNREACHABLE no 1000 1 -
         begin c:0:a:3 call 1000 9 0 1
         ran c:0:a:3 a s 0 6 1
         end c:0:a:3 HANDLER_FAILED yes 10 1 -
         begin c:0:a:4 call 1000 9 0 1
         ran c:0:a:4 a s 0 7 1
         end c:0:a:4 CONNECTION_LOST unknown 10 1 -
         begin c:0:a:5 notify 1000 9 0 1
         end c:0:a:5 ok - 10 1 -",
    );
    assert_eq!(kept, []);
}

#[test]
fn an_execution_too_many_is_noticed() {
    for ending in ["ok - 10 1 c:0:a:1/9", "TIMEOUT unknown 10 1 -", "HANDLER_FAILED yes 10 1 -"] {
        let lines = format!(
            "begin c:0:a:1 call 1000 9 0 1
             ran c:0:a:1 a s 0 5 1
             ran c:0:a:1 a s 1 6 1
             end c:0:a:1 {ending}"
        );
        assert_eq!(broken(&lines), [Rule::RanTwice], "{ending}");
    }
    let one_way = "begin c:0:a:1 notify 1000 9 0 1
                   end c:0:a:1 ok - 1 1 -
                   ran c:0:a:1 a s 0 5 1
                   ran c:0:a:1 a t 0 6 1";
    assert_eq!(broken(one_way), [Rule::RanTwice]);
}

#[test]
fn a_delivery_that_was_denied_or_made_up_is_noticed() {
    let denied = "begin c:0:a:1 call 1000 9 0 1
                  ran c:0:a:1 a s 0 5 1
                  end c:0:a:1 UNREACHABLE no 10 1 -";
    assert_eq!(broken(denied), [Rule::RanThoughNotDelivered]);
    for ending in ["ok - 10 1 c:0:a:1/9", "HANDLER_FAILED yes 10 1 -"] {
        let made_up = format!("begin c:0:a:1 call 1000 9 0 1\nend c:0:a:1 {ending}");
        assert_eq!(broken(&made_up), [Rule::DidNotRunThoughDelivered], "{ending}");
    }
    let ran_alone = "ran c:0:a:1 a s 0 5 1";
    assert_eq!(broken(ran_alone), [Rule::NobodyMadeIt]);
    let elsewhere = "begin c:0:a:1 call 1000 9 0 1
                     ran c:0:a:1 b s 0 5 1
                     end c:0:a:1 ok - 10 1 c:0:a:1/9";
    assert_eq!(broken(elsewhere), [Rule::RanForAnotherActor]);
}

#[test]
fn each_call_of_a_process_that_lived_on_ends_once() {
    let unended = "begin c:0:a:1 call 1000 9 0 1";
    assert_eq!(broken(unended), [Rule::NeverEnded]);
    let killed = Interference { killed: ["c:0".to_owned()].into(), ..Interference::default() };
    assert_eq!(broken_with(&killed, unended), []);
    let twice = "begin c:0:a:1 call 1000 9 0 1
                 end c:0:a:1 TIMEOUT unknown 10 1 -
                 end c:0:a:1 TIMEOUT unknown 11 1 -";
    assert_eq!(broken(twice), [Rule::EndedTwice]);
}

#[test]
fn an_ending_is_late_beyond_its_timeout_and_the_time_in_which_its_caller_was_stopped() {
    let late = "begin c:0:a:1 call 1000 9 100 1
                end c:0:a:1 TIMEOUT unknown 4101 1 -";
    assert_eq!(broken(late), [Rule::EndedLate]);
    assert_eq!(broken(&late.replace("4101", "4100")), []);
    let stopped = |from, until| Interference {
        stopped: [("c:0".to_owned(), vec![(from, until)])].into(),
        ..Interference::default()
    };
    assert_eq!(broken_with(&stopped(0, 101), late), []);
    assert_eq!(broken_with(&stopped(0, 100), late).len(), 1);
    assert_eq!(broken_with(&stopped(4101, 9000), late).len(), 1);
}

#[test]
fn a_reply_to_another_request_is_noticed() {
    let swapped = "begin c:0:a:1 call 1000 9 0 1
                   ran c:0:a:1 a s 0 5 1
                   end c:0:a:1 ok - 10 1 c:0:a:2/9";
    assert_eq!(broken(swapped), [Rule::WrongReply]);
    assert_eq!(broken(&swapped.replace("c:0:a:2/9", "c:0:a:1/8")), [Rule::WrongReply]);
}

#[test]
fn an_ending_that_the_contract_does_not_have_is_noticed() {
    for ending in ["INTERNAL unknown", "UNREACHABLE unknown", "ok yes", "CONNECTION_LOST no", "TIMEOUT yes"] {
        let lines = format!("begin c:0:a:1 call 1000 9 0 1\nend c:0:a:1 {ending} 10 1 c:0:a:1/9");
        assert!(broken(&lines).contains(&Rule::EndingNotAllowed), "{ending}");
    }
}

/// Two calls, the second of which started first.
fn inverted(first: &str, views: [u32; 3], second_at: u32, silos: [&str; 2]) -> String {
    let [begin, end, second] = views;
    format!(
        "begin c:0:a:1 {first} 1000 9 0 {begin}
         begin c:0:a:2 call 1000 9 {second_at} {second}
         ran c:0:a:2 a {}
         ran c:0:a:1 a {}
         end c:0:a:1 ok - 10 {end} c:0:a:1/9
         end c:0:a:2 ok - 10 {second} c:0:a:2/9",
        silos[0], silos[1]
    )
}

#[test]
fn calls_start_in_the_order_in_which_they_were_made() {
    assert_eq!(broken(&inverted("call", [1, 1, 1], 0, ["s 0 5 1", "s 0 6 1"])), [Rule::OutOfOrder]);
    // What the caller's view was when they ended does not matter.
    assert_eq!(broken(&inverted("call", [1, 2, 1], 0, ["s 0 5 1", "s 0 6 1"])), [Rule::OutOfOrder]);
    // Another life of the silo, another view of the caller, one that came by another view than it was made by.
    assert_eq!(broken(&inverted("call", [1, 1, 1], 0, ["s 0 5 1", "s 1 6 1"])), []);
    assert_eq!(broken(&inverted("call", [1, 1, 2], 0, ["s 0 5 2", "s 0 6 1"])), []);
    assert_eq!(broken(&inverted("call", [1, 1, 1], 0, ["s 0 5 1", "s 0 6 2"])), []);
    // A one-way request counts from its ending, here at 10.
    assert_eq!(broken(&inverted("notify", [1, 1, 1], 9, ["s 0 5 1", "s 0 6 1"])), []);
    assert_eq!(broken(&inverted("notify", [1, 1, 1], 11, ["s 0 5 1", "s 0 6 1"])), [Rule::OutOfOrder]);
}
