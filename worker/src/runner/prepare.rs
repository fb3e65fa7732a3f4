//! Everything that a call needs before Flickr is called: the user's token and our application's credentials.
//!
//! The user is looked up for each attempt, so that a right that was taken away counts for jobs that were accepted before:
//! after at most the five seconds for which [`flickrhub_job::store::UserStore`] keeps a user. A token that was replaced within
//! that time is found when Flickr refuses the old one ([`Runner::unless_replaced`]).

use std::sync::Arc;

use flickrhub_flickr::AppCredentials;
use flickrhub_job::model::{Job, JobError};
use flickrhub_job::store::{StoreError, User};
use flickrhub_job::vault::VaultError;
use secrecy::ExposeSecret;

use super::Runner;
use crate::app_credentials::AppCredentialsError;
use crate::decision::{Failure, FailureKind, Outcome};
use crate::flickr_call::{Signers, USER_NOT_AUTHORISED};

/// Why a call could not be prepared. The text is for the log; a client learns less ([`PrepareError::failure`]).
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// The user, or the client's right to act for the user, was removed after the job was accepted.
    #[error("the user has not authorised the client, or does not any more")]
    NotAuthorised,
    /// MongoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Vault failed, for all who waited for this answer.
    #[error(transparent)]
    Vault(#[from] Arc<VaultError>),
    /// The application's credentials are missing.
    #[error(transparent)]
    App(#[from] AppCredentialsError),
}

impl PrepareError {
    /// What it means for the attempt.
    pub(super) fn failure(&self) -> Failure {
        let (kind, code, message) = match self {
            Self::NotAuthorised => (
                FailureKind::Permanent,
                USER_NOT_AUTHORISED,
                "The user has not authorised this client at Flickr, or has withdrawn it; start the authorisation again.",
            ),
            Self::Vault(error) if matches!(**error, VaultError::Ciphertext) => (
                FailureKind::Permanent,
                USER_NOT_AUTHORISED,
                "The user's token cannot be used any more; start the authorisation again.",
            ),
            Self::Store(_) | Self::Vault(_) | Self::App(_) => (
                FailureKind::NotMade,
                "temporarily_unavailable",
                "FlickrHub could not make the call yet and tries again by itself.",
            ),
        };
        Failure {
            kind,
            error: JobError {
                code: code.to_owned(),
                message: message.to_owned(),
                flickr_code: None,
            },
            retry_after: None,
        }
    }
}

/// What a call takes.
pub(super) struct Prepared {
    pub(super) signers: Signers,
    pub(super) user: Arc<User>,
}

impl Runner {
    /// Who signs the call of `job`.
    pub(super) async fn prepare(&self, job: &Job) -> Result<Prepared, PrepareError> {
        let user = self
            .users
            .authorised_for(&job.user_id, &job.client_id)
            .await?
            .ok_or(PrepareError::NotAuthorised)?;
        let consumer = self.apps.get(&user.app)?;
        let signers = Signers {
            app_name: user.app.clone(),
            app: AppCredentials::new(consumer.key.expose_secret(), consumer.secret.clone()),
            user: self.tokens.of(&user).await?,
        };
        Ok(Prepared { signers, user })
    }

    /// `outcome`, but for a refused token that is the user's no more: then there is another try, with the new one.
    pub(super) async fn unless_replaced(&self, outcome: Outcome, job: &Job, used: &User) -> Outcome {
        let Outcome::Failed(failure) = outcome else {
            return outcome;
        };
        let refused = failure.kind == FailureKind::Permanent && failure.error.code == USER_NOT_AUTHORISED;
        if refused
            && let Ok(Some(user)) = self.users.authorised_now(&job.user_id, &job.client_id).await
            && (&user.token, &user.token_secret) != (&used.token, &used.token_secret)
        {
            let kind = FailureKind::Transient;
            return Outcome::Failed(Failure { kind, ..failure });
        }
        Outcome::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_token_fails_the_job_for_good() {
        let failure = PrepareError::NotAuthorised.failure();
        assert_eq!(failure.kind, FailureKind::Permanent);
        assert_eq!(failure.error.code, "user_not_authorised");
    }

    #[test]
    fn a_vault_that_is_away_does_not_count_as_an_attempt() {
        let failure = PrepareError::from(Arc::new(VaultError::Unavailable)).failure();
        assert_eq!(failure.kind, FailureKind::NotMade);
    }

    #[test]
    fn a_client_learns_nothing_of_our_inside() {
        let failure =
            PrepareError::App(AppCredentialsError::UnknownApp("internal-name".to_owned())).failure();
        assert!(!failure.error.message.contains("internal-name"));
    }
}
