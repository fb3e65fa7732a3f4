//! The stores against a real MongoDB.

#![expect(
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as expected"
)]

mod accounts;
mod api_keys;
mod audit;
mod bodies;
mod callbacks;
mod database;
mod dead_letters;
mod deliveries;
mod endpoints;
mod fixture;
mod flickr_requests;
mod groups;
mod list;
mod queries;
mod trail;
mod transitions;
mod webhook_secrets;
