//! A queue under load, simulated: shares, waits, lanes that are parked and applications without budget. Deterministic
//! for a set of weights; the sets are random.

use std::collections::{BTreeMap, BTreeSet};

use flickrhub_job::model::Priority;
use proptest::prelude::*;

use crate::hub::{Hub, QUEUE};
use crate::turns::Account;

const DISPATCHES: usize = 3000;

fn user(number: usize) -> String {
    format!("user {number:03}")
}

/// The applications of some users, in turn.
fn app(number: usize) -> &'static str {
    ["first", "main", "other"][number % 3]
}

/// What each user should get of so many dispatches.
fn expected(weights: &[u32], dispatches: usize) -> Vec<f64> {
    let all: f64 = weights.iter().copied().map(f64::from).sum();
    let dispatches = f64::from(u32::try_from(dispatches).unwrap());
    weights
        .iter()
        .map(|weight| dispatches * f64::from(*weight) / all)
        .collect()
}

/// Shares are within 2 % of what they should be, or within so many whole jobs where that is more: a lane is up to one job
/// before or behind its share at either end of what is counted, and at one end only if the count begins with the lanes
/// (start-time fair queueing, Goyal, Vin and Cheng 1996, theorem 1).
fn assert_shares(
    served: &BTreeMap<String, usize>,
    weights: &[u32],
    dispatches: usize,
    jobs: f64,
) -> Result<(), TestCaseError> {
    for (number, expected) in expected(weights, dispatches).into_iter().enumerate() {
        let served = f64::from(u32::try_from(served.get(&user(number)).copied().unwrap_or(0)).unwrap());
        let error = (served - expected).abs();
        prop_assert!(
            error <= (0.02 * expected).max(jobs),
            "{number}: {served}, not {expected}, of {weights:?}"
        );
    }
    Ok(())
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![Just(1), Just(3), Just(7), Just(1000), 1..=10_u32, 1..=1000_u32];
    prop::collection::vec(weight, 2..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn busy_lanes_share_by_their_weights(weights in weights(), one_app: bool) {
        let mut hub = Hub::default();
        for (number, weight) in weights.iter().enumerate() {
            hub.push(if one_app { "main" } else { app(number) }, &user(number), *weight, 2);
        }
        assert_shares(&hub.keep_busy(DISPATCHES), &weights, DISPATCHES, 1.0)?;
    }

    #[test]
    fn who_comes_late_shares_from_then_on(weights in weights()) {
        let mut hub = Hub::default();
        for (number, weight) in weights.iter().enumerate().skip(1) {
            hub.push("main", &user(number), *weight, 2);
        }
        hub.keep_busy(1000);
        hub.push("main", &user(0), weights[0], 2);
        assert_shares(&hub.keep_busy(DISPATCHES), &weights, DISPATCHES, 2.0)?;
    }

    #[test]
    fn no_lane_starves(weights in weights(), late in 0..100_usize) {
        let mut hub = Hub::default();
        for (number, weight) in weights.iter().enumerate() {
            hub.push(app(number), &user(number), *weight, 2);
        }
        hub.keep_busy(late);
        let mut waits = vec![0; weights.len()];
        for _ in 0..DISPATCHES {
            let served = hub.keep_busy(1);
            for (number, wait) in waits.iter_mut().enumerate() {
                *wait = if served.contains_key(&user(number)) { 0 } else { *wait + 1 };
                let others = weights.iter().enumerate().filter(|(other, _)| *other != number);
                let bound: u32 = others.map(|(_, other)| other / weights[number] + 2).sum();
                prop_assert!(*wait <= bound, "{number} waits for {wait} others of {weights:?}");
            }
        }
    }

    #[test]
    fn lanes_that_are_parked_and_apps_without_budget_cost_the_others_nothing(
        weights in weights(),
        parked in 1..20_usize,
    ) {
        let mut alone = Hub::default();
        let mut among = Hub::default();
        for number in 0..parked {
            among.push("main", &format!("parked {number}"), 5, 3);
            among.limit_user("main", &format!("parked {number}"), Some(0), number % 2 == 0);
            among.push("poor", &format!("poor {number}"), 5, 3);
        }
        among.limit_app("poor", Some(0));
        for hub in [&mut alone, &mut among] {
            for (number, weight) in weights.iter().enumerate() {
                hub.push("main", &user(number), *weight, 40);
            }
        }
        loop {
            let names = |hub: &mut Hub| -> Vec<String> {
                hub.release(7).into_iter().map(|job| job.user_id).collect()
            };
            let released = names(&mut alone);
            prop_assert_eq!(&names(&mut among), &released);
            if released.is_empty() {
                break;
            }
        }
        prop_assert_eq!(among.oracle.depth(QUEUE).parked, u64::try_from(parked).unwrap());
    }

    #[test]
    fn an_app_with_little_budget_is_shared_by_the_weights_of_its_users(weights in weights(), fast in 1..6_usize) {
        let mut hub = Hub::default();
        for (number, weight) in weights.iter().enumerate() {
            hub.push("poor", &user(number), *weight, 2);
        }
        hub.push("rich", "rich", 1, 2);
        let mut served = BTreeMap::new();
        for _ in 0..DISPATCHES {
            hub.limit_app("poor", Some(0));
            let others = hub.keep_busy(fast);
            prop_assert_eq!(others.get("rich"), Some(&fast));
            hub.limit_app("poor", Some(1));
            for (user, jobs) in hub.keep_busy(1) {
                *served.entry(user).or_default() += jobs;
            }
        }
        // It uses all of its budget: its turn is next when it has room. The rich user's was never before it.
        prop_assert_eq!(served.get("rich"), None);
        assert_shares(&served, &weights, DISPATCHES, 1.0)?;
    }
}

#[test]
fn a_light_user_waits_at_most_one_window() {
    const WINDOW: u32 = 16;
    for weight in [1, 1000] {
        let mut hub = Hub::default();
        hub.push("main", "heavy", weight, 1000);
        let (mut window, _) = hub.release_into(64, WINDOW);
        assert_eq!(window.len(), 16);
        hub.push("main", "light", 1, 1);
        let mut finished = 0;
        while !window.iter().any(|job| job.user_id == "light") {
            hub.done(&window.remove(0));
            finished += 1;
            window.extend(hub.release_into(64, WINDOW).0);
        }
        assert!(finished <= WINDOW, "{finished} jobs were done before");
    }
}

#[test]
fn an_app_that_stood_still_does_not_get_what_was_missed() {
    let mut hub = Hub::default();
    for number in 0..20 {
        hub.push("poor", &format!("poor {number}"), 1, 200);
        hub.push("rich", &format!("rich {number}"), 1, 200);
    }
    hub.release(10);
    hub.limit_app("poor", Some(0));
    hub.release(1000);
    hub.limit_app("poor", None);
    let next = hub.release(200);
    let poor = next.iter().filter(|job| job.app == "poor").count();
    assert!((90..=120).contains(&poor), "{poor} of 200");
    for number in 0..20 {
        let name = format!("rich {number}");
        let served = next.iter().filter(|job| job.user_id == name).count();
        assert!((4..=6).contains(&served), "{name}: {served}");
    }
}

#[test]
fn a_user_who_joins_an_app_that_stands_still_is_next_there() {
    let mut hub = Hub::default();
    hub.push("poor", "heavy", 1, 100);
    hub.push("rich", "rich", 1, 1000);
    hub.limit_app("poor", Some(0));
    hub.release(500);
    hub.push("poor", "light", 1, 1);
    hub.limit_app("poor", None);
    let next = hub.release(4);
    assert!(next.iter().any(|job| job.user_id == "light"), "{next:?}");
}

#[test]
fn a_lane_that_was_parked_does_not_get_what_was_missed() {
    let mut hub = Hub::default();
    hub.push("main", "parked", 1, 100);
    hub.push("main", "steady", 1, 300);
    hub.limit_user("main", "parked", Some(0), true);
    hub.release(100);
    hub.limit_user("main", "parked", None, false);
    let next = hub.release(20);
    let parked = next.iter().filter(|job| job.user_id == "parked").count();
    assert!((9..=11).contains(&parked), "{parked} of 20");
}

#[test]
fn priorities_share_a_lane_as_six_three_and_one() {
    let mut hub = Hub::default();
    let mut served: BTreeMap<Priority, usize> = BTreeMap::new();
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        hub.push_with("main", "user", 1, priority, 2);
    }
    for _ in 0..DISPATCHES {
        let (released, _) = hub.release_into(1, 1);
        let last = hub.done(&released[0]);
        *served.entry(last.priority).or_default() += 1;
        hub.push_with("main", "user", 1, last.priority, 1);
    }
    let served: Vec<usize> = served.into_values().collect();
    assert_eq!(served, [1800, 900, 300]);
}

