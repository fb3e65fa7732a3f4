//! The steps of the data engines against real servers on loopback, which each test starts itself.

#![expect(clippy::expect_used, reason = "a test fails by a panic")]

mod mongodb;
mod redis;
mod servers;
mod vault;
