//! Publishing that returns only when a majority of the queue's members has the message on disk.
//!
//! A node that hangs keeps its connections open and confirms nothing. So when a confirmation is slow, one of those who wait
//! asks the node for a sign of life; without one, every message on that connection is published again through another
//! node.
//!
//! A message can arrive twice: when the confirmation is lost with the connection, it is published again. A claim is
//! guarded by the attempt, so the second one does nothing. If the process dies before the confirmation, the job's
//! lease runs out and it is dispatched again with the next attempt.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ensure;
use crate::connection::ConnectError;
use crate::connection::rabbitmq::Rabbit;
use crate::envelope::{Envelope, InvalidEnvelope};
use crate::queue::Queue;

/// Message header: the W3C `traceparent` of the job.
pub const TRACEPARENT_HEADER: &str = "traceparent";
/// Message header: the trace id of the job, 32 hexadecimal digits.
pub const TRACE_ID_HEADER: &str = "x-trace-id";
/// Message header of a dead letter: why the job was given up.
pub const REASON_HEADER: &str = "x-flickrhub-reason";

/// The delivery mode of a message that is kept on disk (AMQP 0-9-1, `basic` class).
const PERSISTENT: u8 = 2;
/// How long one confirmation may take from a node that answers.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long without a confirmation the node is asked for a sign of life.
const SLOW: Duration = Duration::from_secs(2);
/// How long opening the channel may take, with a new connection.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long publishing goes on being tried; a try that is under way is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause before the second try, after which another node often takes the message at once; it doubles with
/// each one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The message is not known to be in its queue.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection.
    #[error(transparent)]
    Connection(#[from] ConnectError),
    /// The connection was lost before the broker confirmed; the message may be in the queue.
    #[error("RabbitMQ did not confirm the message: {0}")]
    Unconfirmed(#[from] lapin::Error),
    /// The broker did not confirm in time; the message may be in the queue.
    #[error("RabbitMQ did not confirm the message in time")]
    TimedOut,
    /// The broker refused the message: the queue is full, or has no majority. It may be taken later, but not soon.
    #[error("RabbitMQ refused the message for {0}")]
    Refused(&'static str),
    /// The queue does not exist, although it was declared.
    #[error("the queue {0} does not exist in RabbitMQ")]
    NoQueue(&'static str),
    /// The envelope has no JSON form.
    #[error(transparent)]
    Envelope(#[from] InvalidEnvelope),
}

impl PublishError {
    /// Whether the same message may get through at once, over a new channel.
    const fn is_about_the_channel(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Unconfirmed(_) | Self::TimedOut | Self::NoQueue(_) => true,
            Self::Refused(_) | Self::Envelope(_) => false,
        }
    }
}

/// Publishes to the queues; clones share one channel. Any number of messages wait for their confirmation at a time.
#[derive(Clone)]
pub struct Publisher {
    rabbit: Rabbit,
    group_size: u32,
    open: Arc<Mutex<Option<Arc<Open>>>>,
    /// Held by the one who asks the node for a sign of life.
    asking: Arc<Mutex<()>>,
}

/// A channel with confirms.
struct Open {
    channel: Channel,
    /// Its node hangs: nothing more is confirmed.
    hung: CancellationToken,
}

impl Publisher {
    /// Declares the queues and opens a channel with confirms.
    ///
    /// # Errors
    /// When there is no connection, or a queue cannot be declared.
    pub async fn new(rabbit: Rabbit, group_size: u32) -> Result<Self, PublishError> {
        ensure(&rabbit, group_size).await?;
        let publisher = Self {
            rabbit,
            group_size,
            open: Arc::default(),
            asking: Arc::default(),
        };
        publisher.open().await?;
        Ok(publisher)
    }

    /// Publishes a job and waits until the broker confirms it.
    ///
    /// # Errors
    /// When the broker refuses the message, or none confirms it within about 25 s, or 35 s if its queue is missing. The
    /// message may be in the queue nevertheless.
    pub async fn publish(&self, queue: Queue, envelope: &Envelope) -> Result<(), PublishError> {
        self.publish_to(queue.name(), envelope, headers(envelope)).await
    }

    /// Publishes a job that was given up to the dead-letter queue, with the reason as [`REASON_HEADER`].
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn dead_letter(
        &self,
        queue: Queue,
        envelope: &Envelope,
        reason: &str,
    ) -> Result<(), PublishError> {
        let mut headers = headers(envelope);
        headers.insert(REASON_HEADER.into(), AMQPValue::LongString(reason.into()));
        self.publish_to(queue.dead_letter_name(), envelope, headers).await
    }

    async fn publish_to(
        &self,
        name: &'static str,
        envelope: &Envelope,
        headers: FieldTable,
    ) -> Result<(), PublishError> {
        let body = envelope.encode()?;
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(envelope.job_id.to_string().into())
            .with_headers(headers);
        let deadline = Instant::now() + PATIENCE;
        let mut longest = FIRST_PAUSE;
        loop {
            let error = match self.publish_once(name, &body, properties.clone()).await {
                Err(error) if error.is_about_the_channel() => error,
                outcome => return outcome,
            };
            let pause = rand::random_range(Duration::ZERO..=longest);
            longest = (longest * 2).min(LONGEST_PAUSE);
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    async fn publish_once(
        &self,
        name: &'static str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let open = timeout(CHANNEL_TIMEOUT, self.open())
            .await
            .map_err(|_| PublishError::TimedOut)??;
        let outcome = self.confirmed(&open, name, body, properties).await;
        if matches!(outcome, Err(PublishError::NoQueue(_))) {
            // It was deleted, or the cluster is a new one. The next try finds it.
            ensure(&self.rabbit, self.group_size).await?;
        }
        if outcome.as_ref().is_err_and(PublishError::is_about_the_channel) {
            self.give_up(&open).await;
        }
        outcome
    }

    /// The channel, or a new one, which one task opens for all.
    async fn open(&self) -> Result<Arc<Open>, PublishError> {
        let mut slot = self.open.lock().await;
        if let Some(open) = slot.as_ref().filter(|open| open.channel.status().connected()) {
            return Ok(Arc::clone(open));
        }
        let channel = self.rabbit.channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(ConnectError::from)?;
        let open = Arc::new(Open {
            channel,
            hung: CancellationToken::new(),
        });
        *slot = Some(Arc::clone(&open));
        Ok(open)
    }

    async fn give_up(&self, failed: &Arc<Open>) {
        let mut slot = self.open.lock().await;
        if slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, failed)) {
            *slot = None;
        }
    }

    async fn confirmed(
        &self,
        open: &Open,
        name: &'static str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirmation = async {
            let confirm = open
                .channel
                .basic_publish("".into(), name.into(), mandatory, body, properties)
                .await?;
            confirm.await
        };
        tokio::select! {
            outcome = timeout(CONFIRM_TIMEOUT, confirmation) => match outcome {
                Err(_) => Err(PublishError::TimedOut),
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(confirmation)) => verdict(name, &confirmation),
            },
            () = self.hangs(open) => Err(PublishError::TimedOut),
        }
    }

    /// Returns when the node of this channel hangs.
    async fn hangs(&self, open: &Open) {
        sleep(SLOW).await;
        if let Ok(_asking) = self.asking.try_lock() {
            while !open.hung.is_cancelled() {
                if self.rabbit.answers().await {
                    sleep(SLOW).await;
                } else {
                    open.hung.cancel();
                }
            }
        }
        open.hung.cancelled().await;
    }
}

/// What a confirmation says. A mandatory message that no queue took comes back, and is acknowledged nevertheless.
fn verdict(name: &'static str, confirmation: &Confirmation) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err(PublishError::NoQueue(name)),
        Confirmation::Nack(_) => Err(PublishError::Refused(name)),
        // The channel is not in confirm mode; a new one will be.
        Confirmation::NotRequested => Err(PublishError::TimedOut),
    }
}

