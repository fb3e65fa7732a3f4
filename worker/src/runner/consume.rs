//! Takes messages from the queue, never more at a time than the queue's concurrency, and answers for each.

use std::sync::Arc;
use std::time::Duration;

use flickrhub_job::connection::ConnectError;
use flickrhub_job::connection::rabbitmq::Rabbit;
use flickrhub_job::envelope::Envelope;
use flickrhub_job::fail_point;
use flickrhub_job::topology;
use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::Runner;
use crate::backoff::DATA_TIER;
use crate::panics::{Panicked, caught};
use crate::shutdown::{BEGIN_LIMIT, pause, run_limit, unless_stopped};

/// What the broker is told about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Its work is done, or somebody else's.
    Acknowledge,
    /// The job is dead, or the message is none: the broker moves it to the dead-letter queue.
    DeadLetter,
    /// This worker stops before it could do the work: the message comes again, and nothing is held against it.
    GiveBack,
    /// The work failed by a bug: the message comes again, but not more often than
    /// [`DELIVERY_LIMIT`](topology::DELIVERY_LIMIT).
    Broken,
}

/// How long cancelling the consumer, giving back what could not be begun and closing the channel may take, each.
const GOOD_BYE: Duration = Duration::from_secs(3);

/// Consumes until the process is asked to stop, then finishes what it holds.
pub(super) async fn consume(runner: Arc<Runner>, rabbit: Rabbit, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(runner.concurrency()));
    let held = TaskTracker::new();
    let mut failures = 0;
    let mut subscribed = None;
    while !stop.is_cancelled() {
        match subscribe(&runner, &rabbit).await {
            Ok(subscription) => {
                failures = 0;
                tracing::info!(queue = runner.queue.name(), "consuming");
                subscribed
                    .insert(subscription)
                    .take_until(&runner, &permits, &held, &stop)
                    .await;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(queue = runner.queue.name(), %error, "cannot consume yet");
            }
        }
        pause(DATA_TIER.wait(failures), &stop).await;
    }
    if let Some(subscription) = &mut subscribed {
        subscription.finish_handed_over(&runner, &permits, &held).await;
    }
    held.close();
    if timeout(run_limit(runner.settings.timeout_seconds), held.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            held = held.len(),
            "stopping with jobs under way; recovery has them when their leases end"
        );
    } else if let Some(subscription) = subscribed {
        subscription.close().await;
    }
}

