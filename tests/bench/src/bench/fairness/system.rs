//! Fairness through the whole system: from the API over MongoDB, the lanes, the dispatchers, RabbitMQ and the workers to
//! Flickr. What counts is the order in which Flickr's stand-in saw the calls.
//!
//! Weights are those of the resource (`spec.limits.weights`), which a job gets when it is accepted. Jobs of all users are
//! accepted while the dispatcher is stopped, so that every lane is busy from the first dispatch that is counted to the
//! last. A call that was made again counts once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use tokio::time::sleep;

use super::{BENCH, DISPATCHES, HEAVY, WEIGHTS, due, largest_error_pct, tell};
use crate::Failure;
use crate::flickr_log::{Call, FlickrLog};
use crate::jobs::{Jobs, noop};
use crate::load;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::Scene;

/// The longest that submitting, and then the jobs, may take.
const LIMIT: Duration = Duration::from_mins(4);
/// How often the log of Flickr's stand-in is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// Users who come with one job each while the heavy one has many.
const LIGHT_USERS: usize = 5;
/// Calls of the heavy user before the first of them, and between two: more than a window.
const APART: usize = 140;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.populate().await?;
    if scene.users.len() < WEIGHTS.len() + 1 + LIGHT_USERS {
        return Err(format!("too few users: {}", scene.users.len()).into());
    }
    // A hub that is paused takes no weights.
    scene.hub.start_dispatcher().await?;
    let weights: Vec<_> = scene.users.iter().map(String::as_str).zip(WEIGHTS).collect();
    scene.hub.set_weights(&weights).await?;
    let outcome = measure(scene, report).await;
    let started = scene.hub.start_dispatcher().await;
    scene.hub.reset_weights().await?;
    started?;
    outcome
}

async fn measure(scene: &Scene, report: &mut Report) -> Result<(), Failure> {
    let window = scene.tier.hub.queue(Queue::Rest)?.window;
    let window = usize::try_from(window)?;
    let (weighted, others) = scene.users.split_at(WEIGHTS.len());

    let jobs = Jobs::from_now(&scene.tier, weighted);
    let error = largest_error(scene, weighted, window).await;
    jobs.over(LIMIT).await?;
    jobs.remove().await?;
    let error = error?;

    let jobs = Jobs::from_now(&scene.tier, others);
    let waits = waits_of_light_users(scene, others).await;
    jobs.over(LIMIT).await?;
    jobs.remove().await?;
    let longest = waits?.into_iter().max().unwrap_or_default();
    tell(report, "system", error, number(longest) / number(window).max(1.0))
}

async fn largest_error(scene: &Scene, users: &[String], window: usize) -> Result<f64, Failure> {
    // A tenth and two windows more than is due: a share that is so far off is told as a failure.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number"
    )]
    let jobs_of = |user| (due(user, DISPATCHES) * 1.1).ceil() as usize + 2 * window;
    let turns: Vec<usize> = (0..users.len())
        .flat_map(|user| std::iter::repeat_n(user, jobs_of(user)))
        .collect();
    scene.hub.stop_dispatcher().await?;
    let mut log = FlickrLog::from_now().await?;
    submit(scene, users, &turns).await?;
    let (started, order) = tokio::join!(
        scene.hub.start_dispatcher(),
        first_calls(&mut log, users, DISPATCHES)
    );
    started?;
    let order = order?;
    let served: Vec<_> = users
        .iter()
        .map(|user| order.iter().filter(|call| call.user == *user).count())
        .collect();
    for (user, count) in served.iter().enumerate() {
        // Those that wait in the window are in no lane any more.
        if count + window > jobs_of(user) {
            return Err(format!("the lane of user {user} ran empty: {served:?}").into());
        }
    }
    Ok(largest_error_pct(&served))
}

/// Of each light user: the calls of the heavy one from the acceptance of the only job to its call.
async fn waits_of_light_users(scene: &Scene, users: &[String]) -> Result<Vec<usize>, Failure> {
    let [heavy, rest @ ..] = users else {
        return Err("no users".into());
    };
    let lights = &rest[..LIGHT_USERS];
    scene.hub.stop_dispatcher().await?;
    let mut log = FlickrLog::from_now().await?;
    submit(scene, users, &[0; HEAVY]).await?;
    let (started, waits) = tokio::join!(
        scene.hub.start_dispatcher(),
        come_with_one_job(scene, &mut log, heavy, lights)
    );
    started?;
    waits
}

