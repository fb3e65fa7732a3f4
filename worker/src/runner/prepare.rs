//! Everything that a call needs before Flickr is called: the user's token and our application's credentials.

use flickrhub_flickr::{AppCredentials, UserToken};
use flickrhub_job::model::{Job, JobError};
use flickrhub_job::store::StoreError;
use flickrhub_job::vault::{TransitKey, VaultError};
use secrecy::ExposeSecret;

use super::Runner;
use crate::app_credentials::AppCredentialsError;
use crate::decision::{Failure, FailureKind};
use crate::flickr_call::Signers;

/// Why a call could not be prepared. The text is for the log; a client learns less ([`PrepareError::failure`]).
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// The user, or the client's right to act for the user, was removed after the job was accepted.
    #[error("the user has not authorised the client, or does not any more")]
    NotAuthorised,
    /// MongoDB failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
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
                "user_not_authorised",
                "The user has not authorised this client at Flickr, or has withdrawn it; start the authorisation again.",
            ),
            Self::Vault(VaultError::Ciphertext) => (
                FailureKind::Permanent,
                "user_not_authorised",
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

impl Runner {
    /// Who signs the call of `job`. Read and decrypted for each attempt, so a token that was replaced or removed since the
    /// job was accepted counts at once, and none stays in memory.
    pub(super) async fn prepare(&self, job: &Job) -> Result<Signers, PrepareError> {
        let user = self
            .users
            .authorised_for(&job.user_id, &job.client_id)
            .await?
            .ok_or(PrepareError::NotAuthorised)?;
        let consumer = self.apps.get(&user.app)?;
        let decrypt = |ciphertext| self.vault.decrypt(TransitKey::UserTokens, &user.id, ciphertext);
        let (token, secret) = tokio::try_join!(decrypt(&user.token), decrypt(&user.token_secret))?;
        Ok(Signers {
            app_name: user.app,
            app: AppCredentials::new(consumer.key.expose_secret(), consumer.secret.clone()),
            user: UserToken::new(token, secret),
        })
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
        let failure = PrepareError::Vault(VaultError::Unavailable).failure();
        assert_eq!(failure.kind, FailureKind::NotMade);
    }

    #[test]
    fn a_client_learns_nothing_of_our_inside() {
        let failure =
            PrepareError::App(AppCredentialsError::UnknownApp("internal-name".to_owned())).failure();
        assert!(!failure.error.message.contains("internal-name"));
    }
}
