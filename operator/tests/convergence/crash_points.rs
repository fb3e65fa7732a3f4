//! Every request of an operator, in every turn of the life of a hub, goes wrong in every way; from each of these points the
//! hub comes to the same end, nothing is left over, and nothing that holds data is lost.
//!
//! `FLICKRHUB_CRASH_POINTS` is how many points are tried, `all` for every one; which of them is drawn by
//! `FLICKRHUB_SEED`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::control_plane::ControlPlane;
use crate::ending::{Ending, Keepsakes};
use crate::fault::{Answers, Asked, Fault, Line};
use crate::turn::Turn;
use crate::world::{Moment, World, worlds};

/// Points that are tried without further wishes: as many as a run of all tests has the time for.
const POINTS: usize = 100;
/// Namespaces that are worked on at the same time.
const WORLDS: usize = 3;
/// The reason of a hub whose OpenBao was initialised by an operator that died with its keys. Nothing was stored with them, and
/// the condition says so: a person deletes what the members hold.
const KEYS_DIED: &str = "InitialisationInterrupted";

/// A reconciliation of the undisturbed life.
struct Step {
    /// What there was before it.
    moment: Moment,
    /// What it asked.
    asked: Vec<Asked>,
    /// What it was answered earlier to the same questions, where that was something else.
    older: Answers,
}

/// A turn of the undisturbed life.
struct Course {
    turn: Turn,
    steps: Vec<Step>,
    kept: Keepsakes,
    ending: Ending,
}

/// Where something goes wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    turn: usize,
    step: usize,
    request: usize,
    fault: Fault,
}

/// What became of a point.
enum Outcome {
    /// The same end.
    Same,
    /// The keys of an OpenBao died with the operator, which is said; a person acted, and then the same end.
    KeysDied,
}

/// Lives undisturbed, and notes everything.
async fn live(world: &World) -> Vec<Course> {
    let mut courses = Vec::new();
    let mut known = Answers::new();
    for turn in Turn::ALL {
        let kept = world.keepsakes().await;
        turn.begin(world).await;
        let operator = world.operator(Line::default());
        let mut steps = Vec::new();
        loop {
            let settled = !world.cluster.settle().await;
            let moment = world.moment().await;
            let round = world.round(&operator).await;
            let answers = operator.line.take_answers();
            let older = answers.iter().filter_map(|(address, answer)| {
                let older = known.get(address).filter(|older| !older.tells_the_same(answer));
                Some((address.clone(), older?.clone()))
            });
            let older = older.collect();
            known.extend(answers);
            let is_quiet = settled && round.is_quiet();
            steps.push(Step {
                moment,
                asked: round.asked,
                older,
            });
            if is_quiet {
                break;
            }
            assert!(steps.len() < 100, "{turn:?} does not come to rest undisturbed");
        }
        let ending = world.ending(!turn.makes_up_secrets()).await;
        assert_eq!(
            ending.is_true("Ready"),
            turn.ends_ready(),
            "{turn:?}: {:?}",
            ending.reason("Ready")
        );
        assert_eq!(world.losses(), Vec::<String>::new(), "{turn:?}");
        courses.push(Course {
            turn,
            steps,
            kept,
            ending,
        });
    }
    courses
}

/// What can go wrong with a request.
fn faults(asked: &Asked, older: &Answers) -> Vec<Fault> {
    if asked.is_event() {
        return vec![Fault::Refused(500), Fault::Crash];
    }
    let mut faults = vec![
        Fault::Refused(500),
        Fault::Refused(429),
        Fault::TimedOut,
        Fault::Crash,
    ];
    if !asked.is_read() {
        faults.extend([Fault::Refused(409), Fault::AnswerLost]);
    } else if older.contains_key(&asked.address) {
        faults.push(Fault::Stale);
    }
    faults
}

/// Every point of a life.
fn points(courses: &[Course]) -> Vec<Point> {
    let mut points = Vec::new();
    for (turn, course) in courses.iter().enumerate() {
        for (step, Step { asked, older, .. }) in course.steps.iter().enumerate() {
            for (request, asked) in asked.iter().enumerate() {
                points.extend(faults(asked, older).into_iter().map(|fault| Point {
                    turn,
                    step,
                    request,
                    fault,
                }));
            }
            if !older.is_empty() {
                points.push(Point {
                    turn,
                    step,
                    request: 0,
                    fault: Fault::StaleFromNow,
                });
            }
        }
    }
    points
}

