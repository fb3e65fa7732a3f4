//! Whether a photo is worth storing: asked when its part begins, so that nobody sends 100 MB in vain.

use flickrhub_flickr::Permission;
use flickrhub_job::lane::{AdmissionLimits, LaneEntry, Submission};
use flickrhub_job::limits::{LiveLimits, RequestClass};
use flickrhub_job::model::{DEFAULT_WEIGHT, JobId, Priority};
use flickrhub_job::queue::Queue;
use serde_json::Value;

use crate::accept::{now, refusal};
use crate::auth::Caller;
use crate::authorisation::authorised_user;
use crate::data_tier::DataTier;
use crate::idempotency::IdempotencyKey;
use crate::problem::Problem;
use crate::validate::USER_PART;

/// Asks whether an upload has a chance.
pub struct UploadAdmission<'a> {
    /// Who is asked.
    pub data: &'a DataTier,
    /// The limits.
    pub limits: &'a LiveLimits,
    /// Who uploads.
    pub caller: &'a Caller,
    /// Where the job will wait.
    pub queue: Queue,
    /// The request's idempotency key.
    pub key: Option<&'a IdempotencyKey>,
}

impl UploadAdmission<'_> {
    /// Whether the user authorised the caller, and whether the job would be admitted at this moment. Nothing is counted
    /// and no place is kept: an upload may take longer than a reservation lasts, so the job is admitted when the photo is
    /// stored. A request whose key was used before comes through, because only the photo tells whether it is the same.
    ///
    /// # Errors
    /// That of [`authorised_user`], or why the job would not be admitted.
    pub async fn check(&self, user_id: &str) -> Result<(), Problem> {
        let user = authorised_user(
            &self.data.users,
            self.caller,
            user_id,
            Permission::Write,
            USER_PART,
        )
        .await?;
        let entry = LaneEntry {
            queue: self.queue,
            app: user.app.clone(),
            user_id: user.id.clone(),
            job_id: JobId::new(),
            priority: Priority::Normal,
            weight: DEFAULT_WEIGHT,
            created_at: now(),
        };
        let idempotency = self
            .key
            .map(|key| key.of_request(&self.caller.client_id, &Value::Null));
        let submission = Submission {
            entry: &entry,
            client_id: &self.caller.client_id,
            class: RequestClass::Upload,
            idempotency: idempotency.as_ref(),
        };
        let limits = AdmissionLimits::of(&self.limits.get(), RequestClass::Upload);
        let (admission, quotas) = self.data.lanes.would_admit(&submission, &limits).await?;
        refusal(&admission, quotas).map_or(Ok(()), Err)
    }
}
