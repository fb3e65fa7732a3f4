//! The short form of `make chaos`.

#![allow(clippy::expect_used, reason = "tests")]

use std::time::Duration;

use flickrhub_chaos::checker::reached;
use flickrhub_chaos::nemesis::Done;
use flickrhub_chaos::report;
use flickrhub_chaos::run::{Options, run};
use flickrhub_e2e::scene;

/// A minute of failures, with limits that are reached.
#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn nothing_is_lost_and_nothing_happens_twice() {
    let options = Options {
        seed: 11,
        length: Duration::from_mins(1),
        clients: 12,
        pause: Duration::from_secs(2),
        drain: Duration::from_mins(5),
        nemesis: true,
    };
    scene::play(|scene| async move {
        let outcome = run(&scene, options).await;
        println!("{}", report::table(&outcome));
        assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
        assert_eq!(outcome.not_whole, None);
        assert!(!outcome.history.later.is_empty(), "jobs were accepted");
        let did = outcome.done.iter().filter(|done| done.outcome.is_ok()).count();
        assert!(
            did >= 5 && did * 2 > outcome.done.len(),
            "{did} of {} failures came about",
            outcome.done.len()
        );
        for fault in ["cut", "flush"] {
            let is_done = |done: &Done| done.outcome.is_ok() && done.step.fault.name() == fault;
            assert!(outcome.done.iter().any(is_done), "{fault} came about");
        }
        let reached = reached(&outcome.history);
        assert!(reached.refusals > 0, "windows were full: {reached:?}");
    })
    .await;
}
