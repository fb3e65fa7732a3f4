//! Callback addresses that are disabled.

use flickrhub_job::model::JobId;
use flickrhub_job::store::{EndpointId, EndpointStore};
use url::Url;

use crate::database;

fn hook(number: usize) -> Url {
    let text = format!("https://acme.example/hook?key={number}");
    text.parse().expect("a URL")
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_address_is_disabled_for_one_client_until_that_client_enables_it() {
    let database = database::create().await;
    let open = async || EndpointStore::open(&database).await.expect("the store opens");
    let (store, elsewhere) = (open().await, open().await);
    let disabled = async |store: &EndpointStore, client: &str, number| {
        let answer = store.is_disabled(client, &hook(number)).await;
        answer.expect("MongoDB answers")
    };
    assert!(!disabled(&store, "acme", 1).await);
    let job = JobId::new();
    store.disable("acme", &hook(1), job).await.expect("disabled");
    store
        .disable("acme", &hook(1), JobId::new())
        .await
        .expect("once more");
    assert!(disabled(&store, "acme", 1).await, "at once in this process");
    assert!(disabled(&elsewhere, "acme", 1).await);
    assert!(
        !disabled(&store, "acme", 2).await,
        "another query, another address"
    );
    assert!(!disabled(&store, "other", 1).await);

    let listed = store.list("acme", None, 10).await.expect("MongoDB answers");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, EndpointId::of("acme", &hook(1)));
    assert_eq!(listed[0].job_id, job, "the first one");
    assert_eq!(listed[0].url, "https://acme.example/hook", "without the key");

    let id = &listed[0].id;
    assert!(
        !store.enable("other", id).await.expect("MongoDB answers"),
        "not theirs"
    );
    assert!(store.enable("acme", id).await.expect("MongoDB answers"));
    assert!(!store.enable("acme", id).await.expect("MongoDB answers"));
    assert!(!disabled(&store, "acme", 1).await);
    database.drop().await.expect("dropped");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_client_with_more_disabled_addresses_than_are_remembered_is_answered_all_the_same() {
    let database = database::create().await;
    let store = EndpointStore::open(&database).await.expect("the store opens");
    store
        .disable("acme", &hook(0), JobId::new())
        .await
        .expect("disabled");
    let endpoints = database.collection::<bson::Document>("callback_endpoints");
    let template = endpoints.find_one(bson::doc! {}).await.expect("MongoDB answers");
    let template = template.expect("one is there");
    let copies = (1..1_100).map(|number| {
        let mut copy = template.clone();
        copy.insert("_id", EndpointId::of("acme", &hook(number)).to_string());
        copy
    });
    endpoints.insert_many(copies).await.expect("stored");
    let elsewhere = EndpointStore::open(&database).await.expect("the store opens");
    for (number, disabled) in [(0, true), (1_099, true), (1_100, false)] {
        let answer = elsewhere.is_disabled("acme", &hook(number)).await;
        assert_eq!(answer.expect("MongoDB answers"), disabled, "{number}");
    }
    let (mut seen, mut after) = (0, None);
    loop {
        let page = store
            .list("acme", after.as_ref(), 300)
            .await
            .expect("MongoDB answers");
        seen += page.len();
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
    }
    assert_eq!(seen, 1_100);
    database.drop().await.expect("dropped");
}
