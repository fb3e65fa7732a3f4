//! The passwords by which the hub logs in to its engines, replaced while everything runs.
//!
//! | Secret | what is replaced | how two hold at a time |
//! | --- | --- | --- |
//! | `<hub>-redis-auth` | `password` | a user of Redis has several passwords; each pod takes them from its files |
//! | `<hub>-mongodb-auth` | `app-username`, `app-password` | another user, whose name nobody had before |
//! | `<hub>-mongodb-auth` | `admin-password` | they do not: only people use it |
//! | `<hub>-rabbitmq-auth` | `username`, `password` | another user, whose name nobody had before |
//!
//! One engine follows the other, each in the steps of [`decide`](decide::decide), of which a reconciliation takes one at most.
//! A step is one write of one Secret, made only if nobody else wrote it meanwhile, and whatever is done to an engine is done
//! again without harm. If the process dies …
//!
//! * after the next one was written: the engine is told to accept it, and it goes on when every member was seen to;
//! * after it became the current one: pods carry a checksum of what they mount, so their templates are applied next time. The
//!   one before holds until the last pod is gone that was started with it, and the members of Redis use the new one themselves;
//! * after the one before was retired: the engine is told to accept it no more, and it is forgotten when every member was seen
//!   to refuse it.
//!
//! KEDA, where it scales workers by Redis, reads the Secret anew when Redis refuses it, and asks again at once.

mod consumers;
pub mod decide;
mod report;
#[cfg(test)]
mod simulation;
mod store;

use std::collections::BTreeMap;

use flickrhub_job::config::Login;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;

use crate::apply::Live;
use crate::build::Object;
use crate::context::Context;
use crate::engine::logins::{Answer, LoginError, Verdict};
use crate::secrets::Secrets;
use crate::validate::ValidatedHub;
use decide::{Observed, Phase, Step, decide};
pub use report::{CREDENTIALS_ROTATED, Report};
use store::{ENGINES, Stored, name};

/// The annotation of a `FlickrHub` by which a person asks for other credentials; its value only has to be a new one.
pub const ROTATE: &str = "flickrhub.dev/rotate-credentials";

/// Everything that a step is decided by.
pub struct Scene<'a> {
    /// The context.
    pub ctx: &'a Context,
    /// The hub.
    pub hub: &'a ValidatedHub,
    /// What its Secrets hold.
    pub secrets: &'a Secrets,
    /// Its Secrets as they were read, by name.
    pub found: &'a BTreeMap<String, Secret>,
    /// Its objects as they were built.
    pub objects: &'a [Object],
    /// Its objects as they are.
    pub live: &'a Live,
    /// Whether this is a time to begin with a replacement.
    pub may_begin: bool,
    /// The value of [`ROTATE`].
    pub wish: Option<&'a str>,
}

/// Brings the credentials of a hub a step on, and tells where they stand.
pub async fn advance(scene: &Scene<'_>) -> Report {
    let now = Timestamp::now();
    let all: Vec<Stored> = ENGINES
        .into_iter()
        .filter_map(|part| {
            let name = store::secret(&scene.hub.names, part)?;
            Some(Stored::read(part, scene.found.get(&name)?))
        })
        .collect();
    let under_way = all.iter().find(|stored| stored.phase != Phase::Rest);
    let Some(stored) = under_way.or_else(|| all.iter().find(|stored| scene.wants(stored, now))) else {
        return Report::at_rest(&all);
    };
    let (observed, waits_for) = match scene.observe(stored, now).await {
        Ok(seen) => seen,
        Err(error) => return Report::failed(&all, stored, &error),
    };
    let step = decide(&observed);
    if step == Step::Rest {
        return match stored.phase {
            Phase::Rest => Report::waits(&all),
            _ => Report::under_way(&all, stored, waits_for),
        };
    }
    match scene.take(stored, step, now).await {
        Ok(after) => {
            tracing::info!(
                hub = scene.hub.names.hub(),
                engine = name(stored.part),
                ?step,
                "brought the replacement of credentials on"
            );
            let began = (step == Step::Prepare).then(|| name(stored.part));
            let ended = (step == Step::Finish).then(|| name(stored.part));
            let part = stored.part;
            let replaced = |stored: Stored| {
                if stored.part == part {
                    after.clone()
                } else {
                    stored
                }
            };
            let all: Vec<Stored> = all.into_iter().map(replaced).collect();
            Report {
                began,
                ended,
                ..scene.after(&all, &after, now)
            }
        }
        Err(error) => Report::failed(&all, stored, &error),
    }
}

