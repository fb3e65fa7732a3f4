//! What a job is and where it lives: the crate that the API and the workers share.
//!
//! | module | holds |
//! | --- | --- |
//! | [`model`] | a job, its states and the guards of every transition |
//! | [`view`] | the job as a client sees it, in answers and in callbacks |
//! | [`queue`] | the three queues and their names on the wire |
//! | [`config`] | the file that configures every process; the operator writes it |
//! | [`connection`] | clients of Redis (Sentinel), MongoDB (replica set) and RabbitMQ that survive a failover |
//! | [`serving_certificate`] | what a process shows over TLS, and another certificate while it runs |
//! | [`store`] | MongoDB: jobs, users, clients, upload bodies, OAuth requests |
//! | [`limits`] | what users and clients may ask of the hub, which may change while processes run |
//! | [`sliding_log`] | Redis: exact logs of the events of the last hour, for limits |
//! | [`lane`] | Redis: admission, one lane per user and queue, fair release, delayed retries |
//! | [`budget`] | Redis: how many requests Flickr may get, and the circuit breakers |
//! | [`nonce`] | Redis: nonces of signed requests, each accepted once |
//! | [`progress`] | who waits for a job to move, and how they hear of it |
//! | [`envelope`] | the message that a worker receives |
//! | [`topology`] | the quorum queues, declared the same way by whoever comes first |
//! | [`vault`] | transit encryption of tokens, credentials and webhook secrets |
//! | [`scope`] | what a client of the API may do |
//! | [`signing_key`] | the keys of signed requests |
//! | [`cache`] | Redis: answers of Flickr, kept for the user who had them |
//! | [`callback`] | Standard Webhooks: signing, address policy, delivery |
//! | [`audit`] | security events, chained so that a change or a removal shows |
//! | [`telemetry`] | JSON logs, trace ids, metrics, the metrics and health port |
//! | [`fail_point`] | places at which a test lets the process die; nothing in other builds |

pub mod audit;
pub mod budget;
pub mod cache;
pub mod callback;
pub mod config;
pub mod connection;
pub mod envelope;
pub mod fail_point;
pub mod lane;
pub mod limits;
pub mod model;
pub mod nonce;
pub mod progress;
pub mod queue;
pub mod scope;
pub mod serving_certificate;
pub mod signing_key;
pub mod sliding_log;
pub mod store;
pub mod telemetry;
pub mod topology;
pub mod vault;
pub mod view;