/// Every account that any history of waiting priorities leads to.
fn reachable() -> BTreeSet<Account> {
    let all = [Priority::High, Priority::Normal, Priority::Low];
    let mut seen = BTreeSet::from([Account::default()]);
    let mut open = vec![Account::default()];
    while let Some(account) = open.pop() {
        for chosen in 1..8_usize {
            let waiting = (0..3).filter(|n| chosen >> n & 1 == 1).map(|n| all[n]).collect();
            let mut next = account;
            next.choose(&waiting);
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}

/// The most others that go before a job which is the first of its priority and waits in each round.
fn longest_wait(account: Account, of: Priority, known: &mut BTreeMap<Account, usize>) -> usize {
    if let Some(wait) = known.get(&account) {
        return *wait;
    }
    let others: Vec<Priority> = [Priority::High, Priority::Normal, Priority::Low]
        .into_iter()
        .filter(|other| *other != of)
        .collect();
    let mut longest = 0;
    for chosen in 1..4_usize {
        let mut waiting: BTreeSet<_> = (0..2)
            .filter(|n| chosen >> n & 1 == 1)
            .map(|n| others[n])
            .collect();
        waiting.insert(of);
        let mut next = account;
        if next.choose(&waiting) != of {
            longest = longest.max(1 + longest_wait(next, of, known));
        }
    }
    known.insert(account, longest);
    longest
}

#[test]
fn no_priority_starves_whatever_comes() {
    let accounts = reachable();
    assert!(
        accounts
            .iter()
            .all(|account| account.balances().iter().all(|balance| balance.abs() <= 10))
    );
    let longest = |of| {
        let mut known = BTreeMap::new();
        accounts
            .iter()
            .map(|account| longest_wait(*account, of, &mut known))
            .max()
    };
    assert_eq!(longest(Priority::High), Some(2));
    assert_eq!(longest(Priority::Normal), Some(4));
    assert_eq!(longest(Priority::Low), Some(12));
}
