//! The quorum queues in RabbitMQ, declared the same way by whoever comes first.
//!
//! Each queue has a dead-letter queue. A message gets there when the broker gives it up (it was handed out
//! [`DELIVERY_LIMIT`] times and never acknowledged: a poison message), or when a worker gives up its job
//! ([`Publisher::dead_letter`]). Dead-lettering is at-least-once: the message leaves its queue only when the
//! dead-letter queue has confirmed it. That needs `reject-publish` as the overflow behaviour.
//!
//! Only arguments that RabbitMQ 4.0 knows are used.

mod publisher;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind};

pub use publisher::{PublishError, Publisher, REASON_HEADER, TRACE_ID_HEADER, TRACEPARENT_HEADER};

use crate::connection::ConnectError;
use crate::connection::rabbitmq::Rabbit;
use crate::queue::Queue;

/// How often a message comes back unacknowledged before it is dead-lettered: it is delivered once more than this.
pub const DELIVERY_LIMIT: i32 = 5;
/// No limit: a dead letter stays however often somebody looks at it.
const UNLIMITED: i32 = -1;
/// The reply code with which the broker closes a channel that names a queue that does not exist (`NOT_FOUND`, AMQP
/// 0-9-1 section 1.2).
const NOT_FOUND: u16 = 404;

/// Declares every queue and its dead-letter queue; `group_size` members each, where there are as many nodes.
///
/// # Errors
/// When the connection is lost, or a queue exists with other arguments (`PRECONDITION_FAILED`).
pub async fn declare(channel: &Channel, group_size: u32) -> Result<(), lapin::Error> {
    for queue in Queue::ALL {
        // The dead-letter queue first, so that no message is dead-lettered into nothing.
        for (name, arguments) in [
            (queue.dead_letter_name(), dead_letter_arguments(group_size)),
            (queue.name(), queue_arguments(queue, group_size)),
        ] {
            channel
                .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
                .await?;
        }
    }
    Ok(())
}

/// Declares the queues unless all of them exist.
///
/// Queues that exist are left as they are: members may have been added to them since, and their arguments cannot be
/// changed by a declaration anyway.
///
/// # Errors
/// When there is no connection, or a queue is missing and another exists with other arguments.
pub async fn ensure(rabbit: &Rabbit, group_size: u32) -> Result<(), ConnectError> {
    if all_exist(&rabbit.channel().await?).await? {
        return Ok(());
    }
    // The broker closed the channel that asked for a missing queue.
    declare(&rabbit.channel().await?, group_size).await?;
    Ok(())
}

async fn all_exist(channel: &Channel) -> Result<bool, lapin::Error> {
    let names = Queue::ALL
        .into_iter()
        .flat_map(|queue| [queue.name(), queue.dead_letter_name()]);
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::durable()
    };
    for name in names {
        match channel
            .queue_declare(name.into(), passive, FieldTable::default())
            .await
        {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
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
    quorum(group_size, UNLIMITED)
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
    fn a_dead_letter_stays_however_often_it_is_read() {
        let arguments = dead_letter_arguments(3);
        assert_eq!(
            arguments.inner().get("x-delivery-limit"),
            Some(&AMQPValue::LongInt(-1))
        );
        assert_eq!(arguments.inner().get("x-queue-type"), Some(&text("quorum")));
    }
}
