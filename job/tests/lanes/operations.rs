//! Single operations of the lanes on a real Redis.

use std::time::{Duration, Instant};

use flickrhub_job::connection::redis::client;
use flickrhub_job::connection::trust::Trust;
use flickrhub_job::lane::{Admission, Backlog, LaneDepth, LaneEntry, Release, backlog, window_key};
use flickrhub_job::model::JobId;
use flickrhub_job::queue::Queue;
use jiff::Timestamp;

use crate::oracle::Verdict;
use crate::{HOUR, admit, ask, connect, dump, jobs, keys, lanes, places, raw, remove};

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn every_operation_can_be_repeated() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let job = &jobs()[0];
    for _ in 0..2 {
        assert_eq!(admit(&lanes, job, &places(1, 1)).await, Some(Verdict::Admitted));
    }
    for _ in 0..2 {
        lanes.push(job).await.unwrap();
    }
    assert_eq!(lanes.depth(job.queue).await.unwrap().queued, 1);
    assert_eq!(
        lanes.release(job.queue, 10, 10, HOUR).await.unwrap().jobs.len(),
        1
    );
    lanes.push(job).await.unwrap();
    assert_eq!(
        lanes.depth(job.queue).await.unwrap().inflight,
        1,
        "a late push changes nothing"
    );
    for _ in 0..2 {
        lanes.done(job).await.unwrap();
    }
    assert_eq!(lanes.depth(job.queue).await.unwrap(), LaneDepth::default());
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_full_queue_and_a_busy_user_tell_when_one_of_their_jobs_is_expected_to_end() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let accepted = Timestamp::now() - Duration::from_mins(1);
    let job = || LaneEntry {
        job_id: JobId::new(),
        created_at: accepted,
        ..jobs()[0].clone()
    };
    for _ in 0..4 {
        lanes.push(&job()).await.unwrap();
    }
    // The oldest is the first of four to leave, after three times the time that one takes to leave.
    let busy = ask(&lanes, &job(), &places(4, 10)).await;
    let Admission::UserBusy {
        pending: 4,
        retry_after,
    } = busy
    else {
        panic!("{busy:?}");
    };
    assert!((20..=22).contains(&retry_after.as_secs()), "{retry_after:?}");
    let full = ask(&lanes, &job(), &places(10, 4)).await;
    let Admission::QueueFull { retry_after } = full else {
        panic!("{full:?}");
    };
    assert!((20..=22).contains(&retry_after.as_secs()), "{retry_after:?}");
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn only_jobs_without_a_place_are_missing_and_the_look_writes_nothing() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let of_queue: Vec<_> = jobs()
        .into_iter()
        .filter(|job| job.queue == Queue::Rest)
        .collect();
    let [never, reserved, waiting, delayed, released, lost, over] = &of_queue[..7] else {
        panic!("seven jobs");
    };
    lanes.push(released).await.unwrap();
    assert_eq!(
        lanes.release(Queue::Rest, 1, 10, HOUR).await.unwrap().jobs.len(),
        1
    );
    admit(&lanes, reserved, &places(100, 100)).await;
    lanes
        .push_delayed(delayed, Timestamp::now() + HOUR)
        .await
        .unwrap();
    for job in [waiting, lost, over] {
        lanes.push(job).await.unwrap();
    }
    lanes.done(over).await.unwrap();
    let lane = format!("{prefix}2:lane:{}:{}:{}", lost.queue, lost.app, lost.user_id);
    redis
        .run::<()>(redis::cmd("ZREM").arg(lane).arg(raw(lost)))
        .await
        .unwrap();

    let before = dump(&redis, &prefix).await;
    let missing = lanes.missing(Queue::Rest, &of_queue[..7]).await.unwrap();
    let expected = [never, reserved, lost, over].map(|job| job.job_id);
    assert_eq!(missing, expected.into_iter().collect());
    assert_eq!(dump(&redis, &prefix).await, before);
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_any_number_of_jobs_every_one_is_looked_for() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let template = jobs()[0].clone();
    let all: Vec<_> = (0..250)
        .map(|_| LaneEntry {
            job_id: JobId::new(),
            ..template.clone()
        })
        .collect();
    let (first, last) = (&all[0], &all[249]);
    for job in [first, last] {
        lanes.push(job).await.unwrap();
    }
    let missing = lanes.missing(template.queue, &all).await.unwrap();
    assert_eq!(missing.len(), 248);
    assert!(!missing.contains(&first.job_id) && !missing.contains(&last.job_id));
    assert!(lanes.missing(template.queue, &[]).await.unwrap().is_empty());
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_push_wakes_a_dispatcher_and_silence_does_not() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let job = jobs()[0].clone();
    let started = Instant::now();
    lanes
        .wait_for_work(job.queue, Duration::from_millis(300))
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
    let waiting = {
        let (lanes, queue) = (lanes.clone(), job.queue);
        tokio::spawn(async move { lanes.wait_for_work(queue, Duration::from_secs(30)).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pushed = Instant::now();
    lanes.push(&job).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(pushed.elapsed() < Duration::from_secs(10));
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_is_done_wakes_a_dispatcher_only_if_others_wait() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let of_queue: Vec<_> = jobs()
        .into_iter()
        .filter(|job| job.queue == Queue::Rest)
        .collect();
    let [first, second] = &of_queue[..2] else {
        panic!("two jobs");
    };
    let is_woken = async || {
        let mut wake = redis::cmd("LPOP");
        wake.arg(format!("{prefix}2:wake:{}", Queue::Rest));
        let woken: Option<String> = redis.run(&wake).await.unwrap();
        woken.is_some()
    };
    lanes.push(first).await.unwrap();
    assert!(is_woken().await);
    assert_eq!(
        lanes.release(Queue::Rest, 1, 1, HOUR).await.unwrap().jobs.len(),
        1
    );
    lanes.push(second).await.unwrap();
    assert!(is_woken().await);
    let full = lanes.release(Queue::Rest, 1, 1, HOUR).await.unwrap();
    assert!(full.jobs.is_empty());
    lanes.done(first).await.unwrap();
    assert!(is_woken().await, "there is a place in the window");
    assert_eq!(
        lanes.release(Queue::Rest, 1, 1, HOUR).await.unwrap().jobs.len(),
        1
    );
    lanes.done(second).await.unwrap();
    assert!(!is_woken().await, "nobody waits");
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_marker_of_a_rebuild_is_gone_when_the_data_are() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    assert_eq!(lanes.generation().await.unwrap(), None);
    lanes.set_generation("one").await.unwrap();
    assert_eq!(lanes.generation().await.unwrap(), Some("one".to_owned()));
    remove(&redis, &prefix).await;
    assert_eq!(lanes.generation().await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_release_tells_when_to_look_again() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let release = async |max| lanes.release(Queue::Rest, max, 100, HOUR).await.unwrap();
    assert_eq!(release(5).await, Release::default());
    let of_queue: Vec<_> = jobs()
        .into_iter()
        .filter(|job| job.queue == Queue::Rest)
        .collect();
    let [first, second, parked] = &of_queue[..3] else {
        panic!("three jobs");
    };
    lanes.push(first).await.unwrap();
    let full = release(1).await;
    assert_eq!((full.jobs.len(), full.next_due), (1, Some(Duration::ZERO)));
    let leased = release(1).await.next_due.unwrap();
    assert!(leased > Duration::from_mins(59), "{leased:?}");

    let in_a_minute = Timestamp::now() + Duration::from_mins(1);
    lanes.push_delayed(second, in_a_minute).await.unwrap();
    let delayed = release(1).await.next_due.unwrap();
    assert!(
        delayed > Duration::from_secs(30) && delayed <= Duration::from_mins(2),
        "{delayed:?}"
    );

    let field = format!("user:{}:{}", parked.app, parked.user_id);
    let mut limit = redis::cmd("HSET");
    limit.arg(format!("{prefix}room")).arg(field).arg("0|200");
    redis.run::<()>(&limit).await.unwrap();
    lanes.push(parked).await.unwrap();
    let waits = release(1).await;
    assert!(waits.jobs.is_empty());
    assert!(waits.next_due.unwrap() <= Duration::from_millis(200), "{waits:?}");
    redis
        .run::<()>(redis::cmd("DEL").arg(format!("{prefix}room")))
        .await
        .unwrap();
    tokio::time::sleep(waits.next_due.unwrap()).await;
    let due = release(5).await;
    assert_eq!(due.jobs.first().map(|job| job.job_id), Some(parked.job_id));
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_any_number_of_lanes_without_room_one_call_parks_some_and_says_that_there_are_more() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let template = jobs()[0].clone();
    let mut limits = redis::cmd("HSET");
    limits.arg(format!("{prefix}room"));
    for number in 0..250 {
        let user_id = format!("user {number:03}");
        limits
            .arg(format!("user:{}:{user_id}", template.app))
            .arg("0|3600000");
        let job_id = JobId::new();
        lanes
            .push(&LaneEntry {
                user_id,
                job_id,
                ..template.clone()
            })
            .await
            .unwrap();
    }
    redis.run::<()>(&limits).await.unwrap();
    let last = LaneEntry {
        user_id: "user with room".to_owned(),
        job_id: JobId::new(),
        ..template.clone()
    };
    lanes.push(&last).await.unwrap();
    for parked in [100, 200] {
        let release = lanes.release(template.queue, 5, 100, HOUR).await.unwrap();
        assert_eq!((release.jobs.len(), release.next_due), (0, Some(Duration::ZERO)));
        assert_eq!(lanes.depth(template.queue).await.unwrap().parked, parked);
    }
    let release = lanes.release(template.queue, 5, 100, HOUR).await.unwrap();
    assert_eq!(release.jobs.len(), 1);
    assert_eq!(release.jobs[0].job_id, last.job_id);
    assert!(release.next_due.unwrap() > Duration::from_mins(50));
    remove(&redis, &prefix).await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_an_earlier_version_left_is_deleted_and_nothing_else() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let set = async |name: &str| {
        let mut set = redis::cmd("SET");
        set.arg(format!("{prefix}{name}")).arg("x");
        redis.run::<()>(&set).await.unwrap();
    };
    lanes.push(&jobs()[0]).await.unwrap();
    lanes.set_generation("new").await.unwrap();
    for other in ["turn:reconcile", "budget:app:main"] {
        set(other).await;
    }
    assert_eq!(lanes.delete_old_layouts().await.unwrap(), 0);
    let before = dump(&redis, &prefix).await;
    for old in [
        "generation",
        "jobs:flickr_rest",
        "lane:flickr_rest:z",
        "pending:a",
        "wake:flickr_rest",
    ] {
        set(old).await;
    }
    assert_eq!(lanes.delete_old_layouts().await.unwrap(), 5);
    assert_eq!(dump(&redis, &prefix).await, before);
    assert_eq!(keys(&redis, &prefix).await.len(), before.len());
    remove(&redis, &prefix).await;
}

/// A connection that is nobody's: as whoever scales workers has one.
async fn connection_of_a_stranger() -> redis::aio::MultiplexedConnection {
    let path: std::path::PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    let config = flickrhub_job::config::Config::load(&path).unwrap().redis;
    let password = std::fs::read_to_string(&config.password_file).unwrap();
    let trust = Trust::read(config.ca_file.as_deref()).unwrap();
    for sentinel in &config.sentinels {
        // Each Redis is beside its Sentinel.
        let host = sentinel.trim_end_matches(":26379").to_owned();
        let login = redis::RedisConnectionInfo::default().set_password(password.trim());
        let mut connection = client((host, 6379), login, trust.as_ref())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await.unwrap();
        if role[0] == redis::Value::BulkString(b"master".to_vec()) {
            return connection;
        }
    }
    panic!("no master");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_backlog_tells_what_each_job_waits_for_and_writes_nothing() {
    let redis = connect().await;
    let (lanes, prefix) = lanes(&redis);
    let mut stranger = connection_of_a_stranger().await;
    let of_queue: Vec<_> = jobs()
        .into_iter()
        .filter(|job| job.queue == Queue::Rest && job.app == "main")
        .collect();
    let [released, waiting, delayed, others @ ..] = &of_queue[..] else {
        panic!("three jobs");
    };
    lanes.push(released).await.unwrap();
    lanes.release(Queue::Rest, 1, 10, HOUR).await.unwrap();
    assert_eq!(
        backlog(&mut stranger, &prefix, Queue::Rest).await.unwrap(),
        None,
        "nobody has built the lanes"
    );
    lanes.set_generation("1").await.unwrap();
    lanes.push(waiting).await.unwrap();
    let due = Timestamp::now() + HOUR;
    lanes.push_delayed(delayed, due).await.unwrap();
    let parked = others.iter().find(|job| job.user_id != waiting.user_id).unwrap();
    lanes.push(parked).await.unwrap();
    let lane = format!("{}:{}", parked.app, parked.user_id);
    let mut park = redis::cmd("ZADD");
    park.arg(format!("{prefix}2:parked:flickr_rest")).arg(1).arg(lane);
    redis.run::<()>(&park).await.unwrap();
    let before = dump(&redis, &prefix).await;
    let expected = Backlog {
        inflight: 1,
        waiting: 1,
        parked: 1,
        delayed: 1,
    };
    assert_eq!(
        backlog(&mut stranger, &prefix, Queue::Rest).await.unwrap(),
        Some(expected)
    );
    assert_eq!(
        backlog(&mut stranger, &prefix, Queue::Replace).await.unwrap(),
        Some(Backlog::default())
    );
    assert_eq!(dump(&redis, &prefix).await, before);
    let mut size = redis::cmd("ZCARD");
    size.arg(window_key(&prefix, Queue::Rest));
    assert_eq!(redis.run::<u64>(&size).await.unwrap(), 1);
    remove(&redis, &prefix).await;
}
