//! The steps of the data engines against real servers on loopback, which each test starts itself.

#![expect(clippy::expect_used, reason = "a test fails by a panic")]

<<<<<<< HEAD
mod audience;
=======
mod audit_log;
>>>>>>> 385641a (Give the processes a role of MongoDB by which the audit log is append-only)
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
