//! What benches share: the hub, its surroundings, and how much is measured.

use std::time::{Duration, Instant};

use flickrhub_e2e::cluster;
use kube::Client;
use serde_json::{Value, json};

use crate::Failure;
use crate::http_client::Target;
use crate::hub::Hub;
use crate::options::Options;
use crate::processes::{Containers, Spent};
use crate::quantile::number;
use crate::report::Report;
use crate::sandbox::Sandbox;
use crate::tier::Tier;
use crate::users;

/// For how long the hub is watched doing nothing.
const IDLE: Duration = Duration::from_secs(5);

/// The hub under test, as benches see it.
pub(crate) struct Scene {
    /// How much is measured.
    pub(crate) options: Options,
    /// The cluster.
    pub(crate) client: Client,
    /// The API.
    pub(crate) target: Target,
    /// The data tier.
    pub(crate) tier: Tier,
    /// What can be changed of the hub.
    pub(crate) hub: Hub,
    /// Users who authorised the default client; empty until a bench asks for them.
    pub(crate) users: Vec<String>,
}

impl Scene {
    /// Connects to everything; makes good what an earlier run may have left.
    ///
    /// # Errors
    /// When something does not answer.
    pub(crate) async fn of_the_hub(options: Options) -> Result<Self, Failure> {
        let client = cluster::client().await;
        let hub = Hub::new(client.clone(), &options.folder());
        hub.restore().await?;
        let (name, namespace) = (cluster::hub(), cluster::namespace());
        let key = cluster::secret(
            &client,
            &format!("{name}-client-{}", users::DEFAULT_CLIENT),
            "api-key",
        )
        .await;
        Ok(Self {
            target: Target::new(&format!("{name}-api.{namespace}.svc:80"), &key),
            tier: Tier::of_the_hub(&client).await?,
            hub,
            client,
            users: Vec::new(),
            options,
        })
    }

    /// Raises the limits of the hub, unless they are to be kept, and makes the users, once.
    ///
    /// # Errors
    /// When something does not answer.
    pub(crate) async fn populate(&mut self) -> Result<(), Failure> {
        if self.users.is_empty() {
            if !self.options.keep_limits {
                self.hub.raise_limits().await?;
            }
            self.users = users::make(&self.tier, self.options.users).await?;
        }
        Ok(())
    }

    /// Puts everything back.
    ///
    /// # Errors
    /// When something does not answer.
    pub(crate) async fn leave(&mut self) -> Result<(), Failure> {
        let users = std::mem::take(&mut self.users);
        let removed = users::remove(&self.tier, &users).await;
        let cleared = Sandbox::all(self.tier.redis.clone()).clear().await;
        self.hub.restore().await?;
        removed.and(cleared)
    }

    /// What the hub spends while nothing is asked of it.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) async fn idle(&self, containers: &Containers) -> Result<Spent, Failure> {
        let before = containers.cpu()?;
        tokio::time::sleep(IDLE).await;
        Ok(before.until(&containers.cpu()?))
    }
}

/// Tells what jobs cost: in all, by part, and what of it the hub would have spent without them.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn tell_cost(
    report: &mut Report,
    bench: &'static str,
    metric: &str,
    jobs: usize,
    (spent, idle): (&Spent, &Spent),
) -> Result<(), Failure> {
    let per_job = |time: Duration| time.as_secs_f64() * 1e3 / number(jobs).max(1.0);
    let figure = |report: &mut Report, metric: &str, value, labels: Value| {
        report.figure(bench, metric, value, "ms", labels)
    };
    figure(report, metric, per_job(spent.total()), Value::Null)?;
    tell_shares(
        report,
        (bench, metric),
        jobs,
        (spent.ours(), spent.services()),
        &Value::Null,
    )?;
    for (part, time) in &spent.by_part {
        let labels = json!({"part": part});
        figure(report, &format!("{metric}_by_part"), per_job(*time), labels)?;
    }
    let idle_share = idle
        .total()
        .mul_f64(spent.took.as_secs_f64() / idle.took.as_secs_f64().max(f64::EPSILON));
    let above = spent.total().saturating_sub(idle_share);
    figure(
        report,
        &format!("{metric}_above_idle"),
        per_job(above),
        Value::Null,
    )?;
    figure(
        report,
        &format!("{metric}_of_flickr_mock"),
        per_job(spent.flickr),
        Value::Null,
    )?;
    Ok(())
}

/// Tells what jobs cost our own processes, and what they cost the services.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn tell_shares(
    report: &mut Report,
    (bench, metric): (&'static str, &str),
    jobs: usize,
    (ours, services): (Duration, Duration),
    labels: &Value,
) -> Result<(), Failure> {
    for (part, spent) in [("ours", ours), ("services", services)] {
        let mut labels = labels.as_object().cloned().unwrap_or_default();
        labels.insert("part".to_owned(), part.into());
        let per_job = spent.as_secs_f64() * 1e3 / number(jobs).max(1.0);
        report.figure(bench, metric, per_job, "ms", Value::Object(labels))?;
    }
    Ok(())
}

/// Seconds since a moment.
pub(crate) fn seconds_since(moment: Instant) -> f64 {
    moment.elapsed().as_secs_f64()
}
