//! Queues and publishing, with a real RabbitMQ. The queues may hold other messages; a test looks for its own.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flickrhub_job::config::{Config, RabbitConfig};
use flickrhub_job::connection::rabbitmq::Rabbit;
use flickrhub_job::envelope::Envelope;
use flickrhub_job::model::{JobId, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::topology::{DELIVERY_LIMIT, Publisher, REASON_HEADER, TRACEPARENT_HEADER, ensure};
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicRejectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;

fn config() -> RabbitConfig {
    let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
    Config::load(&path).unwrap().rabbitmq
}

fn envelope() -> Envelope {
    Envelope {
        job_id: JobId::new(),
        attempt: 1,
        user_id: "12345678@N00".to_owned(),
        trace: TraceContext::new(),
    }
}

/// The next delivery of the envelope's message, which stays unacknowledged; messages of others stay too and come back
/// when the channel is closed.
async fn get(channel: &lapin::Channel, queue: &str, envelope: &Envelope) -> BasicGetMessage {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        match channel
            .basic_get(queue.into(), BasicGetOptions::default())
            .await
            .unwrap()
        {
            Some(message) if Envelope::decode(&message.data).ok().as_ref() == Some(envelope) => {
                return message;
            }
            Some(_) => {}
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("the message did not come in 20 s");
}

async fn connect() -> (Rabbit, Publisher) {
    let config = config();
    let rabbit = Rabbit::connect(&config).await.unwrap();
    let publisher = Publisher::new(rabbit.clone(), config.quorum_group_size)
        .await
        .unwrap();
    (rabbit, publisher)
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_published_job_is_in_its_queue_with_its_trace() {
    let (rabbit, publisher) = connect().await;
    let envelope = envelope();
    publisher.publish(Queue::Replace, &envelope).await.unwrap();
    let channel = rabbit.channel().await.unwrap();
    let message = get(&channel, Queue::Replace.name(), &envelope).await;
    let properties = &message.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    assert_eq!(
        properties.message_id().as_ref().unwrap().as_str(),
        envelope.job_id.to_string()
    );
    let headers = properties.headers().as_ref().unwrap();
    assert!(headers.inner().contains_key(TRACEPARENT_HEADER));
    message.ack(BasicAckOptions::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_message_that_nobody_can_handle_ends_in_the_dead_letter_queue() {
    let (rabbit, publisher) = connect().await;
    let envelope = envelope();
    publisher.publish(Queue::Upload, &envelope).await.unwrap();
    let channel = rabbit.channel().await.unwrap();
    for _ in 0..=DELIVERY_LIMIT {
        let message = get(&channel, Queue::Upload.name(), &envelope).await;
        message
            .reject(BasicRejectOptions { requeue: true })
            .await
            .unwrap();
    }
    let message = get(&channel, Queue::Upload.dead_letter_name(), &envelope).await;
    message.ack(BasicAckOptions::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_message_that_is_given_back_unread_comes_as_often_as_it_takes() {
    let (rabbit, publisher) = connect().await;
    let envelope = envelope();
    publisher.publish(Queue::Upload, &envelope).await.unwrap();
    let channel = rabbit.channel().await.unwrap();
    for _ in 0..2 * DELIVERY_LIMIT {
        let message = get(&channel, Queue::Upload.name(), &envelope).await;
        let given_back = BasicNackOptions {
            requeue: true,
            ..BasicNackOptions::default()
        };
        message.nack(given_back).await.unwrap();
    }
    let message = get(&channel, Queue::Upload.name(), &envelope).await;
    message.ack(BasicAckOptions::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_was_given_up_is_a_dead_letter_with_the_reason() {
    let (rabbit, publisher) = connect().await;
    let envelope = envelope();
    publisher
        .dead_letter(Queue::Rest, &envelope, "the last attempt failed")
        .await
        .unwrap();
    let channel = rabbit.channel().await.unwrap();
    let message = get(&channel, Queue::Rest.dead_letter_name(), &envelope).await;
    assert!(
        message
            .properties
            .headers()
            .as_ref()
            .unwrap()
            .inner()
            .contains_key(REASON_HEADER)
    );
    message.ack(BasicAckOptions::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn many_jobs_are_published_at_once() {
    let (rabbit, publisher) = connect().await;
    let envelopes: Vec<_> = (0..200).map(|_| envelope()).collect();
    let published = envelopes
        .iter()
        .map(|envelope| publisher.publish(Queue::Replace, envelope));
    for outcome in futures::future::join_all(published).await {
        outcome.unwrap();
    }
    let channel = rabbit.channel().await.unwrap();
    let mut left: BTreeSet<_> = envelopes.iter().map(|envelope| envelope.job_id).collect();
    while !left.is_empty() {
        let name = Queue::Replace.name().into();
        let message = channel.basic_get(name, BasicGetOptions::default()).await.unwrap();
        let Some(message) = message else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Ok(envelope) = Envelope::decode(&message.data)
            && left.remove(&envelope.job_id)
        {
            message.ack(BasicAckOptions::default()).await.unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_queue_that_is_gone_is_declared_again() {
    let (rabbit, publisher) = connect().await;
    let channel = rabbit.channel().await.unwrap();
    let name = Queue::Replace.dead_letter_name();
    channel
        .queue_delete(name.into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let envelope = envelope();
    publisher
        .dead_letter(Queue::Replace, &envelope, "a test")
        .await
        .unwrap();
    let message = get(&channel, name, &envelope).await;
    message.ack(BasicAckOptions::default()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn queues_that_exist_are_left_as_they_are() {
    let config = config();
    let rabbit = Rabbit::connect(&config).await.unwrap();
    ensure(&rabbit, config.quorum_group_size).await.unwrap();
    ensure(&rabbit, config.quorum_group_size + 2).await.unwrap();
    rabbit.ping().await.unwrap();
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_queue_with_other_arguments_does_not_keep_the_others_from_being_declared() {
    let config = config();
    let rabbit = Rabbit::connect(&config).await.unwrap();
    ensure(&rabbit, config.quorum_group_size).await.unwrap();
    let channel = rabbit.channel().await.unwrap();
    let (other, missing) = (Queue::Rest.dead_letter_name(), Queue::Replace.dead_letter_name());
    for name in [other, missing] {
        let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    }
    let options = QueueDeclareOptions::durable();
    let declared = channel.queue_declare(other.into(), options, FieldTable::default());
    declared.await.unwrap();

    ensure(&rabbit, config.quorum_group_size).await.unwrap();
    let found = channel.basic_get(missing.into(), BasicGetOptions::default());
    assert!(found.await.unwrap().is_none());

    let deleted = channel.queue_delete(other.into(), QueueDeleteOptions::default());
    deleted.await.unwrap();
    ensure(&rabbit, config.quorum_group_size).await.unwrap();
}
