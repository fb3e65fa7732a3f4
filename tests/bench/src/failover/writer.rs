//! Writes numbers to an engine, one after the other, and reads them back.

use std::collections::HashSet;
use std::time::Duration;

use flickrhub_e2e::scene::unique;
use flickrhub_job::config::Config;
use flickrhub_job::connection;
use flickrhub_job::connection::rabbitmq::Rabbit;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::envelope::Envelope;
use flickrhub_job::model::JobId;
use flickrhub_job::queue::Queue;
use flickrhub_job::telemetry::trace::TraceContext;
use flickrhub_job::topology::Publisher;
use flickrhub_job::vault::{Component, TransitKey, Vault};
use futures::TryStreamExt;
use lapin::options::BasicGetOptions;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// The pause between two writes: the smallest gap that can be seen.
const PAUSE: Duration = Duration::from_millis(5);

/// Writes to one engine with the client that the hub's processes have.
pub(crate) enum Writer {
    /// Members of a set.
    Redis { redis: Redis, set: String },
    /// Documents that the majority has.
    Mongodb(Collection<Document>),
    /// Messages that RabbitMQ confirmed. The number is the attempt of an envelope.
    Rabbitmq { rabbit: Rabbit, publisher: Publisher },
    /// Numbers that OpenBao encrypted: what the hub asks of it. They are there if they can be decrypted.
    Openbao {
        vault: Vault,
        encrypted: Mutex<Vec<(u32, String)>>,
    },
}

/// What the encrypted numbers belong to.
const CONTEXT: &str = "bench-failover";

impl Writer {
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn redis(config: &Config) -> Result<Self, Failure> {
        Ok(Self::Redis {
            redis: Redis::connect(&config.redis).await?,
            set: unique("bench-failover"),
        })
    }

    /// # Errors
    /// When MongoDB does not answer.
    pub(crate) async fn mongodb(config: &Config) -> Result<Self, Failure> {
        let database = connection::mongodb::connect(&config.mongodb).await?;
        Ok(Self::Mongodb(database.collection(&unique("bench-failover"))))
    }

    /// # Errors
    /// When RabbitMQ does not answer.
    pub(crate) async fn rabbitmq(config: &Config) -> Result<Self, Failure> {
        let rabbit = Rabbit::connect(&config.rabbitmq).await?;
        let publisher = Publisher::new(rabbit.clone(), config.rabbitmq.quorum_group_size).await?;
        let writer = Self::Rabbitmq { rabbit, publisher };
        // What an earlier run has left.
        writer.read_back().await?;
        Ok(writer)
    }

    /// # Errors
    /// When OpenBao does not answer.
    pub(crate) async fn openbao(config: &Config) -> Result<Self, Failure> {
        Ok(Self::Openbao {
            vault: Vault::connect(&config.vault, Component::Api).await?,
            encrypted: Mutex::default(),
        })
    }

    /// Writes one number; when this returns without an error the engine promised to keep it.
    async fn write(&self, number: u32) -> Result<(), Failure> {
        match self {
            Self::Redis { redis, set } => {
                let mut add = redis::cmd("SADD");
                add.arg(set).arg(number);
                redis.run::<u32>(&add).await?;
            }
            Self::Mongodb(documents) => {
                documents.insert_one(doc! { "_id": i64::from(number) }).await?;
            }
            Self::Rabbitmq { publisher, .. } => {
                let envelope = Envelope {
                    job_id: JobId::new(),
                    attempt: number,
                    user_id: String::new(),
                    trace: TraceContext::new(),
                };
                publisher.publish(Queue::Rest, &envelope).await?;
            }
            Self::Openbao { vault, encrypted } => {
                let plain = SecretString::from(number.to_string());
                let ciphertext = vault.encrypt(TransitKey::AppCredentials, CONTEXT, &plain).await?;
                encrypted.lock().await.push((number, ciphertext));
            }
        }
        Ok(())
    }

    /// Every number that is there; nothing is afterwards.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn read_back(&self) -> Result<HashSet<u32>, Failure> {
        match self {
            Self::Redis { redis, set } => {
                let mut members = redis::cmd("SMEMBERS");
                members.arg(set);
                let numbers = redis.run(&members).await?;
                redis.run::<u32>(redis::cmd("DEL").arg(set)).await?;
                Ok(numbers)
            }
            Self::Mongodb(documents) => {
                let found: Vec<Document> = documents.find(doc! {}).await?.try_collect().await?;
                documents.drop().await?;
                let numbers = found.iter().filter_map(|document| document.get_i64("_id").ok());
                Ok(numbers.filter_map(|number| u32::try_from(number).ok()).collect())
            }
            Self::Rabbitmq { rabbit, .. } => {
                let channel = rabbit.channel().await?;
                let mut numbers = HashSet::new();
                let options = BasicGetOptions { no_ack: true };
                while let Some(message) = channel.basic_get(Queue::Rest.name().into(), options).await? {
                    numbers.insert(Envelope::decode(&message.data)?.attempt);
                }
                Ok(numbers)
            }
            Self::Openbao { vault, encrypted } => {
                let mut numbers = HashSet::new();
                let all = std::mem::take(&mut *encrypted.lock().await);
                for (number, ciphertext) in all {
                    let plain = vault.decrypt(TransitKey::AppCredentials, CONTEXT, &ciphertext);
                    if plain.await?.expose_secret() == number.to_string() {
                        numbers.insert(number);
                    }
                }
                Ok(numbers)
            }
        }
    }
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// The numbers that were acknowledged, and when, in order.
    acknowledged: Vec<(u32, Instant)>,
}

impl Written {
    /// The numbers that were acknowledged.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = u32> {
        self.acknowledged.iter().map(|(number, _)| *number)
    }

    /// The longest time between two acknowledgements.
    pub(crate) fn longest_gap(&self) -> Duration {
        let gaps = self
            .acknowledged
            .windows(2)
            .filter_map(|pair| Some(pair.get(1)?.1.duration_since(pair.first()?.1)));
        gaps.max().unwrap_or_default()
    }
}

/// Writes one number after the other until `stop`. A write that fails is not repeated: the next number is written.
pub(crate) async fn write_until(writer: &Writer, stop: CancellationToken) -> Written {
    let mut written = Written::default();
    let mut number = 0;
    while !stop.is_cancelled() {
        number += 1;
        match writer.write(number).await {
            Ok(()) => written.acknowledged.push((number, Instant::now())),
            Err(error) => eprintln!("  {number}: {error}"),
        }
        sleep(PAUSE).await;
    }
    // The engine is whole by now: a gap that goes on until here counts.
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_time_between_two_acknowledgements() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let written = Written {
            acknowledged: vec![(1, at(0)), (2, at(5)), (5, at(905)), (6, at(910))],
        };
        assert_eq!(written.longest_gap(), Duration::from_millis(900));
        assert_eq!(written.acknowledged().collect::<Vec<_>>(), [1, 2, 5, 6]);
        assert_eq!(Written::default().longest_gap(), Duration::ZERO);
    }
}
