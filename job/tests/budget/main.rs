//! Budgets and circuit breakers: that the scripts in a real Redis do what they are meant to.
//!
//! Needs `FLICKRHUB_TEST_CONFIG`.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod scripts;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use flickrhub_job::budget::{
    Breaker, BreakerConfig, BudgetSettings, CircuitState, Ended, Endpoint, FlickrBudget, Lost, MARGIN,
    PermitError, Reason, Stance, Whose,
};
use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scripts::Scripts;
use serde_json::json;
use uuid::Uuid;

const APPS: [&str; 2] = ["one", "two"];
const USERS: [&str; 3] = ["12345678@N00", "user|with:signs", ""];
const ENDPOINTS: [&str; 2] = ["rest", "upload"];
const NOW: u64 = 1_800_000_000_000;

fn settings(span: Duration, per_app: u32, per_user: u32) -> BudgetSettings {
    BudgetSettings {
        span,
        per_user,
        apps: BTreeMap::from(APPS.map(|app| (app.to_owned(), per_app))),
        breaker: BreakerConfig::default(),
    }
}

/// Budgets of their own, whole, and the prefix of their keys.
async fn budget(settings: &BudgetSettings) -> (FlickrBudget, Redis, String) {
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    let redis = Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap();
    let prefix = format!("budget-{}:", Uuid::new_v4());
    let budget = FlickrBudget::new(redis.clone(), &prefix);
    budget.configure(settings).await.unwrap();
    let (lost, rebuild) = budget.begin_rebuild().await.unwrap();
    assert_eq!(lost, Lost::Everything);
    assert!(budget.end_rebuild(&rebuild).await.unwrap());
    (budget, redis, prefix)
}

fn reason(answer: Result<flickrhub_job::budget::Permit, PermitError>) -> Option<(Reason, Duration)> {
    match answer {
        Ok(_) => None,
        Err(PermitError::Refused(refused)) => Some((refused.reason, refused.wait)),
        Err(PermitError::Redis(error)) => panic!("{error}"),
    }
}

/// What the scripts are meant to do, in plain Rust.
struct Oracle {
    settings: BudgetSettings,
    logs: HashMap<String, VecDeque<u64>>,
    circuits: HashMap<(String, String), Breaker>,
}

