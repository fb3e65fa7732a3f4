//! The MongoDB step against a real replica set of three members. `FLICKRHUB_TEST_MONGOD` is the path of `mongod`.

use std::time::Duration;

use crate::database::{KEY, desired, start_member, write_key};
use crate::servers::{Folder, free_ports, until_ready};
use flickrhub_job::config::Login;
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::logins::Verdict;
use flickrhub_operator::engine::mongodb::{Desired, Members, reconcile_desired};
use flickrhub_operator::engine::roster::{Members as _, Roster};
use flickrhub_operator::names::MONGODB_ADMIN;
use mongodb::Client;
use mongodb::bson::doc;
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use secrecy::{ExposeSecret as _, SecretString};

/// The connections that were ever made to a member.
async fn connections(desired: &Desired, port: u16) -> i64 {
    let address = ServerAddress::parse(format!("127.0.0.1:{port}")).expect("an address");
    let credential = Credential::builder()
        .username(MONGODB_ADMIN.to_owned())
        .source("admin".to_owned())
        .password(desired.admin_password.expose_secret().to_owned())
        .build();
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .credential(credential)
        .build();
    let client = Client::with_options(options).expect("a client");
    let status = client
        .database("admin")
        .run_command(doc! { "serverStatus": 1 })
        .await
        .expect("a status");
    client.shutdown().immediate(true).await;
    let made = status
        .get_document("connections")
        .expect("connections")
        .get("totalCreated");
    made.and_then(|made| made.as_i64().or_else(|| made.as_i32().map(i64::from)))
        .expect("a number")
}

