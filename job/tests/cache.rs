//! Cached answers in a real Redis.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use flickrhub_job::cache::{
    AnswerCache, CacheConfig, CacheKey, CachePolicy, Flight, Generation, Invalidation, Lookup, MethodTtl,
};
use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

const METHOD: &str = "flickr.photos.search";
const LEASE: Duration = Duration::from_secs(30);

struct Scene {
    redis: Redis,
    prefix: String,
    cache: AnswerCache,
}

impl Scene {
    async fn new(change: impl FnOnce(&mut CacheConfig)) -> Self {
        let path = std::env::var("FLICKRHUB_TEST_CONFIG").unwrap();
        let config = Config::load(&PathBuf::from(path)).unwrap();
        let redis = Redis::connect(&config.redis).await.unwrap();
        let prefix = format!("cache-{}:", Uuid::now_v7().simple());
        let mut settings = CacheConfig::default();
        change(&mut settings);
        Self {
            cache: AnswerCache::new(redis.clone(), &prefix, CachePolicy::from(&settings)),
            redis,
            prefix,
        }
    }

    async fn end(self) {
        let keys: Vec<String> = self
            .redis
            .run(redis::cmd("KEYS").arg(format!("{}*", self.prefix)))
            .await
            .unwrap();
        if !keys.is_empty() {
            self.redis.run::<()>(redis::cmd("DEL").arg(keys)).await.unwrap();
        }
    }

