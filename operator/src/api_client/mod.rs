//! `FlickrHubClient`: from a client that is declared to a key that holds.
//!
//! The key and the webhook secret are made up and kept in a Secret; MongoDB holds the hash of the key and the ciphertext of
//! the webhook secret. One step is decided at a time from what is found, so a process that dies is continued by the next
//! one. A client that is deleted goes only when its keys are taken out of MongoDB.
//!
//! | module | |
//! | --- | --- |
//! | [`decide`] | what to do next; pure |
//! | `hub` | the hub, and whether it can be used |
//! | [`key_secret`] | the Secret |
//! | [`registry`] | the document in MongoDB |
//! | [`status`] | what the status says; pure |
//! | [`reconcile`] | the steps in their order |

pub mod decide;
mod hub;
pub mod key_secret;
pub mod reconcile;
pub mod registry;
#[cfg(test)]
mod simulation;
pub mod status;
