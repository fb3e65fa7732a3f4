//! The steps of the data engines against real servers on loopback, which each test starts itself.

#![expect(clippy::expect_used, reason = "a test fails by a panic")]

mod audience;
mod audit_log;
mod bao;
mod certificates;
mod database;
mod login;
mod mongodb;
mod policies;
mod redis;
mod registry;
mod rotation;
mod servers;
mod vault;
