//! Nonces of signed requests in a real Redis.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::PathBuf;
use std::time::Duration;

use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::nonce::Nonces;
use tokio::task::JoinSet;
use uuid::Uuid;

const LONG: Duration = Duration::from_mins(1);

async fn nonces() -> (Redis, String, Nonces) {
    let path = std::env::var("FLICKRHUB_TEST_CONFIG").unwrap();
    let config = Config::load(&PathBuf::from(path)).unwrap();
    let redis = Redis::connect(&config.redis).await.unwrap();
    let prefix = format!("nonces-{}:", Uuid::now_v7().simple());
    let nonces = Nonces::new(redis.clone(), &prefix);
    (redis, prefix, nonces)
}

async fn keys(redis: &Redis, prefix: &str) -> Vec<String> {
    redis
        .run(redis::cmd("KEYS").arg(format!("{prefix}*")))
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_nonce_is_first_once_for_each_key() {
    let (_, _, nonces) = nonces().await;
    assert!(nonces.is_first("k1", "n", LONG).await.unwrap());
    assert!(!nonces.is_first("k1", "n", LONG).await.unwrap());
    assert!(nonces.is_first("k2", "n", LONG).await.unwrap(), "another key");
    assert!(nonces.is_first("k1", "m", LONG).await.unwrap(), "another nonce");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_many_at_once_one_is_first() {
    let (_, _, nonces) = nonces().await;
    let mut tries = JoinSet::new();
    for _ in 0..50 {
        let nonces = nonces.clone();
        tries.spawn(async move { nonces.is_first("k1", "n", LONG).await.unwrap() });
    }
    let first = tries.join_all().await.into_iter().filter(|first| *first).count();
    assert_eq!(first, 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_nonce_is_forgotten_after_its_time_and_takes_no_room_by_its_length() {
    let (redis, prefix, nonces) = nonces().await;
    let long = "x".repeat(255);
    assert!(
        nonces
            .is_first("k1", &long, Duration::from_millis(200))
            .await
            .unwrap()
    );
    let stored = keys(&redis, &prefix).await;
    assert!(
        stored.iter().all(|key| !key.contains("xx") && key.len() < 150),
        "{stored:?}"
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(nonces.is_first("k1", &long, Duration::ZERO).await.unwrap());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(keys(&redis, &prefix).await, Vec::<String>::new());
}
