//! Transit encryption by Vault or OpenBao: tokens, credentials and webhook secrets are stored only as its ciphertexts.
//!
//! A handle stays logged in for as long as a clone of it lives: its token is renewed at two thirds of its lease, and
//! when Vault refuses the token (it expired while Vault was away, or was revoked) the call logs in again and is sent
//! once more. Nothing is kept on disk: a process that dies leaves a token that ends with its lease.
//!
//! Secrets are wiped from memory where this crate holds them. The copies that the HTTP client makes while it sends and
//! receives are freed, not wiped.

mod error;
mod operation;
mod renewal;
mod session;

pub use error::VaultError;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};
use zeroize::{Zeroize as _, Zeroizing};

use self::operation::{DecryptPair, Operation, Request};
use self::session::Session;
use crate::config::VaultConfig;

/// The longest that one HTTP request to Vault may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that one call may take, with its repetitions and a new login.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses before a call is repeated while Vault is not available, as during an election.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1600),
];
/// A token this fresh that is refused is refused by its policy: another login would not help.
const FRESH: Duration = Duration::from_secs(5);

/// Which process logs in; each has a role of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The HTTP API.
    Api,
    /// A worker.
    Worker,
    /// The process that delivers callbacks.
    Callbacks,
}

impl Component {
    /// The end of the name of its role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Callbacks => "callbacks",
        }
    }
}

/// A key of the transit engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitKey {
    /// For users' Flickr tokens; the context is the user's id.
    UserTokens,
    /// For application credentials, webhook secrets and OAuth requests; the context is the client's id.
    AppCredentials,
}

/// A session with Vault. Cheap to clone.
///
/// The process must have installed a default `rustls` crypto provider.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    config: VaultConfig,
    component: Component,
    session: RwLock<Arc<Session>>,
    login: tokio::sync::Mutex<()>,
}

impl Vault {
    /// Logs in, and stays logged in for as long as a clone of the handle lives.
    ///
    /// # Errors
    /// When the credential cannot be read, Vault refuses it, or cannot be reached.
    pub async fn connect(config: &VaultConfig, component: Component) -> Result<Self, VaultError> {
        let session = Session::login(config, component, 0).await?;
        let inner = Arc::new(Inner {
            config: config.clone(),
            component,
            session: RwLock::new(Arc::new(session)),
            login: tokio::sync::Mutex::default(),
        });
        tokio::spawn(renewal::keep_alive(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Encrypts a secret; the answer looks like `vault:v1:…` and may be stored anywhere.
    ///
    /// The context (the id of a user or a client, not empty) is part of the key: the ciphertext of one is no use to
    /// another.
    pub async fn encrypt(
        &self,
        key: TransitKey,
        context: &str,
        plain: &SecretString,
    ) -> Result<String, VaultError> {
        let plain = Zeroizing::new(BASE64_STANDARD.encode(plain.expose_secret()));
        let operation = Operation::Encrypt {
            key: self.key(key),
            context: &BASE64_STANDARD.encode(context),
            plain: &plain,
        };
        let ciphertext = self.0.call(&operation).await?;
        Ok(ciphertext.as_str().to_owned())
    }

    /// Decrypts what [`Vault::encrypt`] gave for the same key and context.
    ///
    /// # Errors
    /// [`VaultError::Ciphertext`] for any other text.
    pub async fn decrypt(
        &self,
        key: TransitKey,
        context: &str,
        ciphertext: &str,
    ) -> Result<SecretString, VaultError> {
        let operation = Operation::Decrypt {
            key: self.key(key),
            context: &BASE64_STANDARD.encode(context),
            ciphertext,
        };
        plain(&self.0.call(&operation).await?)
    }

    /// Decrypts two ciphertexts of the same key and context by one request: both, or neither.
    ///
    /// # Errors
    /// As of [`Vault::decrypt`], when one of them fails.
    pub async fn decrypt_pair(
        &self,
        key: TransitKey,
        context: &str,
        ciphertexts: [&str; 2],
    ) -> Result<[SecretString; 2], VaultError> {
        let operation = DecryptPair {
            key: self.key(key),
            context: &BASE64_STANDARD.encode(context),
            ciphertexts,
        };
        let [first, second] = self.0.call(&operation).await?;
        Ok([plain(&first)?, plain(&second)?])
    }

    /// Asks whether Vault answers and our token is valid.
    pub async fn ping(&self) -> Result<(), VaultError> {
        self.0.call(&Operation::Ping).await.map(drop)
    }

    fn key(&self, key: TransitKey) -> &str {
        match key {
            TransitKey::UserTokens => &self.0.config.user_tokens_key,
            TransitKey::AppCredentials => &self.0.config.app_credentials_key,
        }
    }
}

/// The text that Vault sent in base64.
fn plain(encoded: &str) -> Result<SecretString, VaultError> {
    let plain = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_| VaultError::Unreadable)?;
    String::from_utf8(plain).map(SecretString::from).map_err(|error| {
        error.into_bytes().zeroize();
        VaultError::Ciphertext
    })
}

impl Inner {
    async fn call<O: Request>(&self, operation: &O) -> Result<O::Answer, VaultError> {
        let answer = timeout(CALL_TIMEOUT, self.call_patiently(operation)).await;
        answer.unwrap_or(Err(VaultError::Unavailable))
    }

    /// Every operation may be repeated: none changes anything in Vault.
    async fn call_patiently<O: Request>(&self, operation: &O) -> Result<O::Answer, VaultError> {
        let mut pauses = PAUSES.into_iter();
        let mut logged_in = false;
        loop {
            let session = self.session();
            match operation.send(session.client(), &self.config.transit_mount).await {
                Err(VaultError::Denied) if !logged_in => {
                    self.log_in_again(session.number()).await?;
                    logged_in = true;
                }
                Err(VaultError::Unavailable) => match pauses.next() {
                    Some(pause) => sleep(pause).await,
                    None => return Err(VaultError::Unavailable),
                },
                answer => return answer,
            }
        }
    }

    fn session(&self) -> Arc<Session> {
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the session of this number, unless someone else did already.
    async fn log_in_again(&self, number: u64) -> Result<(), VaultError> {
        let _one_at_a_time = self.login.lock().await;
        let present = self.session();
        if present.number() != number {
            return Ok(());
        }
        if present.since().elapsed() < FRESH {
            return Err(VaultError::Denied);
        }
        let session = Session::login(&self.config, self.component, number + 1).await?;
        tracing::info!(component = self.component.name(), "logged in to Vault again");
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(session);
        Ok(())
    }
}