impl Oracle {
    fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            logs: HashMap::new(),
            circuits: HashMap::new(),
        }
    }

    fn circuit(&mut self, app: &str, endpoint: &str) -> &mut Breaker {
        self.circuits
            .entry((app.to_owned(), endpoint.to_owned()))
            .or_default()
    }

    /// The wait, if the log is full.
    fn spent(&mut self, log: &str, limit: u32, now: u64) -> Option<u64> {
        let span = u64::try_from(self.settings.span.as_millis()).unwrap();
        let log = self.logs.entry(log.to_owned()).or_default();
        while log.front().is_some_and(|first| first + span <= now) {
            log.pop_front();
        }
        let over = log.len().checked_sub(usize::try_from(limit).unwrap())?;
        Some(log[over] + span - now)
    }

    fn permit(&mut self, app: &str, user: &str, endpoint: &str, now: u64) -> (u8, u64, bool) {
        match self.circuit(app, endpoint).stance(now) {
            Stance::Open(until) => return (3, until - now, false),
            Stance::HalfOpen(until) => return (4, (until - now).min(500), false),
            Stance::Closed | Stance::Due => {}
        }
        let (app_log, user_log) = (format!("app {app}"), format!("user {user}"));
        let (per_app, per_user) = (self.settings.apps[app], self.settings.per_user);
        if let Some(wait) = self.spent(&app_log, per_app, now) {
            return (1, wait, false);
        }
        if !user.is_empty() {
            if let Some(wait) = self.spent(&user_log, per_user, now) {
                return (2, wait, false);
            }
            self.logs.get_mut(&user_log).unwrap().push_back(now);
        }
        self.logs.get_mut(&app_log).unwrap().push_back(now);
        let breaker = self.settings.breaker.clone();
        let probe = self.circuit(app, endpoint).let_through(now, &breaker);
        (0, 0, probe.unwrap())
    }

    fn report(&mut self, app: &str, endpoint: &str, ended: Ended, jitter: u32, now: u64) {
        let breaker = self.settings.breaker.clone();
        for other in ENDPOINTS {
            if other == endpoint {
                self.circuit(app, other).take_in(now, ended, jitter, &breaker);
            } else if ended.limited.is_some() {
                let ended = Ended {
                    probe: false,
                    ..ended
                };
                self.circuit(app, other).take_in(now, ended, jitter, &breaker);
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_scripts_answer_as_their_specification_in_every_history() {
    let settings = settings(Duration::from_secs(90), 12, 9);
    let (_, redis, prefix) = budget(&settings).await;
    let scripts = Scripts::new(redis, prefix).await;
    let mut oracle = Oracle::new(settings);
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut now, mut answers) = (NOW, [0_u32; 5]);
    for step in 0..20_000 {
        now += match rng.random_range(0..20) {
            0 => rng.random_range(0..70_000),
            1..=4 => rng.random_range(0..4_000),
            5..=15 => rng.random_range(0..300),
            _ => 0,
        };
        let app = APPS[rng.random_range(0..2)];
        let endpoint = ENDPOINTS[rng.random_range(0..2)];
        if rng.random_bool(0.6) {
            let user = USERS[rng.random_range(0..3)];
            let answer = scripts.permit(app, user, endpoint, now).await;
            let expected = oracle.permit(app, user, endpoint, now);
            assert_eq!(answer, expected, "step {step} of seed {seed}");
            answers[usize::from(answer.0)] += 1;
        } else {
            let failed = rng.random_range(0..3_u32).saturating_sub(1);
            let ended = Ended {
                succeeded: rng.random_range(0..3),
                failed,
                limited: (failed > 0 && rng.random_bool(0.02)).then(|| rng.random_range(0..40_000)),
                probe: rng.random_bool(0.3),
            };
            let jitter = rng.random_range(0..=100);
            scripts.report(app, endpoint, ended, jitter, now).await;
            oracle.report(app, endpoint, ended, jitter, now);
        }
    }
    assert!(
        answers.iter().all(|&times| times > 50),
        "not every answer came up: {answers:?}"
    );
}

/// Workers that want more than the budget, for three hours of Flickr's clock, with up to ten seconds between a permit and
/// the arrival of its request.
#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn no_hour_is_ever_over_and_nearly_all_of_each_is_used() {
    const HOUR: u64 = 3_600_000;
    let settings = settings(Duration::from_hours(1) + MARGIN, 3600, 3500);
    let (_, redis, prefix) = budget(&settings).await;
    let scripts = Scripts::new(redis, prefix).await;
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut workers: BinaryHeap<_> = (0..8_u32).map(|worker| Reverse((NOW, worker))).collect();
    let mut arrivals = Vec::new();
    while let Some(Reverse((now, worker))) = workers.pop() {
        if now > NOW + 3 * HOUR {
            break;
        }
        // Two users, who together may do more than the application.
        let user = USERS[usize::from(rng.random_bool(0.5))];
        let (why, wait, _) = scripts.permit("one", user, "rest", now).await;
        assert!(why <= 1, "{why} in seed {seed}");
        let next = if why == 0 {
            let arrival = now + rng.random_range(0..10_000);
            arrivals.push(arrival);
            // Now and then there is a burst; mostly a worker is busy for about two seconds.
            arrival
                + if rng.random_bool(0.3) {
                    0
                } else {
                    rng.random_range(0..2_000)
                }
        } else {
            now + wait
        };
        workers.push(Reverse((next, worker)));
    }
    arrivals.sort_unstable();
    let over = (0..arrivals.len())
        .map(|first| arrivals.partition_point(|arrival| *arrival < arrivals[first] + HOUR) - first)
        .max()
        .unwrap()
        .saturating_sub(3600);
    // The first hour begins with all workers at once; the two after it are steady.
    let steady = arrivals
        .iter()
        .filter(|arrival| **arrival >= NOW + HOUR && **arrival < NOW + 3 * HOUR)
        .count();
    let used = 100.0 * f64::from(u32::try_from(steady).unwrap()) / 7200.0;
    let labels = json!({ "of": "app", "clock": "simulated" });
    for (metric, value, unit) in [
        ("budget_over", json!(over), "requests"),
        ("budget_use_pct", json!(used), "%"),
    ] {
        let figure = json!({
            "bench": "engine", "metric": metric, "value": value, "unit": unit, "labels": labels,
        });
        println!("{figure}");
    }
    assert_eq!(over, 0, "seed {seed}");
    assert!(used >= 99.0, "{used} % in seed {seed}");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_permit_that_is_asked_for_twice_is_charged_once() {
    let settings = settings(Duration::from_hours(1), 2, 2);
    let (budget, redis, prefix) = budget(&settings).await;
    let scripts = Scripts::new(redis, prefix).await;
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    for _ in 0..5 {
        let answer = scripts.permit_again("ticket", "one", "z", "rest", now).await;
        assert_eq!(answer, (0, 0, false));
    }
    let standing = budget.look("one", Some("z")).await.unwrap();
    assert_eq!((standing.app.used, standing.user.used), (1, 1));
    assert!(budget.permit("one", Some("z"), Endpoint::Rest).await.is_ok());
    let (reason, wait) = reason(budget.permit("one", Some("z"), Endpoint::Rest).await).unwrap();
    assert_eq!(reason, Reason::AppBudget);
    assert!(
        wait > Duration::from_mins(59) && wait <= Duration::from_hours(1),
        "{wait:?}"
    );
    // The other application has its own, and the user is the same.
    let answer = budget.permit("two", Some("z"), Endpoint::Rest).await;
    assert_eq!(self::reason(answer).unwrap().0, Reason::UserBudget);
    assert!(budget.permit("two", None, Endpoint::Upload).await.is_ok());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_clock_that_is_set_back_frees_nothing_early() {
    let settings = settings(Duration::from_mins(1), 2, 9);
    let (_, redis, prefix) = budget(&settings).await;
    let scripts = Scripts::new(redis, prefix).await;
    assert_eq!(scripts.permit("one", "z", "rest", NOW).await.0, 0);
    assert_eq!(scripts.permit("one", "z", "rest", NOW - 30_000).await.0, 0);
    // Both count as of the later time.
    assert_eq!(
        scripts.permit("one", "z", "rest", NOW + 59_999).await,
        (1, 1, false)
    );
    assert_eq!(scripts.permit("one", "z", "rest", NOW + 60_000).await.0, 0);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn without_whole_budgets_nothing_is_permitted_until_they_are_rebuilt() {
    let settings = settings(Duration::from_hours(1), 5, 9);
    let (budget, redis, prefix) = budget(&settings).await;
    assert!(budget.permit("one", Some("z"), Endpoint::Rest).await.is_ok());
    let run = |command: &str, key: &str| {
        let mut command = redis::cmd(command);
        command.arg(format!("{prefix}{key}"));
        command
    };
    // As after a failover that lost the second request: another run of a server has made the logs whole.
    let mut other = run("SET", "budget:server");
    redis.run::<()>(other.arg("another run")).await.unwrap();
    let refused = reason(budget.permit("one", Some("z"), Endpoint::Rest).await);
    assert_eq!(refused.unwrap().0, Reason::Rebuilding);
    let (lost, rebuild) = budget.begin_rebuild().await.unwrap();
    assert_eq!(lost, Lost::Last);
    let now = Timestamp::now();
    let app = Whose::App("one".to_owned());
    let requests = [now - Duration::from_mins(1), now, now];
    tokio::time::sleep(Duration::from_millis(5)).await;
    // The first one is older than what the log has, so it is in it; the others may be lost.
    assert_eq!(budget.restore(&app, &requests).await.unwrap(), 2);
    assert_eq!(budget.restore(&app, &requests).await.unwrap(), 0);
    assert!(budget.end_rebuild(&rebuild).await.unwrap());
    assert_eq!(budget.look("one", None).await.unwrap().app.used, 3);
    assert!(budget.permit("one", Some("z"), Endpoint::Rest).await.is_ok());

    // As after Redis was emptied.
    for key in ["budget:server", "budget:app:one", "budget:user:z"] {
        redis.run::<()>(&run("DEL", key)).await.unwrap();
    }
    let (lost, rebuild) = budget.begin_rebuild().await.unwrap();
    assert_eq!(lost, Lost::Everything);
    let hours_ago = now - Duration::from_hours(2);
    assert_eq!(
        budget
            .restore(&app, &[hours_ago, requests[0], now, now])
            .await
            .unwrap(),
        3
    );
    // Emptied once more before the end: that rebuild must not end.
    redis
        .run::<()>(&run("DEL", &format!("budget:rebuild:{}", rebuild.id())))
        .await
        .unwrap();
    assert!(!budget.end_rebuild(&rebuild).await.unwrap());
    let refused = reason(budget.permit("one", Some("z"), Endpoint::Rest).await);
    assert_eq!(refused.unwrap().0, Reason::Rebuilding);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_429_stops_every_endpoint_of_its_application_and_no_other() {
    let mut settings = settings(Duration::from_hours(1), 100, 100);
    settings.breaker.open_seconds = 1;
    let (budget, ..) = budget(&settings).await;
    let permit = budget.permit("one", None, Endpoint::Upload).await.unwrap();
    budget.limited(permit, Some(Duration::from_secs(2)));
    let opened = async || {
        loop {
            let standing = budget.look("one", None).await.unwrap();
            if standing
                .circuits
                .iter()
                .all(|circuit| circuit.state == CircuitState::Open)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), opened())
        .await
        .unwrap();
    let (reason, wait) = reason(budget.permit("one", None, Endpoint::Rest).await).unwrap();
    assert_eq!(reason, Reason::CircuitOpen);
    assert!(wait <= Duration::from_secs(2));
    assert!(budget.permit("two", None, Endpoint::Rest).await.is_ok());
    tokio::time::sleep(wait).await;
    let probe = budget.permit("one", None, Endpoint::Rest).await.unwrap();
    let refused = self::reason(budget.permit("one", None, Endpoint::Rest).await);
    assert_eq!(refused.unwrap().0, Reason::ProbeOut);
    budget.succeeded(probe);
    let closed = async || {
        while budget
            .look("one", None)
            .await
            .unwrap()
            .circuit(Endpoint::Rest)
            .state
            != CircuitState::Closed
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed())
        .await
        .unwrap();
    assert!(budget.permit("one", None, Endpoint::Rest).await.is_ok());
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn successes_keep_a_circuit_closed_though_they_are_told_late() {
    let settings = settings(Duration::from_hours(1), 1000, 1000);
    let (budget, ..) = budget(&settings).await;
    for _ in 0..30 {
        let permit = budget.permit("one", None, Endpoint::Rest).await.unwrap();
        budget.succeeded(permit);
    }
    for _ in 0..25 {
        let permit = budget.permit("one", None, Endpoint::Rest).await.unwrap();
        budget.failed(permit);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let standing = budget.look("one", None).await.unwrap();
    assert_eq!(standing.circuit(Endpoint::Rest).state, CircuitState::Closed);
    assert_eq!(standing.app.used, 55);
}