#[derive(Debug, thiserror::Error)]
enum SubscribeError {
    #[error("no channel: {0}")]
    Connect(#[from] ConnectError),
    #[error("the broker refused: {0}")]
    Refused(#[from] lapin::Error),
}

/// A consumer and the channel that its acknowledgements go through.
struct Subscription {
    channel: Channel,
    consumer: Consumer,
}

async fn subscribe(runner: &Runner, rabbit: &Rabbit) -> Result<Subscription, SubscribeError> {
    // Whoever comes first declares the queues.
    topology::ensure(rabbit, runner.group_size).await?;
    let channel = rabbit.channel().await?;
    channel
        .basic_qos(runner.settings.prefetch, BasicQosOptions::default())
        .await?;
    // The broker chooses the consumer's tag.
    let consumer = channel
        .basic_consume(
            runner.queue.name().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok(Subscription { channel, consumer })
}

impl Subscription {
    /// Takes messages until the channel is lost, the broker ends the subscription, or the process is asked to stop.
    async fn take_until(
        &mut self,
        runner: &Arc<Runner>,
        permits: &Arc<Semaphore>,
        held: &TaskTracker,
        stop: &CancellationToken,
    ) {
        // The permit first: a message that would wait for one stays where shutdown can give it back.
        while let Some(Ok(permit)) = unless_stopped(Arc::clone(permits).acquire_owned(), stop).await {
            match unless_stopped(self.consumer.next(), stop).await {
                Some(Some(Ok(delivery))) => begin(runner, delivery, permit, held, stop),
                Some(Some(Err(error))) => {
                    tracing::warn!(queue = runner.queue.name(), %error, "the channel is lost; its messages come again");
                    return;
                }
                Some(None) => {
                    tracing::warn!(queue = runner.queue.name(), "the broker ended the subscription");
                    return;
                }
                None => return,
            }
        }
    }

    async fn close(self) {
        // 200 is the reply code of a close without an error (AMQP 0-9-1 section 1.1).
        let close = self.channel.close(200, "the worker stops".into());
        if let Ok(Err(error)) = timeout(GOOD_BYE, close).await {
            tracing::debug!(%error, "the channel was gone already");
        }
    }

    /// Begins what the broker handed over before the process was asked to stop, as places become free, and gives back what
    /// has none within [`BEGIN_LIMIT`]: a worker that is scaled in leaves nothing behind that another has to be handed
    /// again.
    async fn finish_handed_over(
        &mut self,
        runner: &Arc<Runner>,
        permits: &Arc<Semaphore>,
        held: &TaskTracker,
    ) {
        let cancel = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        if !matches!(timeout(GOOD_BYE, cancel).await, Ok(Ok(()))) {
            // Without the broker's word the messages are given back when the channel closes.
            return;
        }
        // These jobs run as if nobody had asked to stop, until the time to begin is over.
        let late = CancellationToken::new();
        let begin_all = async {
            while let Ok(permit) = Arc::clone(permits).acquire_owned().await {
                match self.consumer.next().await {
                    Some(Ok(delivery)) => begin(runner, delivery, permit, held, &late),
                    // The broker hands over nothing more.
                    Some(Err(_)) | None => return,
                }
            }
        };
        let began_all = timeout(BEGIN_LIMIT, begin_all).await.is_ok();
        late.cancel();
        if began_all {
            return;
        }
        let give_back = async {
            while let Some(Ok(delivery)) = self.consumer.next().await {
                let span = Envelope::decode(&delivery.data)
                    .map_or_else(|_| Span::none(), |envelope| span_of(&envelope));
                settle(&delivery, Settlement::GiveBack).instrument(span).await;
            }
        };
        // What is left comes back when the channel closes.
        let _ = timeout(GOOD_BYE, give_back).await;
    }
}

fn begin(
    runner: &Arc<Runner>,
    delivery: Delivery,
    permit: OwnedSemaphorePermit,
    held: &TaskTracker,
    stop: &CancellationToken,
) {
    if delivery.redelivered {
        let redeliveries = &runner.metrics.redeliveries;
        redeliveries.with_label_values(&[runner.queue.name()]).inc();
    }
    held.spawn(answer(Arc::clone(runner), delivery, permit, stop.clone()));
}

async fn answer(
    runner: Arc<Runner>,
    delivery: Delivery,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    match Envelope::decode(&delivery.data) {
        Ok(envelope) => {
            let work = async {
                let settlement = caught(runner.handle(&envelope, &stop))
                    .await
                    .unwrap_or_else(after_panic);
                settle(&delivery, settlement).await;
                fail_point!("finish/after-settle");
            };
            work.instrument(span_of(&envelope)).await;
        }
        Err(error) => {
            tracing::error!(queue = runner.queue.name(), %error, "a message that is no job goes to the dead letters");
            settle(&delivery, Settlement::DeadLetter).await;
        }
    }
    drop(permit);
}

/// As if the process had died there: the message comes again, and what is left to do is done from the stored state. When
/// it comes too often the broker moves it to the dead letters.
fn after_panic(panicked: Panicked) -> Settlement {
    tracing::error!(%panicked, "the message is given back");
    Settlement::Broken
}

/// The ids that every line about a message carries.
fn span_of(envelope: &Envelope) -> Span {
    tracing::info_span!(
        "job",
        job_id = %envelope.job_id,
        user_id = envelope.user_id,
        trace_id = envelope.trace.trace_id,
        attempt = envelope.attempt,
    )
}

/// A failure here is harmless: the channel is gone, the message comes again, and its claim is refused.
async fn settle(delivery: &Delivery, settlement: Settlement) {
    let told = match settlement {
        Settlement::Acknowledge => delivery.ack(BasicAckOptions::default()).await,
        Settlement::DeadLetter => delivery.reject(BasicRejectOptions { requeue: false }).await,
        // Not a nack, which the broker would not count.
        Settlement::Broken => delivery.reject(BasicRejectOptions { requeue: true }).await,
        Settlement::GiveBack => {
            let options = BasicNackOptions {
                multiple: false,
                requeue: true,
            };
            delivery.nack(options).await
        }
    };
    match told {
        Ok(true) => {}
        // The channel was lost before the word went out.
        Ok(false) => tracing::warn!(?settlement, "the broker was not told; the message comes again"),
        Err(error) => {
            tracing::warn!(%error, ?settlement, "the broker could not be told; the message comes again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_whose_work_panics_comes_back_as_a_failure_that_counts() {
        assert_eq!(after_panic(Panicked), Settlement::Broken);
    }
}
