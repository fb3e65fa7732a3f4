//! The stores against a real MongoDB.

#![expect(
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as expected"
)]

mod accounts;
mod bodies;
mod callbacks;
mod database;
mod fixture;
mod dead_letters;
mod list;
mod queries;
mod trail;
mod transitions;
