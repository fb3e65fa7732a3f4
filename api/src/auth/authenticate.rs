//! From a credential to a caller.
//!
//! | kept in memory | for | what it saves |
//! | --- | --- | --- |
//! | the stored key, or that there is none ([`KeyRecords`]) | 4 s | a read in MongoDB; bounds how long a revoked key works |
//! | that a secret is the one of a stored hash | an hour | a bcrypt run |
//! | that a secret is not | half a minute | a bcrypt run |
//! | decrypted signing secrets ([`SigningSecrets`]) | a minute | a question to Vault |
//!
//! A flood of wrong keys: see [`Failures`]; at most [`CONCURRENT_COMPARISONS`] bcrypt runs are under way at a time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::cache::ComparedKeys;
use super::directory::{KEPT, KeyDirectory, KeyRecords, StoredKey};
use super::failures::Failures;
use super::rate::{Meter, Rate};
use super::secrets::SigningSecrets;
use super::signature::{SignatureFault, SignedRequest, nonce_lifetime};
use super::{AuthRecord, Caller, Credential, PresentedKey, ScopeName};
use crate::problem::Problem;

/// How many bcrypt runs may be under way at a time, so that wrong keys cannot occupy every processor.
const CONCURRENT_COMPARISONS: usize = 2;
/// How long a request waits for its turn to be compared.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a secret that is right is remembered, and the most of them.
const VERIFIED: (Duration, usize) = (Duration::from_hours(1), 10_000);
/// The same for those that are wrong.
const REFUSED: (Duration, usize) = (Duration::from_secs(30), 10_000);
/// Requests that one key may make of this process in a minute where its client has no rate of its own: a program that
/// runs wild is stopped, one that works is not.
const DEFAULT_PER_MINUTE: u32 = 120_000;
/// How often it is looked whether the key of a request that lasts still holds; mostly into memory.
const LOOK: Duration = Duration::from_secs(1);
/// Keys whose requests are counted at a time.
const COUNTED_KEYS: usize = 20_000;

/// Turns credentials into callers.
pub struct Authenticator {
    directory: Arc<dyn KeyDirectory>,
    records: KeyRecords,
    secrets: SigningSecrets,
    verified: ComparedKeys,
    refused: ComparedKeys,
    failures: Failures,
    requests: Meter<String>,
    turns: Semaphore,
}

impl Authenticator {
    /// Looks keys up in `directory`.
    pub fn new(directory: Arc<dyn KeyDirectory>) -> Self {
        Self::with_lifetime(directory, KEPT)
    }

    /// The same, believing `directory` for `lifetime`.
    fn with_lifetime(directory: Arc<dyn KeyDirectory>, lifetime: Duration) -> Self {
        Self {
            records: KeyRecords::new(Arc::clone(&directory), lifetime),
            secrets: SigningSecrets::new(Arc::clone(&directory)),
            directory,
            verified: ComparedKeys::new(VERIFIED.0, VERIFIED.1),
            refused: ComparedKeys::new(REFUSED.0, REFUSED.1),
            failures: Failures::default(),
            requests: Meter::new(COUNTED_KEYS),
            turns: Semaphore::new(CONCURRENT_COMPARISONS),
        }
    }

    /// Who sends a request with this credential from this address. What comes out is noted in `record`.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`] or [`Problem::SignatureRefused`] when the credential does not hold;
    /// [`Problem::TooManyFailures`]; [`Problem::AddressNotAllowed`]; [`Problem::KeyRateExceeded`];
    /// [`Problem::Unavailable`] when it cannot be found out.
    pub async fn authenticate(
        &self,
        credential: Credential,
        address: Option<IpAddr>,
        record: &AuthRecord,
    ) -> Result<Arc<Caller>, Problem> {
        let key_id = credential.key_id().to_owned();
        record.claims(&key_id);
        let stored = match credential {
            Credential::Bearer(key) => self.bearer(key, address, record).await,
            Credential::Signature(signed) => self.signature(&signed, address, record).await,
        };
        let stored = stored.inspect_err(|problem| {
            tracing::info!(
                event = "authentication_failed",
                key_id,
                code = problem.code(),
                "not authenticated"
            );
        })?;
        let caller = Arc::new(Caller {
            scopes: stored
                .scopes
                .iter()
                .filter_map(|name| ScopeName::from_name(name))
                .collect(),
            client_id: stored.client_id.clone(),
            key_id,
        });
        record.is_by(&caller);
        if !may_call_from(&stored, address) {
            tracing::info!(
                event = "authorisation_failed",
                client_id = caller.client_id,
                key_id = caller.key_id,
                "the client may not call from this address"
            );
            return Err(Problem::AddressNotAllowed);
        }
        let rate = Rate::per_minute(stored.requests_per_minute.unwrap_or(DEFAULT_PER_MINUTE));
        match self.requests.take(caller.key_id.as_str(), rate, Instant::now()) {
            Ok(()) => Ok(caller),
            Err(retry_after) => Err(Problem::KeyRateExceeded { retry_after }),
        }
    }

