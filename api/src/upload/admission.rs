//! Whether a photo is worth storing: asked when its part begins, so that nobody sends 100 MB in vain.

use flickrhub_flickr::Permission;
use flickrhub_job::config::Config;
use flickrhub_job::lane::LaneEntry;
use flickrhub_job::model::{DEFAULT_WEIGHT, JobId, Priority};
use flickrhub_job::queue::Queue;

use crate::accept::{limits_of, now, refusal};
use crate::auth::Caller;
use crate::authorisation::authorised_user;
use crate::data_tier::DataTier;
use crate::problem::Problem;
use crate::validate::USER_PART;

/// Asks whether an upload has a chance.
pub struct UploadAdmission<'a> {
    /// Who is asked.
    pub data: &'a DataTier,
    /// The limits.
    pub config: &'a Config,
    /// Who uploads.
    pub caller: &'a Caller,
    /// Where the job will wait.
    pub queue: Queue,
}

impl UploadAdmission<'_> {
    /// Whether the user authorised the caller, and whether user and queue have a place at this moment. The place is not
    /// kept: an upload may take longer than a reservation lasts, so it is asked for again when the photo is stored.
    ///
    /// # Errors
    /// That of [`authorised_user`]; [`Problem::TooManyPending`], [`Problem::QueueFull`].
    pub async fn check(&self, user_id: &str) -> Result<(), Problem> {
        let user = authorised_user(
            &self.data.users,
            self.caller,
            user_id,
            Permission::Write,
            USER_PART,
        )
        .await?;
        let probe = LaneEntry {
            queue: self.queue,
            app: user.app,
            user_id: user.id,
            job_id: JobId::new(),
            priority: Priority::Normal,
            weight: DEFAULT_WEIGHT,
            created_at: now(),
        };
        let limits = limits_of(self.config, self.queue)?;
        let admission = self.data.lanes.admit(&probe, &limits).await?;
        refusal(admission).map_or(Ok(()), Err)?;
        if let Err(error) = self.data.lanes.done(&probe).await {
            tracing::warn!(%error, "the place that an upload asked for runs out by itself");
        }
        Ok(())
    }
}
