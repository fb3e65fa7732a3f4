//! Budgets: no more requests reach Flickr in any hour than it allows, and no request goes where Flickr does not answer.
//!
//! Flickr allows an application 3,600 requests an hour over all of its users; a user's token is kept to
//! `spec.limits.perUserPerHour`. Before **every** request (a call, an upload, a question about a ticket, each try of a
//! job) a process asks for a [`Permit`]: one script looks at the circuit of the endpoint and at the exact logs of the
//! application and of the user, charges both or none, and says when to ask again where the answer is no. Steps of the
//! OAuth flow are charged too: Flickr does not say whether it counts them, so they are taken to count.
//!
//! # Never over, as Flickr counts
//!
//! Flickr counts a request when it arrives, and we charge it before it is sent. Between the two are at most [`USABLE`] +
//! [`CONNECT`] = 10 s (a permit that was not used by then is asked for anew), the way through the network, and what the
//! clocks of two Redis members may differ by. So a request counts here for an hour and a [`MARGIN`] of 15 s: requests that
//! arrive within one hour were charged within 3,600 s + 10 s + the rest, hence within one span of ours if the rest is at
//! most 5 s. It costs 15 of 3,615 s, or 0.42 % of the budget.
//!
//! # Keys
//!
//! Under the prefix of the lanes, where no name of theirs begins like these:
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `budget:app:{app}` | sliding log | the application's requests of the last span |
//! | `budget:user:{user}` | sliding log | the user's |
//! | `budget:settings` | hash | span, the user's limit, when circuits open ([`BudgetSettings`]) |
//! | `apps` | hash | application → requests per hour; 3,600 for one that is not there |
//! | `budget:server` | text | the run of the Redis server on which the logs are known to be whole |
//! | `budget:rebuild:{id}` | text | the run on which a rebuild began, for two minutes |
//! | `breaker:{app}:{endpoint}` | hash | the circuit: `state` (`open`, `half`), `until`, `openings`; while closed, outcomes of the last window |
//! | `permit:{ticket}` `report:{id}` | text | what was answered already, for 30 s |
//!
//! # Sent again
//!
//! [`Redis`](crate::connection::redis::Redis) sends a script again when its answer is lost. A permit is remembered by its
//! ticket in the same script that charges it, so it is charged once however often it is asked for. Redis running out of
//! memory between the two charges it twice, never not at all. Reports are remembered the same way.
//!
//! # When Redis loses writes
//!
//! Replication is asynchronous, so a failover may lose the last charges, a restart those of the last second, and an
//! emptied Redis all of them. What is lost cannot be seen in the logs. Therefore `budget:server` holds the `run_id` of the
//! server on which the logs are known to be whole; every script compares it with its own server's, and while they differ
//! there is no permit ([`Reason::Rebuilding`]). A dispatcher looks every second and rebuilds: it reads from MongoDB when
//! jobs were claimed, adds to each log what is later than the newest request the log still has, and writes the new
//! `run_id`. That is safe because
//!
//! - a worker claims a job, with majority, before it asks for the first permit, and the claim adds its time to the job's
//!   `flickr_requests`; so every request that was ever charged has its claim in MongoDB;
//! - for each claim the *latest* time is taken at which its requests can have been sent (the next claim, the end of the
//!   attempt, or now), and for photos as many questions about the ticket as the attempt had time for;
//! - the logs are replicated in the order of writing, so what they lack is later than what they have;
//! - several dispatchers may rebuild at once: what one adds, the other one takes for there or adds again, and a rebuild
//!   during which something is lost again cannot end.
//!
//! It counts too much rather than too little: jobs that run are counted though they may not have asked yet. No journal
//! beside the jobs is needed, and the path of a job has no further write.
//!
//! A master that is cut off goes on acknowledging until `min-replicas-max-lag` (5 s) has passed, while another one may be
//! chosen after 3 s. So after a failover the rebuild waits [`CUT_OFF`] before it reads MongoDB: by then nobody gets a permit
//! from the old master any more, and all that it permitted was claimed.
//!
//! | the process dies after | then |
//! | --- | --- |
//! | the claim | a request is counted after a loss of Redis that was not made, for an hour |
//! | the permit | it is charged and not sent: one request less in this hour |
//! | the request | the same as without a crash, except that the breaker is not told |
//! | being let through as a probe | its lease ends and another request is the probe |
//! | a part of a rebuild | the next look begins it again; what was added is there |

mod breaker;
mod look;
mod permits;
mod rebuild;
mod scripts;
mod settings;

use std::time::Duration;

pub use breaker::{Breaker, BreakerConfig, Ended, Stance};
pub use look::{BudgetState, CircuitState, CircuitView, Standing};
pub use permits::{CONNECT, FlickrBudget, Permit, PermitError, Reason, Refused, USABLE};
pub use rebuild::{Lost, Rebuild, Whose};
pub use settings::{BudgetSettings, MARGIN};

use crate::queue::Queue;

/// How long a rebuild after a failover waits for the old master to give no permits any more.
pub const CUT_OFF: Duration = Duration::from_secs(3);

/// Which of Flickr's hosts a request goes to. Each has a circuit of its own, so that one of them cannot take the other down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Calls, questions about tickets, steps of the OAuth flow.
    Rest,
    /// Uploads and replacements.
    Upload,
}

impl Endpoint {
    /// Both, in the order of the scripts.
    pub const ALL: [Self; 2] = [Self::Rest, Self::Upload];

    /// The name in keys, metrics and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Upload => "upload",
        }
    }

    /// Where the jobs of a queue go first.
    #[must_use]
    pub const fn of(queue: Queue) -> Self {
        match queue {
            Queue::Rest => Self::Rest,
            Queue::Upload | Queue::Replace => Self::Upload,
        }
    }
}

/// What a circuit breaker is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Circuit {
    app: String,
    endpoint: Endpoint,
}
