//! What the user of the processes may do in a real MongoDB: everything that the processes do, and of the audit log no more
//! than to read it and to add to it. `FLICKRHUB_TEST_MONGOD` is the path of `mongod`.

use std::collections::BTreeMap;

use flickrhub_job::audit::{AuditEntry, AuditEvent, Chain};
use flickrhub_job::callback::TryOutcome;
use flickrhub_job::config::Login;
use flickrhub_job::model::{Job, JobId, NewJob, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{
    AuditFilter, AuditIndexes, AuditStore, BodyStore, Client, ClientStore, Delivery, DeliveryFilter,
    DeliveryId, DeliveryStore, EndpointStore, Holder, JobStore, NewToken, OauthRequest, OauthRequestStore,
    UserStore, time,
};
use flickrhub_operator::engine::mongodb::{Desired, Members, Rights, reconcile_desired};
use flickrhub_operator::names::{MONGODB_ADMIN, MONGODB_ROLE};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use secrecy::SecretString;

use crate::database::{KEY, database, desired, of_login, start_member, write_key};
use crate::servers::{Folder, Server, free_ports, until_ready};

/// `Unauthorized`.
const UNAUTHORIZED: i32 = 13;

async fn is_refused(database: &Database, command: &Document) -> bool {
    match database.run_command(command.clone()).await {
        Ok(_) => false,
        Err(error) => match error.kind.as_ref() {
            ErrorKind::Command(refusal) => refusal.code == UNAUTHORIZED,
            other => panic!("{command} has another outcome: {other}"),
        },
    }
}

/// A chain of three entries.
async fn written(log: &AuditStore) {
    let mut chain = Chain::new();
    let entries: Vec<_> = [
        AuditEvent::ChainStarted,
        AuditEvent::ApiCall,
        AuditEvent::ChainEnded,
    ]
    .into_iter()
    .map(|event| chain.seal(AuditEntry::of_log(event, time::now(), None)))
    .collect();
    log.append(&entries).await.expect("entries are added");
}

async fn entries(log: &AuditStore) -> u64 {
    let report = log.verify(Timestamp::now()).await.expect("the log is read");
    assert!(report.faults.is_empty(), "{report:?}");
    report.entries
}

fn delete_all() -> Document {
    doc! { "delete": "audit", "deletes": [{ "q": {}, "limit": 0 }] }
}

fn job() -> Job {
    let now = time::now();
    let new = NewJob {
        client_id: "acme".to_owned(),
        user_id: "12037949754@N01".to_owned(),
        app: "main".to_owned(),
        queue: Queue::Rest,
        method: "flickr.photos.search".to_owned(),
        params: BTreeMap::new(),
        trace: TraceContext {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        },
    };
    new.accepted(now, now + SignedDuration::from_hours(1))
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn the_processes_can_read_the_audit_log_and_add_to_it_and_nothing_else() {
    let folder = Folder::new("audit-log");
    let (_mongod, database) = database(&folder).await;
    let indexes = AuditIndexes::read(&database).await.expect("indexes are listed");
    assert!(indexes.are_as_wanted(), "before anybody writes: {indexes:?}");
    let log = AuditStore::open(&database).await.expect("the log opens");
    written(&log).await;
    assert_eq!(entries(&log).await, 3);
    let listed = log.list(&AuditFilter::default(), 10).await.expect("it is read");
    assert_eq!(listed.entries.len(), 3);
    let exported = log.export(&AuditFilter::default()).await.expect("it is read");
    let exported: Vec<_> = exported.try_collect().await.expect("it is read");
    assert_eq!(exported, listed.entries);
    assert_eq!(log.heads(Timestamp::now()).await.expect("it is read").len(), 1);
    // There is something to rename and to read from.
    let jobs = JobStore::open(&database, 30).await.expect("the store opens");
    jobs.insert(&job()).await.expect("stored");

    let into = |stage: Document| doc! { "aggregate": "jobs", "pipeline": [stage], "cursor": {} };
    let forever_ago = doc! { "key": { "at": -1 }, "name": "now", "expireAfterSeconds": 0 };
    let refused = [
        delete_all(),
        doc! { "update": "audit", "updates": [{ "q": {}, "u": { "$set": { "status": 200 } }, "multi": true }] },
        doc! { "update": "audit", "updates": [{ "q": { "_id": "x" }, "u": { "chain": "x" }, "upsert": true }] },
        doc! { "findAndModify": "audit", "query": {}, "remove": true },
        doc! { "findAndModify": "audit", "query": {}, "update": { "$set": { "status": 200 } } },
        doc! { "drop": "audit" },
        doc! { "dropDatabase": 1 },
        doc! { "createIndexes": "audit", "indexes": [forever_ago] },
        doc! { "dropIndexes": "audit", "index": "purge" },
        doc! { "collMod": "audit", "index": { "name": "purge", "expireAfterSeconds": 1 } },
        doc! { "convertToCapped": "audit", "size": 4096 },
        into(doc! { "$out": "audit" }),
        into(doc! { "$merge": { "into": "audit" } }),
        doc! { "insert": "another", "documents": [{ "_id": 1 }] },
        doc! { "create": "another" },
        doc! { "updateRole": MONGODB_ROLE, "privileges": [] },
    ];
    for command in refused {
        assert!(is_refused(&database, &command).await, "{command}");
    }
    let name = database.name();
    let own = doc! { "role": "readWrite", "db": name };
    let refused = [
        doc! { "renameCollection": format!("{name}.audit"), "to": format!("{name}.another") },
        doc! { "renameCollection": format!("{name}.jobs"), "to": format!("{name}.audit"), "dropTarget": true },
        doc! { "grantRolesToUser": "flickrhub", "roles": [own.clone()] },
        doc! { "createUser": "another", "pwd": "x", "roles": [own] },
        doc! { "applyOps": [{ "op": "d", "ns": format!("{name}.audit"), "o": { "_id": "x" } }] },
    ];
    let admin = database.client().database("admin");
    for command in refused {
        assert!(is_refused(&admin, &command).await, "{command}");
    }
    assert_eq!(entries(&log).await, 3);
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn the_processes_can_do_all_of_their_work_in_the_other_collections() {
    let folder = Folder::new("audit-others");
    let (_mongod, database) = database(&folder).await;
    // Twice: indexes are created where there are none, and found where there are.
    for _ in 0..2 {
        let jobs = JobStore::open(&database, 30).await.expect("the store opens");
        let job = job();
        jobs.insert(&job).await.expect("stored");
        let lease = SignedDuration::from_secs(60);
        let dispatched = jobs.dispatch(job.id, Holder::new(), lease).await;
        assert!(dispatched.expect("MongoDB answers").is_some());
        let claimed = jobs.claim(job.id, 1, Holder::new(), lease).await;
        assert!(claimed.expect("MongoDB answers").is_some());
        // In a session of one moment.
        jobs.claims(lease).await.expect("the claims are read");

        let bodies = BodyStore::new(&database);
        let mut writer = bodies.create("a.jpg", "image/jpeg").await.expect("begun");
        writer.write("photo".into()).await.expect("written");
        let body = writer.finish().await.expect("finished");
        let pieces: Vec<_> = bodies.open(&body).try_collect().await.expect("read");
        assert_eq!(pieces.concat(), b"photo");
        let in_a_day = time::now() + SignedDuration::from_hours(24);
        let deleted = bodies.delete_orphans(&jobs, in_a_day).await;
        assert_eq!(deleted.expect("deleted"), 1);

        let users = UserStore::open(&database).await.expect("the store opens");
        let token = NewToken {
            user_id: "1@N01".to_owned(),
            username: "ada".to_owned(),
            full_name: String::new(),
            app: "main".to_owned(),
            permission: "read".to_owned(),
            token: "vault:v1:a".to_owned(),
            token_secret: "vault:v1:b".to_owned(),
        };
        users.upsert_token(&token, "acme").await.expect("stored");
        assert!(users.remove_token("1@N01", "acme").await.expect("removed"));

        let clients = ClientStore::open(&database).await.expect("the store opens");
        let client = Client {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
            keys: Vec::new(),
            webhook_secret: "vault:v1:d".to_owned(),
            scopes: vec!["jobs:read".to_owned()],
            created_at: time::now(),
        };
        clients.upsert(&client).await.expect("stored");

        let requests = OauthRequestStore::open(&database).await.expect("the store opens");
        let request = OauthRequest {
            token: "token".to_owned(),
            secret: "vault:v1:c".to_owned(),
            client_id: "acme".to_owned(),
            app: "main".to_owned(),
            permission: "read".to_owned(),
            return_url: None,
            created_at: time::now(),
        };
        requests.insert(&request).await.expect("stored");
        assert!(requests.take("token").await.expect("taken").is_some());

        let endpoints = EndpointStore::open(&database).await.expect("the store opens");
        let address = "https://acme.example/hook".parse().expect("an address");
        endpoints
            .disable("acme", &address, job.id)
            .await
            .expect("disabled");
        assert!(endpoints.is_disabled("acme", &address).await.expect("read"));

        let deliveries = DeliveryStore::open(&database, 30).await.expect("the log opens");
        let delivery = Delivery {
            id: DeliveryId::new(),
            client_id: "acme".to_owned(),
            job_id: JobId::new(),
            url: "https://acme.example/hook".to_owned(),
            attempt: 1,
            at: time::now(),
            duration_ms: 12,
            outcome: TryOutcome::Delivered,
            status: Some(200),
            next_at: None,
        };
        deliveries.append(&delivery).await.expect("appended");
        let own = DeliveryFilter {
            client_id: "acme".to_owned(),
            job_id: None,
            outcome: None,
            before: None,
            limit: 10,
        };
        deliveries.list(&own).await.expect("read");
    }
}

async fn hub_of_before(folder: &Folder) -> (Server, Desired) {
    let [port] = free_ports();
    write_key(folder, KEY);
    let server = start_member(folder, "mongod", port);
    let before = Desired {
        rights: Rights::AsBefore,
        ..desired(&[port])
    };
    until_ready(async || reconcile_desired(&before).await).await;
    (server, before)
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn a_hub_of_before_gets_the_role_without_a_loss_and_keeps_it() {
    let folder = Folder::new("audit-upgrade");
    let (_mongod, before) = hub_of_before(&folder).await;
    let running = of_login(&before, &before.app);
    let log = AuditStore::open(&running).await.expect("the log opens");
    written(&log).await;
    // Whoever could do everything may have left something by which entries go.
    let planted = doc! { "key": { "at": -1 }, "name": "planted", "expireAfterSeconds": 100_000_000 };
    let plant = doc! { "createIndexes": "audit", "indexes": [planted] };
    running.run_command(plant).await.expect("it may");
    let change = doc! { "collMod": "audit", "index": { "name": "purge", "expireAfterSeconds": 200_000_000 } };
    running.run_command(change).await.expect("it may");
    assert!(
        !is_refused(
            &running,
            &doc! { "delete": "audit", "deletes": [{ "q": { "_id": "x" }, "limit": 1 }] }
        )
        .await
    );

    let now = Desired {
        rights: Rights::OwnRole,
        ..before.clone()
    };
    let status = until_ready(async || reconcile_desired(&now).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);
    // The process that runs has the same connections, and no need for new ones.
    assert!(is_refused(&running, &delete_all()).await);
    written(&log).await;
    assert_eq!(entries(&log).await, 6);
    let indexes = AuditIndexes::read(&running).await.expect("indexes are listed");
    assert!(indexes.are_as_wanted(), "{indexes:?}");

    // Pods of before show up again, as after a template was edited: who has the role keeps it.
    until_ready(async || reconcile_desired(&before).await).await;
    assert!(is_refused(&running, &delete_all()).await);
    assert_eq!(entries(&log).await, 6);
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn a_role_that_somebody_changed_is_put_right_and_a_successor_of_the_user_has_it() {
    let folder = Folder::new("audit-role");
    let [port] = free_ports();
    write_key(&folder, KEY);
    let _mongod = start_member(&folder, "mongod", port);
    let desired = desired(&[port]);
    until_ready(async || reconcile_desired(&desired).await).await;
    let process = of_login(&desired, &desired.app);
    assert!(is_refused(&process, &delete_all()).await);

    let administrator = Login {
        username: MONGODB_ADMIN.to_owned(),
        password: desired.admin_password.clone(),
    };
    let administrator = of_login(&desired, &administrator);
    let more = doc! { "role": "readWrite", "db": &desired.database };
    let change = doc! { "grantRolesToRole": MONGODB_ROLE, "roles": [more] };
    administrator
        .run_command(change)
        .await
        .expect("the administrator may");
    assert!(!is_refused(&process, &delete_all()).await);
    until_ready(async || reconcile_desired(&desired).await).await;
    assert!(is_refused(&process, &delete_all()).await);

    let next = Login {
        username: "flickrhub-next".to_owned(),
        password: SecretString::from("another"),
    };
    Members::new(&desired).admit(&next).await.expect("a user is made");
    let next = of_login(&desired, &next);
    let log = AuditStore::open(&next).await.expect("the log opens");
    written(&log).await;
    assert_eq!(entries(&log).await, 3);
    assert!(is_refused(&next, &delete_all()).await);
}