fn headers(envelope: &Envelope) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in [
        (TRACEPARENT_HEADER, &envelope.trace.traceparent),
        (TRACE_ID_HEADER, &envelope.trace.trace_id),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobId, TraceContext};

    #[test]
    fn only_an_acknowledged_message_that_a_queue_took_is_published() {
        assert!(verdict("flickr_rest", &Confirmation::Ack(None)).is_ok());
        assert!(matches!(
            verdict("flickr_rest", &Confirmation::Nack(None)),
            Err(PublishError::Refused("flickr_rest"))
        ));
        assert!(verdict("flickr_rest", &Confirmation::NotRequested).is_err());
    }

    #[test]
    fn a_full_queue_is_not_tried_again() {
        assert!(!PublishError::Refused("flickr_rest").is_about_the_channel());
        assert!(PublishError::TimedOut.is_about_the_channel());
    }

    #[test]
    fn a_message_carries_the_trace_of_its_job() {
        let trace = TraceContext::new();
        let envelope = Envelope {
            job_id: JobId::new(),
            attempt: 1,
            user_id: "12345678@N00".to_owned(),
            trace: trace.clone(),
        };
        let headers = headers(&envelope);
        let header = |name: &str| headers.inner().get(name).cloned();
        assert_eq!(
            header(TRACEPARENT_HEADER),
            Some(AMQPValue::LongString(trace.traceparent.as_str().into()))
        );
        assert_eq!(
            header(TRACE_ID_HEADER),
            Some(AMQPValue::LongString(trace.trace_id.as_str().into()))
        );
    }
}
