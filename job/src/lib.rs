//! What a job is and where it lives: the crate that the API and the workers share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`model`] | a job, its states and the guards of every transition |
//! | [`view`] | the job as a client sees it, in answers and in callbacks |
//! | [`queue`] | the three queues and their names on the wire |
//! | [`config`] | the file that configures every process; the operator writes it |
//! | [`connection`] | clients of Redis (Sentinel), MongoDB (replica set) and RabbitMQ that survive a failover |
//! | [`store`] | MongoDB: jobs, users, clients, upload bodies, OAuth requests |
//! | [`lane`] | Redis: admission, one lane per user and queue, fair release, delayed retries |
//! | [`progress`] | who waits for a job to move, and how they hear of it |
//! | [`envelope`] | the message that a worker receives |
//! | [`topology`] | the quorum queues, declared the same way by whoever comes first |
//! | [`vault`] | transit encryption of tokens, credentials and webhook secrets |
//! | [`callback`] | Standard Webhooks: signing, address policy, delivery |
//! | [`telemetry`] | JSON logs, trace ids, metrics, the metrics and health port |

pub mod callback;
pub mod config;
pub mod connection;
pub mod envelope;
pub mod lane;
pub mod model;
pub mod progress;
pub mod queue;
pub mod store;
pub mod telemetry;
pub mod topology;
pub mod vault;
pub mod view;
