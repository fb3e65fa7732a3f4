//! The quorum queues in RabbitMQ, declared the same way by whoever comes first.
//!
//! Each queue has a dead-letter queue. A message gets there when the broker gives it up (it was handed out
//! [`DELIVERY_LIMIT`] times and never acknowledged: a poison message), or when a worker gives up its job
//! ([`Publisher::dead_letter`]). Dead-lettering is at-least-once: the message leaves its queue only when the
//! dead-letter queue has confirmed it. That needs `reject-publish` as the overflow behaviour.
//!
//! A dead-letter queue holds the last [`MAX_DEAD_LETTERS`] letters, in at most [`MAX_DEAD_LETTER_BYTES`]: nobody has to
//! read them, and they must not fill the disks of the cluster. The oldest go first. Nothing is lost with a letter: the job
//! is in MongoDB, where it can be listed, inspected and replayed for as long as it is kept.
//!
//! A queue that exists keeps the arguments that it was declared with, so only a new dead-letter queue has these bounds.
//!
//! Only arguments that RabbitMQ 4.0 knows are used.

mod publisher;

use std::future::Future;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind};
use tokio::time::timeout;

pub use publisher::{PublishError, Publisher, REASON_HEADER, TRACE_ID_HEADER, TRACEPARENT_HEADER};

use crate::connection::ConnectError;
use crate::connection::rabbitmq::{Rabbit, SERVICE};
use crate::queue::Queue;

/// How often a message comes back before it is dead-lettered: it is delivered once more than this.
///
/// What counts is a `basic.reject` with `requeue`, and a channel that is lost with the message. A `basic.nack` does not:
/// to RabbitMQ 4.3 and later it says that the message was not looked at.
pub const DELIVERY_LIMIT: i32 = 5;
/// Most letters in a dead-letter queue.
pub const MAX_DEAD_LETTERS: i64 = 10_000;
/// Most bytes of the letters in a dead-letter queue. Ours have some hundreds; this is for what others send, which is a
/// dead letter too.
pub const MAX_DEAD_LETTER_BYTES: i64 = 64 * 1024 * 1024;
/// How long it may take to look at the queues, or to declare them.
const ENSURE_TIMEOUT: Duration = Duration::from_secs(10);
/// No limit: a dead letter stays however often somebody looks at it.
const UNLIMITED: i32 = -1;
/// The reply code with which the broker closes a channel that names a queue that does not exist (`NOT_FOUND`, AMQP
/// 0-9-1 section 1.2).
const NOT_FOUND: u16 = 404;

/// Every queue with its arguments; its dead-letter queue before it, so that no message is dead-lettered into nothing.
fn definitions(group_size: u32) -> impl Iterator<Item = (&'static str, FieldTable)> {
    Queue::ALL.into_iter().flat_map(move |queue| {
        [
            (queue.dead_letter_name(), dead_letter_arguments(group_size)),
            (queue.name(), queue_arguments(queue, group_size)),
        ]
    })
}

/// Declares the queues that do not exist, on connections of `rabbit`.
///
/// # Errors
/// As [`declare_missing`], and when the broker does not answer in time.
pub async fn ensure(rabbit: &Rabbit, group_size: u32) -> Result<(), ConnectError> {
    timeout(ENSURE_TIMEOUT, declare_missing(|| rabbit.channel(), group_size))
        .await
        .map_err(|_| ConnectError::Timeout(SERVICE))?
}

/// Declares the queues that do not exist, on channels that `open` opens; `group_size` members each, where there are as
/// many nodes.
///
/// Queues that exist are left as they are: members may have been added to them since, and their arguments cannot be
/// changed by a declaration anyway.
///
/// # Errors
/// When the connection is lost, or `open` fails.
pub async fn declare_missing<E, C>(open: impl Fn() -> C, group_size: u32) -> Result<(), E>
where
    E: From<lapin::Error>,
    C: Future<Output = Result<Channel, E>>,
{
    let mut channel = open().await?;
    for (name, arguments) in definitions(group_size) {
        if !exists(&channel, name).await? {
            // The broker closed the channel that asked for a queue which is missing.
            channel = open().await?;
            channel
                .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
                .await?;
        }
    }
    Ok(())
}

async fn exists(channel: &Channel, name: &str) -> Result<bool, lapin::Error> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::durable()
    };
    match channel
        .queue_declare(name.into(), passive, FieldTable::default())
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND)
}

fn queue_arguments(queue: Queue, group_size: u32) -> FieldTable {
    let mut arguments = quorum(group_size, DELIVERY_LIMIT);
    for (name, value) in [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", queue.dead_letter_name()),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-overflow", "reject-publish"),
    ] {
        arguments.insert(name.into(), text(value));
    }
    arguments
}

fn dead_letter_arguments(group_size: u32) -> FieldTable {
    let mut arguments = quorum(group_size, UNLIMITED);
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_DEAD_LETTERS));
    arguments.insert(
        "x-max-length-bytes".into(),
        AMQPValue::LongLongInt(MAX_DEAD_LETTER_BYTES),
    );
    arguments.insert("x-overflow".into(), text("drop-head"));
    arguments
}

fn quorum(group_size: u32, delivery_limit: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert(
        "x-quorum-initial-group-size".into(),
        AMQPValue::LongLongInt(group_size.into()),
    );
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_its_poison_messages_to_its_own_dead_letter_queue_and_loses_none() {
        for queue in Queue::ALL {
            let arguments = queue_arguments(queue, 3);
            let argument = |name: &str| arguments.inner().get(name).cloned();
            assert_eq!(argument("x-queue-type"), Some(text("quorum")));
            assert_eq!(argument("x-dead-letter-exchange"), Some(text("")));
            assert_eq!(
                argument("x-dead-letter-routing-key"),
                Some(text(queue.dead_letter_name()))
            );
            assert_eq!(argument("x-dead-letter-strategy"), Some(text("at-least-once")));
            assert_eq!(argument("x-overflow"), Some(text("reject-publish")));
            assert_eq!(
                argument("x-delivery-limit"),
                Some(AMQPValue::LongInt(DELIVERY_LIMIT))
            );
            assert_eq!(
                argument("x-quorum-initial-group-size"),
                Some(AMQPValue::LongLongInt(3))
            );
        }
    }

    #[test]
    fn a_dead_letter_queue_is_there_before_the_queue_that_needs_it() {
        let names: Vec<_> = definitions(3).map(|(name, _)| name).collect();
        let expected = Queue::ALL.map(|queue| [queue.dead_letter_name(), queue.name()]);
        assert_eq!(names, expected.as_flattened());
    }

    #[test]
    fn a_dead_letter_stays_however_often_it_is_read() {
        let arguments = dead_letter_arguments(3);
        assert_eq!(
            arguments.inner().get("x-delivery-limit"),
            Some(&AMQPValue::LongInt(-1))
        );
        assert_eq!(arguments.inner().get("x-queue-type"), Some(&text("quorum")));
    }

    #[test]
    fn dead_letters_do_not_fill_the_cluster() {
        let arguments = dead_letter_arguments(3);
        let argument = |name: &str| arguments.inner().get(name).cloned();
        assert_eq!(
            argument("x-max-length"),
            Some(AMQPValue::LongLongInt(MAX_DEAD_LETTERS))
        );
        assert_eq!(
            argument("x-max-length-bytes"),
            Some(AMQPValue::LongLongInt(MAX_DEAD_LETTER_BYTES))
        );
        assert_eq!(argument("x-overflow"), Some(text("drop-head")));
    }
}
