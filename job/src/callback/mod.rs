//! Callbacks: what a client is told when its job is finished, by the Standard Webhooks scheme.
//!
//! A delivery is tried until the receiver answers 2xx, refuses for good, or a day has passed ([`next_try`]). The
//! receiver can get the same event more than once (a process can die between the answer and its note in MongoDB), and
//! tells them apart by the header `webhook-id`, which stays the same.
//!
//! The address comes from a client, so it is not trusted: see [`AddressPolicy`].
//!
//! While a client replaces its secret, two are valid, and everything that is signed carries both signatures: see
//! [`SigningSecrets`].

mod address;
mod client;
mod outcome;
mod payload;
mod resolver;
mod schedule;
mod secrets;
mod sign;

pub use address::{AddressPolicy, CallbackUrlError, public_networks};
pub use client::{CallbackClient, CallbackClientError};
pub use outcome::{Try, TryOutcome};
pub use payload::{EVENT_TYPE, payload};
pub use schedule::{LEAST_TRIES, MOST_TRIES, PERIOD, longest_pause, next_try};
pub use secrets::{OpenSecret, SigningSecrets, new_secret};
pub use sign::{SignError, Signature, sign};