    async fn leads(&self, key: &CacheKey, flight: &Flight) -> Generation {
        match self.cache.lead(key, flight, LEASE, false).await.unwrap() {
            Lookup::Missing(generation) | Lookup::Stale(_, generation) => generation,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for an answer, calls Flickr, and keeps what it says.
    async fn fetch(&self, key: &CacheKey, answer: &Value) -> bool {
        let flight = Flight::new();
        let generation = self.leads(key, &flight).await;
        self.cache.keep(key, &flight, &generation, answer).await.unwrap()
    }

    async fn answer(&self, key: &CacheKey) -> Option<Value> {
        match self.cache.look(key).await.unwrap() {
            Lookup::Fresh(cached) => Some(cached.result),
            _ => None,
        }
    }
}

fn key(user: &str, text: &str) -> CacheKey {
    CacheKey::new(
        user,
        METHOD,
        &BTreeMap::from([("text".to_owned(), text.to_owned())]),
    )
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_answer_is_given_again_to_its_user_alone() {
    let scene = Scene::new(|_| ()).await;
    assert!(scene.fetch(&key("1@N01", "sea"), &json!({"total": 3})).await);
    assert_eq!(
        scene.answer(&key("1@N01", "sea")).await,
        Some(json!({"total": 3}))
    );
    assert_eq!(scene.answer(&key("2@N01", "sea")).await, None);
    assert_eq!(scene.answer(&key("1@N01", "sky")).await, None);
    scene.end().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn one_of_many_that_miss_at_once_leads() {
    let scene = Scene::new(|_| ()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let cache = scene.cache.clone();
        tasks.spawn(async move {
            cache
                .lead(&key("1@N01", "sea"), &Flight::new(), LEASE, false)
                .await
                .unwrap()
        });
    }
    let looks = tasks.join_all().await;
    let leads = looks
        .iter()
        .filter(|look| matches!(look, Lookup::Missing(_)))
        .count();
    let waits = looks
        .iter()
        .filter(|look| matches!(look, Lookup::Fetching))
        .count();
    assert_eq!((leads, waits), (1, 49));
    scene.end().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_flight_ends_when_it_lands_or_its_holder_dies() {
    let scene = Scene::new(|_| ()).await;
    let key = key("1@N01", "sea");
    let flight = Flight::new();
    scene.leads(&key, &flight).await;
    // Asked again, because the first answer was lost: it leads still.
    scene.leads(&key, &flight).await;
    scene.cache.land(&key, &Flight::new()).await.unwrap();
    let other = scene
        .cache
        .lead(&key, &Flight::new(), LEASE, false)
        .await
        .unwrap();
    assert_eq!(other, Lookup::Fetching, "another one cannot end it");
    scene.cache.land(&key, &flight).await.unwrap();

    let dies = Duration::from_millis(50);
    scene.cache.lead(&key, &Flight::new(), dies, false).await.unwrap();
    tokio::time::sleep(dies * 2).await;
    scene.leads(&key, &Flight::new()).await;
    scene.end().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_invalidation_ends_what_it_names_and_what_is_under_way() {
    let scene = Scene::new(|_| ()).await;
    let (one, other) = (key("1@N01", "sea"), key("2@N01", "sea"));
    let user = Invalidation::User("1@N01");
    let both = Invalidation::Both {
        user: "1@N01",
        method: METHOD,
    };
    for (what, other_stays) in [(user, true), (both, true), (Invalidation::Method(METHOD), false)] {
        for key in [&one, &other] {
            assert!(scene.fetch(key, &json!(1)).await || scene.answer(key).await.is_some());
        }
        scene.cache.invalidate(what).await.unwrap();
        assert_eq!(scene.answer(&one).await, None, "{what:?}");
        assert_eq!(scene.answer(&other).await.is_some(), other_stays, "{what:?}");
        if other_stays {
            scene.cache.invalidate(Invalidation::User("2@N01")).await.unwrap();
        }
    }

    let flight = Flight::new();
    let before = scene.leads(&one, &flight).await;
    scene.cache.invalidate(both).await.unwrap();
    assert!(
        !scene
            .cache
            .keep(&one, &flight, &before, &json!("old"))
            .await
            .unwrap()
    );
    assert_eq!(scene.answer(&one).await, None);
    scene.end().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_answer_that_is_not_fresh_waits_for_times_without_flickr() {
    let scene = Scene::new(|config| {
        config.methods = vec![MethodTtl {
            method: METHOD.to_owned(),
            ttl_seconds: 1,
        }];
    })
    .await;
    let key = key("1@N01", "sea");
    assert!(scene.fetch(&key, &json!("old")).await);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let Lookup::Stale(cached, _) = scene.cache.look(&key).await.unwrap() else {
        panic!("it is kept");
    };
    assert_eq!(cached.result, json!("old"));
    assert!(cached.age >= Duration::from_secs(1));
    assert!(scene.fetch(&key, &json!("new")).await);
    assert_eq!(scene.answer(&key).await, Some(json!("new")));
    scene.end().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn all_answers_together_take_no_more_than_their_bound() {
    const BOUND: u64 = 100_000;
    let scene = Scene::new(|config| config.max_bytes = BOUND).await;
    let answer = json!("x".repeat(9_000));
    for number in 0..50 {
        assert!(scene.fetch(&key("1@N01", &number.to_string()), &answer).await);
    }
    // The same question once more takes no second place.
    let last = key("1@N01", "49");
    for _ in 0..20 {
        let flight = Flight::new();
        let Lookup::Missing(generation) = scene.cache.lead(&last, &flight, LEASE, true).await.unwrap() else {
            panic!("asked anew");
        };
        assert!(
            scene
                .cache
                .keep(&last, &flight, &generation, &answer)
                .await
                .unwrap()
        );
    }
    let mut kept = 0;
    for number in 0..50 {
        kept += u64::from(scene.answer(&key("1@N01", &number.to_string())).await.is_some());
    }
    assert_eq!(kept, BOUND / (9_002 + 512), "the oldest went first");
    let counted: u64 = scene
        .redis
        .run(redis::cmd("GET").arg(format!("{}cached-bytes", scene.prefix)))
        .await
        .unwrap();
    assert_eq!(counted, kept * (9_002 + 512));
    let huge = json!("x".repeat(300_000));
    assert!(!scene.fetch(&key("1@N01", "huge"), &huge).await);
    scene.leads(&key("1@N01", "huge"), &Flight::new()).await;
    scene.end().await;
}
