//! The worker of FlickrHub: one binary, three roles.
//!
//! | module | holds |
//! | --- | --- |
//! | [`runner`] | role `run`: takes the messages of one queue and runs their jobs |
//! | [`dispatcher`] | role `dispatch`: releases jobs from their lanes in fair order, and recovers those that got stuck |
//! | [`callbacks`] | role `callbacks`: delivers the callbacks of finished jobs |
//! | [`open_secrets`] | webhook secrets, decrypted and kept for a short time |
//! | [`decision`] | what becomes of a job after an attempt, as a pure function |
//! | [`backoff`] | how long to wait before the next try |
//! | [`flickr_call`] | one job's call of Flickr |
//! | [`follow_up`] | what follows from the state of a job |
//! | [`panics`] | what a bug in one piece of work may end |
//! | [`app_credentials`] | the consumer keys of our Flickr applications |
//! | [`process`] [`args`] [`connect`] [`shutdown`] | a process in one of the roles |

pub mod app_credentials;
pub mod args;
pub mod backoff;
pub mod callbacks;
pub mod connect;
mod data_tier;
pub mod decision;
pub mod dispatcher;
#[cfg(test)]
mod fake_vault;
#[cfg(test)]
mod fixtures;
pub mod flickr_call;
pub mod follow_up;
pub mod open_secrets;
pub mod panics;
pub mod process;
pub mod runner;
pub mod shutdown;
