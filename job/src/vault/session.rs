//! One login.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use vaultrs::api::AuthInfo;
use vaultrs::auth::{approle, kubernetes};
use vaultrs::client::{Client as _, VaultClient, VaultClientSettingsBuilder};

use super::{Component, REQUEST_TIMEOUT, VaultError};
use crate::config::{VaultAuth, VaultConfig, read_secret};

/// A client with a token.
pub(super) struct Session {
    client: VaultClient,
    number: u64,
    since: Instant,
    lease: Option<Lease>,
}

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// From the moment it was granted; zero: for ever.
    pub(super) duration: Duration,
    /// Whether it may be renewed.
    pub(super) renewable: bool,
}

impl From<&AuthInfo> for Lease {
    fn from(auth: &AuthInfo) -> Self {
        Self {
            duration: Duration::from_secs(auth.lease_duration),
            renewable: auth.renewable,
        }
    }
}

impl Session {
    /// Reads the credential anew and logs in with it.
    pub(super) async fn login(
        config: &VaultConfig,
        component: Component,
        number: u64,
    ) -> Result<Self, VaultError> {
        let anonymous = client(config, &SecretString::default())?;
        let auth = match &config.auth {
            VaultAuth::Token { token_file } => {
                return Self::new(config, &read_secret(token_file)?, None, number);
            }
            VaultAuth::Kubernetes {
                mount,
                role,
                token_file,
            } => {
                let role = format!("{role}-{}", component.name());
                kubernetes::login(&anonymous, mount, &role, read_secret(token_file)?.expose_secret()).await
            }
            VaultAuth::AppRole {
                mount,
                role_id_file,
                secret_id_file,
            } => {
                let (role_id, secret_id) = (read_secret(role_id_file)?, read_secret(secret_id_file)?);
                approle::login(
                    &anonymous,
                    mount,
                    role_id.expose_secret(),
                    secret_id.expose_secret(),
                )
                .await
            }
        };
        let auth = auth.map_err(|error| VaultError::of_login(&error))?;
        let lease = Lease::from(&auth);
        Self::new(
            config,
            &SecretString::from(auth.client_token),
            Some(lease),
            number,
        )
    }

    fn new(
        config: &VaultConfig,
        token: &SecretString,
        lease: Option<Lease>,
        number: u64,
    ) -> Result<Self, VaultError> {
        Ok(Self {
            client: client(config, token)?,
            number,
            since: Instant::now(),
            lease,
        })
    }

    pub(super) fn client(&self) -> &VaultClient {
        &self.client
    }

    /// Counts the logins of one handle.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// When it began.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// `None`: something else looks after the token.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// Lengthens the life of the token.
    pub(super) async fn renew(&self) -> Result<Lease, VaultError> {
        let auth = self
            .client
            .renew(None)
            .await
            .map_err(|error| VaultError::of_request(&error))?;
        Ok(Lease::from(&auth))
    }
}

/// Every setting is given, so that the library takes none from `VAULT_*` environment variables.
fn client(config: &VaultConfig, token: &SecretString) -> Result<VaultClient, VaultError> {
    // The library panics on a token that is no HTTP header value.
    if !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(VaultError::Client);
    }
    let ca_files = config.ca_file.iter().map(|file| file.to_str().map(str::to_owned));
    let settings = VaultClientSettingsBuilder::default()
        .address(&config.address)
        .ca_certs(ca_files.collect::<Option<Vec<_>>>().ok_or(VaultError::Client)?)
        .identity(None)
        .timeout(Some(REQUEST_TIMEOUT))
        .token(token.expose_secret())
        .verify(true)
        .namespace(config.namespace.clone())
        .build()
        .map_err(|_| VaultError::Client)?;
    VaultClient::new(settings).map_err(|_| VaultError::Client)
}
