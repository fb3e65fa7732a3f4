//! Jobs under failures: what a hub promises, checked while its parts are killed.
//!
//! Clients submit jobs of every kind and write down what they sent and what they were told. Meanwhile a nemesis kills, stops
//! and cuts off parts of the hub, by a schedule that follows from a seed, and the Flickr mock fails in every way it knows.
//! Afterwards everything is healed, the jobs are waited for, and a checker compares four things: what the clients were
//! told, what the API says now, what the mock saw, and what the guarantees in `docs/guarantees.md` allow.
//!
//! | module | does |
//! | --- | --- |
//! | [`history`] | what happened, as data |
//! | [`checker`] | which promises that breaks; pure |
//! | [`schedule`] | what is done to the hub and when, from a seed; pure |
//! | [`nemesis`] | does it |
//! | `loss` | what Redis may have lost by it; pure |
//! | [`limits`] | limits that are small enough to be reached |
//! | [`process`] | the processes of a pod, as this machine sees them |
//! | [`client`] | one client of the API |
//! | [`order`] | what a client asks for |
//! | [`observe`] | what the API and the mock say afterwards |
//! | [`outsider`] | another client, who must see nothing |
//! | [`run`](mod@run) | all of it, from set-up to verdict |
//! | [`report`] | the verdict as text and as JSON |

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test harness: what cannot be set up or observed ends the run"
)]

pub mod checker;
pub mod client;
pub mod history;
pub mod limits;
mod loss;
pub mod nemesis;
pub mod observe;
pub mod order;
pub mod outsider;
pub mod process;
pub mod report;
pub mod run;
pub mod schedule;