/// The connections that a look at a replica set at rest takes.
async fn connections_of_a_look(desired: &Desired, ports: &[u16; 3]) -> i64 {
    let count = async || {
        let mut made = 0;
        for port in ports {
            made += connections(desired, *port).await;
        }
        made
    };
    let first = count().await;
    let counting = count().await - first;
    let status = reconcile_desired(desired).await;
    assert!(status.ready, "{}", status.message);
    // Those that count are counted once with the look.
    count().await - first - 2 * counting
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn blank_members_become_a_replica_set_with_its_users_that_survives_the_loss_of_one() {
    let folder = Folder::new("mongodb");
    let key = format!("{KEY}\n");
    write_key(&folder, &key);
    let ports = free_ports::<3>();
    let start = |member: usize| start_member(&folder, &format!("member-{member}"), ports[member]);
    let mut members = [start(0), start(1), start(2)];
    let mut desired = desired(&ports);
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    let each_time = connections_of_a_look(&desired, &ports).await;
    let known = Desired {
        users_are_known: true,
        ..desired.clone()
    };
    let known = connections_of_a_look(&known, &ports).await;
    println!("connections to MongoDB in a look: {each_time}, and {known} while its users are known");
    assert!(known < each_time);

    desired.app.password = SecretString::from("application's new one");
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    desired.standard = Standard::Serving;
    members[0].kill();
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Degraded", "{}", status.message);

    members[0] = start(0);
    desired.standard = Standard::Complete;
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    desired.keyfile = SecretString::from("another");
    let status = reconcile_desired(&desired).await;
    assert_eq!(status.reason, "KeyRefused", "{}", status.message);
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn the_primary_steps_down_when_another_member_can_take_over() {
    let folder = Folder::new("mongodb-steps-down");
    write_key(&folder, KEY);
    let ports = free_ports::<3>();
    let mut members: Vec<_> = (0..3)
        .map(|member| start_member(&folder, &format!("member-{member}"), ports[member]))
        .collect();
    let desired = desired(&ports);
    until_ready(async || reconcile_desired(&desired).await).await;
    let leader = |roster: &Roster| (0..3).find(|&ordinal| roster.leads(ordinal) > 0);

    let roster = desired.roster().await;
    assert!(
        (0..3).all(|ordinal| roster.needed(ordinal).is_none() && roster.serves(ordinal)),
        "{roster:?}"
    );
    let former = leader(&roster).expect("a primary");
    desired.hand_over(former).await.expect("it steps down");
    until_ready(async || reconcile_desired(&desired).await).await;
    let roster = desired.roster().await;
    let primary = leader(&roster).expect("a primary");
    assert_ne!(primary, former);

    members[usize::try_from(former).expect("small")].kill();
    // A primary counts on a member for some seconds after it is gone.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let roster = desired.roster().await;
    assert_eq!(roster.needed(former), None, "{roster:?}");
    assert!(roster.needed(primary).is_some(), "{roster:?}");
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn members_join_a_running_replica_set_leave_it_and_join_again() {
    let folder = Folder::new("mongodb-scales");
    write_key(&folder, KEY);
    let ports = free_ports::<5>();
    let _members: Vec<_> = (0..5)
        .map(|member| start_member(&folder, &format!("member-{member}"), ports[member]))
        .collect();
    let mut desired = desired(&ports);
    for kept in [3, 5, 3, 5] {
        desired.kept = kept;
        let mut hand_overs = 0;
        let last = u32::try_from(kept).expect("small");
        loop {
            let status = until_ready(async || reconcile_desired(&desired).await).await;
            desired.standard = Standard::Serving;
            let roster = desired.roster().await;
            if let Some(leaving) = (last..5).find(|&ordinal| roster.leads(ordinal) > 0) {
                desired.hand_over(leaving).await.expect("it steps down");
                hand_overs += 1;
                assert!(hand_overs < 5, "the primary stays on a member that is to go");
            }
            let is_member = |ordinal: u32| roster.is_member(ordinal) && roster.serves(ordinal);
            if (0..5).all(|ordinal| is_member(ordinal) == (ordinal < last)) && status.reason == "Ready" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        desired.standard = Standard::Complete;
    }
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn the_user_of_the_application_is_replaced_while_both_hold_for_a_while() {
    let folder = Folder::new("mongodb-logins");
    write_key(&folder, KEY);
    let ports = free_ports::<3>();
    let _members: Vec<_> = (0..3)
        .map(|member| start_member(&folder, &format!("member-{member}"), ports[member]))
        .collect();
    let mut desired = desired(&ports);
    until_ready(async || reconcile_desired(&desired).await).await;
    let old = desired.app.clone();
    let new = Login {
        username: "flickrhub-next".to_owned(),
        password: SecretString::from("another"),
    };
    let until = async |desired: &Desired, login: &Login, wanted: Verdict| {
        for _ in 0..50 {
            let answers = Members::new(desired).try_login(login).await;
            assert_eq!(answers.len(), 3);
            if answers.iter().all(|answer| answer.verdict == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} is not {wanted:?} everywhere", login.username);
    };
    until(&desired, &new, Verdict::Refused).await;
    // Told twice, as after a crash.
    for _ in 0..2 {
        Members::new(&desired).admit(&new).await.expect("a user is made");
    }
    until(&desired, &new, Verdict::Accepted).await;
    until(&desired, &old, Verdict::Accepted).await;
    // The one in use is never dropped.
    Members::new(&desired).expel(&old).await.expect("nothing is done");
    until(&desired, &old, Verdict::Accepted).await;

    let admin = Login {
        username: "admin".to_owned(),
        password: desired.admin_password.clone(),
    };
    desired.app = new.clone();
    desired.admin_password = SecretString::from("admin's next one");
    let status = until_ready(async || reconcile_desired(&desired).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);
    until(&desired, &admin, Verdict::Refused).await;
    until(&desired, &old, Verdict::Accepted).await;
    for _ in 0..2 {
        Members::new(&desired)
            .expel(&old)
            .await
            .expect("the user is dropped");
    }
    until(&desired, &old, Verdict::Refused).await;
    until(&desired, &new, Verdict::Accepted).await;
}
