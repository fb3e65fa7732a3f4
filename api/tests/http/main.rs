//! The API over a real data tier, with a stand-in for Flickr.
//!
//! `FLICKRHUB_TEST_CONFIG` names a configuration whose data tier can be reached.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod audit;
mod authentication;
mod bad_input;
mod batch;
mod cache;
mod callbacks;
mod dead_letters;
mod hub;
mod idempotency;
mod isolation;
mod jobs;
mod oauth;
mod progress;
mod uploads;
mod usage;