async fn come_with_one_job(
    scene: &Scene,
    log: &mut FlickrLog,
    heavy: &str,
    lights: &[String],
) -> Result<Vec<usize>, Failure> {
    let mut connection = scene.target.connect().await?;
    let mut calls = Vec::new();
    let mut accepted_ms = Vec::new();
    for (number, light) in lights.iter().enumerate() {
        until(log, &mut calls, |calls| {
            calls.iter().filter(|call| call.user == heavy).count() >= (number + 1) * APART
        })
        .await?;
        let answer = connection.submit(noop(light, HEAVY + number), None).await?;
        accepted_ms.push(Timestamp::now().as_millisecond());
        if answer.status != http::StatusCode::ACCEPTED {
            return Err(format!("{} {}", answer.status, answer.json()).into());
        }
    }
    until(log, &mut calls, |calls| {
        let is_called = |light: &String| calls.iter().any(|call| call.user == *light);
        lights.iter().all(is_called)
    })
    .await?;
    let waits = lights.iter().zip(accepted_ms).map(|(light, accepted_ms)| {
        let wait = calls_before(&calls, heavy, light, accepted_ms);
        wait.ok_or_else(|| Failure::from("the job of a light user was not called"))
    });
    waits.collect()
}

/// Calls of the heavy user after a moment and before the first one of the light user.
fn calls_before(calls: &[Call], heavy: &str, light: &str, accepted_ms: i64) -> Option<usize> {
    let called = calls.iter().position(|call| call.user == light)?;
    let before = calls.iter().take(called);
    Some(
        before
            .filter(|call| call.user == heavy && call.time_ms > accepted_ms)
            .count(),
    )
}

/// Has a job accepted for each turn, which is the number of its user.
async fn submit(scene: &Scene, users: &[String], turns: &[usize]) -> Result<(), Failure> {
    let bodies: Vec<_> = turns
        .iter()
        .enumerate()
        .map(|(index, user)| noop(&users[*user], index))
        .collect();
    let body: load::Body = Arc::new(move |index| bodies[index].clone());
    let (connections, _) = load::open(&scene.target, scene.options.in_flight).await;
    let load = load::closed(connections, turns.len(), LIMIT, body).await;
    if load.times.len() == turns.len() {
        return Ok(());
    }
    Err(format!(
        "{BENCH}: {} of {} accepted, {:?}",
        load.times.len(),
        turns.len(),
        load.errors
    )
    .into())
}

/// The first calls of these users, each job once, in their order.
async fn first_calls(log: &mut FlickrLog, users: &[String], count: usize) -> Result<Vec<Call>, Failure> {
    let mut calls = Vec::new();
    until(log, &mut calls, |calls| calls.len() >= count).await?;
    calls.retain(|call| users.contains(&call.user));
    calls.truncate(count);
    if calls.len() < count {
        return Err("somebody else submits jobs".into());
    }
    Ok(calls)
}

/// Adds to `calls` what Flickr's stand-in sees, each job once, until that is enough.
async fn until(
    log: &mut FlickrLog,
    calls: &mut Vec<Call>,
    is_enough: impl Fn(&[Call]) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + LIMIT;
    let mut known: HashSet<_> = calls.iter().map(Call::job).collect();
    while !is_enough(calls) {
        if Instant::now() > deadline {
            return Err(format!("after {LIMIT:?} there are {} calls only", calls.len()).into());
        }
        sleep(LOOK).await;
        let new = log.more().await?.into_iter();
        calls.extend(new.filter(|call| known.insert(call.job())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_light_user_waits_for_what_is_called_between_acceptance_and_call() {
        let call = |user: &str, time_ms: i64| Call {
            user: user.to_owned(),
            argument: time_ms.to_string(),
            time_ms,
        };
        let calls = [
            call("heavy", 10),
            call("heavy", 20),
            call("other", 25),
            call("heavy", 30),
            call("light", 40),
            call("heavy", 50),
        ];
        assert_eq!(calls_before(&calls, "heavy", "light", 15), Some(2));
        assert_eq!(calls_before(&calls, "heavy", "nobody", 15), None);
    }
}