/// Tries a point.
async fn attempt(world: &World, course: &Course, point: Point) -> Result<Outcome, String> {
    let step = &course.steps[point.step];
    world.go_back(&step.moment).await;
    let line = Line::with_fault(point.request, point.fault, &step.asked, step.older.clone());
    let operator = world.operator(line.clone());
    let mut asked = world.round(&operator).await.asked;
    if !line.has_struck() {
        return Err("the request did not come".to_owned());
    }
    asked.extend(world.until_quiet(operator).await?);
    let mut outcome = Outcome::Same;
    let mut ending = world.ending(!course.turn.makes_up_secrets()).await;
    if ending.reason("VaultReady") == Some(KEYS_DIED) && point.fault == Fault::Crash {
        world.give_up_bao();
        asked.extend(world.until_quiet(world.operator(Line::default())).await?);
        ending = world.ending(!course.turn.makes_up_secrets()).await;
        outcome = Outcome::KeysDied;
    }
    if let Some(difference) = ending.difference(&course.ending) {
        return Err(format!("another end:\n{difference}"));
    }
    if let Some(loss) = world.losses().first() {
        return Err(format!("data is lost: {loss}"));
    }
    if course.turn.deletes_data() {
        return Ok(outcome);
    }
    if let Some(deletion) = asked.iter().find(|asked| asked.deletes_data()) {
        return Err(format!("the operator asked to delete data: {}", deletion.address));
    }
    let now = world.keepsakes().await;
    // Of a Secret whose values are replaced its uid has to stay.
    let what_stays = |kept: &str| match kept.split_once(' ') {
        Some((uid, _)) if course.turn.replaces_credentials() => uid.to_owned(),
        _ => kept.to_owned(),
    };
    // The authority and the certificates of servers go with their hub; the next one makes up others.
    let is_certificate = |name: &str| name.ends_with("-tls") || name.ends_with("-ca");
    let must_stay = |name: &str| course.turn != Turn::Delete || !is_certificate(name);
    let lost = course
        .kept
        .iter()
        .filter(|(name, _)| must_stay(name))
        .find(|(name, kept)| {
            let found = now.get(*name).map(|found| what_stays(found));
            found != Some(what_stays(kept))
        });
    match lost {
        Some((name, _)) => Err(format!("{name} is lost or another one")),
        None => Ok(outcome),
    }
}

/// Which points are tried.
fn chosen(all: &[Point], rng: &mut StdRng) -> Vec<Point> {
    let wanted = std::env::var("FLICKRHUB_CRASH_POINTS").unwrap_or_default();
    if wanted == "all" {
        return all.to_vec();
    }
    let wanted = wanted.parse().unwrap_or(POINTS);
    let mut drawn = all.to_vec();
    drawn.shuffle(rng);
    // At least one of every step and of every kind of fault in every turn.
    let mut seen = BTreeSet::new();
    drawn.sort_by_cached_key(|point| {
        let is_new = seen.insert((point.turn, Some(point.step), None))
            | seen.insert((point.turn, None, Some(point.fault)));
        !is_new
    });
    drawn.truncate(wanted);
    drawn
}

fn report(courses: &[Course], all: &[Point], tried: &BTreeMap<usize, usize>) {
    println!(
        "{:<16} {:>8} {:>9} {:>8} {:>8}",
        "turn", "rounds", "requests", "points", "tried"
    );
    for (number, course) in courses.iter().enumerate() {
        let requests: usize = course.steps.iter().map(|step| step.asked.len()).sum();
        let points = all.iter().filter(|point| point.turn == number).count();
        let tried = tried.get(&number).copied().unwrap_or_default();
        let (turn, rounds) = (format!("{:?}", course.turn), course.steps.len());
        println!("{turn:<16} {rounds:>8} {requests:>9} {points:>8} {tried:>8}");
    }
}

/// Tries every point of `all` that is this world's.
async fn attempt_all(
    world: &World,
    courses: &[Course],
    points: impl Iterator<Item = Point>,
) -> (usize, Vec<String>) {
    let (mut keys_died, mut failures) = (0, Vec::new());
    for point in points {
        let course = &courses[point.turn];
        match attempt(world, course, point).await {
            Ok(Outcome::Same) => {}
            Ok(Outcome::KeysDied) => keys_died += 1,
            Err(why) => {
                let asked = &course.steps[point.step].asked[point.request];
                failures.push(format!(
                    "{:?} at {} {} ({point:?}): {why}",
                    point.fault, asked.method, asked.address
                ));
            }
        }
    }
    (keys_died, failures)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn from_every_point_the_hub_comes_to_the_same_end() {
    let plane = Arc::new(ControlPlane::start("crash-points").await);
    let seed: u64 = std::env::var("FLICKRHUB_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::rng().random());
    println!("FLICKRHUB_SEED={seed}");
    let worlds = worlds(&plane, "crash", WORLDS).await;
    let lives = join_all(worlds.iter().map(live)).await;
    // Lives differ only by chance, so the points of one are those of all.
    let all = points(&lives[0]);
    let chosen = chosen(&all, &mut StdRng::seed_from_u64(seed));
    let started = std::time::Instant::now();
    let work = worlds
        .iter()
        .zip(&lives)
        .enumerate()
        .map(|(number, (world, courses))| {
            let mine = chosen.iter().skip(number).step_by(WORLDS).copied();
            attempt_all(world, courses, mine)
        });
    let results = join_all(work).await;
    let mut tried = BTreeMap::new();
    for point in &chosen {
        *tried.entry(point.turn).or_insert(0) += 1;
    }
    report(&lives[0], &all, &tried);
    let keys_died: usize = results.iter().map(|(keys_died, _)| keys_died).sum();
    let failures: Vec<String> = results.into_iter().flat_map(|(_, failures)| failures).collect();
    println!(
        "crash points: {} enumerated, {} tried in {} s; after {keys_died} a person had to act, as the condition said",
        all.len(),
        chosen.len(),
        started.elapsed().as_secs(),
    );
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