impl Scene<'_> {
    /// Whether the credentials of an engine are to be replaced.
    fn wants(&self, stored: &Stored, now: Timestamp) -> bool {
        let is_asked_for = self.wish.is_some() && self.wish != stored.heard.as_deref();
        is_asked_for || is_due(stored.since, self.hub.credential_rotation_days, now)
    }

    /// What is said right after a step.
    fn after(&self, all: &[Stored], of: &Stored, now: Timestamp) -> Report {
        if of.phase != Phase::Rest {
            return Report::under_way(all, of, None);
        }
        match all.iter().find(|stored| self.wants(stored, now)) {
            Some(next) => Report::under_way(all, next, None),
            None => Report::at_rest(all),
        }
    }

    /// Looks at what the phase waits for, after the engine was told what follows from the phase. The other thing that is
    /// returned is what is still missing.
    async fn observe(
        &self,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<(Observed, Option<String>), LookError> {
        let Self {
            ctx,
            hub,
            secrets,
            live,
            ..
        } = self;
        let tier = &ctx.data_tier;
        let part = stored.part;
        let mut observed = Observed {
            phase: stored.phase,
            wanted: self.wants(stored, now),
            may_begin: self.may_begin,
            ..Observed::default()
        };
        let mut waits_for = None;
        match stored.phase {
            Phase::Rest => {}
            Phase::Prepared => {
                for login in &stored.others {
                    tier.admit(hub, secrets, part, login, live).await?;
                    waits_for = waits_for.or(self.dissent(stored, login, &Verdict::Accepted).await?);
                }
                observed.next_accepted = waits_for.is_none() && !stored.others.is_empty();
            }
            Phase::Promoted => {
                waits_for = consumers::lagging(ctx, hub, self.objects, live).await?;
                if waits_for.is_none() {
                    let answers = tier.members_use(hub, secrets, part, live).await?;
                    let late = answers
                        .into_iter()
                        .find(|answer| answer.verdict != Verdict::Accepted);
                    waits_for = late.map(|late| format!("{} does not use it yet", late.member));
                }
                observed.current_used = waits_for.is_none();
            }
            Phase::Retiring => {
                for login in &stored.others {
                    tier.expel(hub, secrets, part, login, live).await?;
                    waits_for = waits_for.or(self.dissent(stored, login, &Verdict::Refused).await?);
                }
                observed.retired_refused = waits_for.is_none();
            }
        }
        Ok((observed, waits_for))
    }

    /// The first member that says something else to a login, as a clause; `None` if all agree. Nobody who could answer is no
    /// agreement.
    async fn dissent(
        &self,
        stored: &Stored,
        login: &Login,
        wanted: &Verdict,
    ) -> Result<Option<String>, LoginError> {
        let Self {
            ctx,
            hub,
            secrets,
            live,
            ..
        } = self;
        let answers = ctx
            .data_tier
            .try_login(hub, secrets, stored.part, login, live)
            .await?;
        if answers.is_empty() {
            return Ok(Some("there is no member to ask".to_owned()));
        }
        let other = answers.iter().find(|answer| answer.verdict != *wanted);
        Ok(other.map(Answer::to_string))
    }

    /// Writes the Secret as the step leaves it. A change by somebody else in between is a conflict and not overwritten.
    async fn take(&self, stored: &Stored, step: Step, now: Timestamp) -> Result<Stored, TakeError> {
        let secret = store::secret(&self.hub.names, stored.part).and_then(|name| self.found.get(&name));
        let mut secret = secret.cloned().ok_or(TakeError::Gone)?;
        store::take(stored.part, step, &mut secret, self.wish, now);
        let name = secret.metadata.name.clone().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.ctx.client.clone(), self.hub.names.namespace());
        let written = api.replace(&name, &PostParams::default(), &secret).await;
        let written = written.map_err(|source| TakeError::Api { name, source })?;
        Ok(Stored::read(stored.part, &written))
    }
}

/// What a phase waits for cannot be seen.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// The engine does not answer, or not do what it was told.
    #[error(transparent)]
    Engine(#[from] LoginError),
    /// The API server does not answer.
    #[error("cannot list the pods of the hub: {0}")]
    Pods(#[from] kube::Error),
}

/// A step cannot be written.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    /// The API server did not answer, or refused.
    #[error("cannot write Secret {name}: {source}")]
    Api {
        /// The name of the Secret.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// The Secret is not there any more.
    #[error("its Secret is gone")]
    Gone,
}

/// Whether credentials of this age are to be replaced. Without an interval, or a time that is known, they are not.
fn is_due(since: Option<Timestamp>, days: u32, now: Timestamp) -> bool {
    let interval = SignedDuration::from_hours(24 * i64::from(days));
    days > 0 && since.is_some_and(|since| now.duration_since(since) >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_due_after_the_interval_and_never_without_one() {
        let made = Timestamp::UNIX_EPOCH;
        let after = |days: i64| made + SignedDuration::from_hours(24 * days);
        assert!(is_due(Some(made), 30, after(30)));
        assert!(!is_due(Some(made), 30, after(29)));
        assert!(!is_due(Some(made), 0, after(3650)));
        assert!(!is_due(None, 30, after(3650)));
    }
}