    /// Whether a caller that was authenticated before would be so still, with the same key and all of its scopes: for requests
    /// that last.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when that cannot be found out.
    pub async fn still_holds(&self, caller: &Caller) -> Result<bool, Problem> {
        let stored = self.records.get(&caller.key_id).await?;
        Ok(stored.is_some_and(|stored| {
            let has = |scope: &ScopeName| stored.scopes.iter().any(|name| name == scope.name());
            stored.client_id == caller.client_id
                && stored.holds(Timestamp::now())
                && caller.scopes.iter().all(has)
        }))
    }

    /// Resolves when the key of a caller holds no more: for requests that last. Together with [`KEPT`] it stays within five
    /// seconds.
    pub async fn revoked(&self, caller: &Caller) {
        loop {
            tokio::time::sleep(LOOK).await;
            // While that cannot be found out, nothing can be read for the caller either.
            if matches!(self.still_holds(caller).await, Ok(false)) {
                return;
            }
        }
    }

    /// The key that claims to be of this id, if it exists; one that does not is counted, unless that was known.
    async fn stored(
        &self,
        key_id: &str,
        address: Option<IpAddr>,
        record: &AuthRecord,
    ) -> Result<Option<Arc<StoredKey>>, Problem> {
        let was_known = self.records.knows(key_id);
        let stored = self.records.get(key_id).await?;
        if let Some(stored) = &stored {
            record.belongs_to(&stored.client_id);
        } else if !was_known {
            self.failures.count_unknown(address, Instant::now());
        }
        Ok(stored.filter(|stored| stored.holds(Timestamp::now())))
    }

    async fn bearer(
        &self,
        key: PresentedKey,
        address: Option<IpAddr>,
        record: &AuthRecord,
    ) -> Result<Arc<StoredKey>, Problem> {
        let now = Instant::now();
        if !self.verified.knows(&key.digest, now) {
            self.failures.check(&key.key_id, address, now)?;
        }
        let stored = self.stored(&key.key_id, address, record).await?;
        let stored = stored.ok_or(Problem::Unauthenticated)?;
        match self.compared(&key.digest, &stored.hash) {
            Some(true) => return Ok(stored),
            Some(false) => return Err(Problem::Unauthenticated),
            None => {}
        }
        if self.compare(key, &stored.hash, address).await? {
            Ok(stored)
        } else {
            Err(Problem::Unauthenticated)
        }
    }

    /// Whether a key of this digest has the secret of `hash`, if that is known.
    fn compared(&self, digest: &[u8; 32], hash: &str) -> Option<bool> {
        let now = Instant::now();
        if self.verified.contains(digest, hash, now) {
            return Some(true);
        }
        // A key that only signs has no hash.
        (hash.is_empty() || self.refused.contains(digest, hash, now)).then_some(false)
    }

    async fn compare(&self, key: PresentedKey, hash: &str, address: Option<IpAddr>) -> Result<bool, Problem> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire());
        let Ok(Ok(turn)) = turn.await else {
            tracing::warn!("too many keys wait to be compared");
            return Err(Problem::Unavailable);
        };
        // Requests with the same key may have waited here together: the first compared it for all. And those that failed
        // meanwhile count, so that what waits costs nothing when there were too many.
        if let Some(known) = self.compared(&key.digest, hash) {
            return Ok(known);
        }
        self.failures.check(&key.key_id, address, Instant::now())?;
        let (key_id, digest) = (key.key_id.clone(), key.digest);
        let with = hash.to_owned();
        let comparison = tokio::task::spawn_blocking(move || key.matches(&with));
        let matches = comparison.await.map_err(|error| {
            tracing::error!(%error, "the comparison of a key broke off");
            Problem::Internal
        })?;
        drop(turn);
        let now = Instant::now();
        if matches {
            self.verified.insert(digest, hash, now);
        } else {
            self.refused.insert(digest, hash, now);
            self.failures.count_wrong(&key_id, address, now);
        }
        Ok(matches)
    }

    async fn signature(
        &self,
        signed: &SignedRequest,
        address: Option<IpAddr>,
        record: &AuthRecord,
    ) -> Result<Arc<StoredKey>, Problem> {
        let mismatch = || Problem::SignatureRefused(SignatureFault::Mismatch);
        // A wrong signature costs microseconds; what is bounded is what it costs to look a key up.
        if !self.records.knows(&signed.key_id) {
            self.failures.check(&signed.key_id, address, Instant::now())?;
        }
        let stored = self.stored(&signed.key_id, address, record).await?;
        let stored = stored.ok_or_else(mismatch)?;
        let secret = self.secrets.get(&stored).await?.ok_or_else(mismatch)?;
        if !signed.matches(&secret) {
            return Err(mismatch());
        }
        let lifetime = nonce_lifetime(signed.created, Timestamp::now().as_second());
        if self
            .directory
            .is_first_use(&signed.key_id, &signed.nonce, lifetime)
            .await?
        {
            Ok(stored)
        } else {
            Err(Problem::SignatureRefused(SignatureFault::NonceUsed))
        }
    }
}

/// Whether the client of this key may call from this address. One with a list of networks may not call from an address that
/// is not known.
fn may_call_from(stored: &StoredKey, address: Option<IpAddr>) -> bool {
    match (&stored.allowed_networks, address) {
        (None, _) => true,
        (Some(networks), Some(address)) => networks.iter().any(|network| network.contains(&address)),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests;
