//! The certificates inside of a hub: an authority of its own, what it issues to the servers, and how both are replaced.
//!
//! | Secret, ConfigMap | holds | read by |
//! | --- | --- | --- |
//! | `<hub>-ca` | the authority with its key | the operator |
//! | `<hub>-<component>-tls` | a certificate, its key, the trusted authorities | the members of the engine, the API; every process for its metrics |
//! | `<hub>-trust` | the trusted authorities | the processes, and whoever connects from elsewhere |
//!
//! A certificate of a server is replaced when a third of its life is left, when a member gets a name that it lacks, and
//! when another authority signs. Members take it up without a restart, see [`crate::engine::certificates`]. An authority
//! is replaced in steps ([`rotation`]), of which a reconciliation takes one at most. Each step is one write of one Secret,
//! made only if nobody else wrote it meanwhile. If the process dies …
//!
//! * after the authority was written: certificates that it did not issue are replaced next time. Until then servers show
//!   those of the authority before, which stays trusted;
//! * between two certificates: the others are replaced next time;
//! * before pods were told of another set of authorities: their templates are applied next time, and no further step is
//!   taken before every pod was started with it.
//!
//! Where the hub names an issuer of cert-manager, that issues instead: [`external`].
//!
//! A Secret of the authority that is gone is made anew, and everything with it: pods that run do not know the new one until
//! they start anew, which they do for that.

mod authority;
mod cert_manager;
mod external;
mod issued;
mod leaf;
mod report;
pub mod rotation;
mod secrets;
mod server;
#[cfg(test)]
mod simulation;
mod store;
mod validity;

use std::collections::BTreeMap;

use flickrhub_job::connection::trust::{Trust, TrustError};
use futures::future::{try_join, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

pub use authority::{
    AUTHORITY_LIFETIME, AUTHORITY_RENEWAL, Authority, IssueError, LEAF_LIFETIME, LEAF_REMAINDER,
};
use external::Pairs;
pub use leaf::{Leaf, is_current};
pub use report::{CERTIFICATES_READY, CertificatesReport};
use rotation::{Observed, Step, decide};
use secrets::Secrets;
pub use server::Server;
use store::Authorities;
pub use store::StoreError;
pub(crate) use store::{AUTHORITIES, CERTIFICATE, KEY};

use crate::apply::Live;
use crate::build::{Kind, checksum};
use crate::context::Context;
use crate::crd::IssuerRef;
use crate::engine::certificates;
use crate::lack::Lack;
use crate::rollout::Rollout;
use crate::secrets::Listed;
use crate::validate::ValidatedHub;

/// The annotation of a `FlickrHub` by which a person asks for another authority; its value only has to be a new one.
pub const ROTATE: &str = "flickrhub.dev/rotate-authority";
/// The component in the labels of what belongs to no engine.
pub(crate) const COMPONENT: &str = "tls";

/// The certificates of a hub cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The API server did not answer, or refused.
    #[error("cannot read or write Secret {name}: {source}")]
    Api {
        /// The name of the Secret.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// Somebody else has a Secret of this name.
    #[error(
        "Secret {0:?} does not belong to this FlickrHub, and the operator leaves it alone: rename it, or give the FlickrHub another name"
    )]
    NameTaken(String),
    /// The Secret of the authority holds something else.
    #[error(
        "Secret {name:?} holds no certificate authority: {source}; restore it from a backup, or delete it: then another one is made, and every pod starts anew"
    )]
    Damaged {
        /// The name of the Secret.
        name: String,
        /// What is wrong.
        source: StoreError,
    },
    /// The API server did not answer a question about a `Certificate` of cert-manager, or refused.
    #[error("cannot read or write Certificate {name}: {source}")]
    Certificate {
        /// Its name.
        name: String,
        /// What the client says.
        source: kube::Error,
    },
    /// A certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The authorities cannot be used.
    #[error("the certificate authorities cannot be used: {0}")]
    Trust(#[from] TrustError),
}

/// What a hub has.
pub struct Ensured {
    /// The authorities that everybody trusts; `None` while there are none.
    pub trust: Option<Trust>,
    /// What the servers shall show.
    pub leaves: BTreeMap<Server, Leaf>,
    /// The names of Secrets that did not exist before.
    pub created: Vec<String>,
    /// The Secrets of servers that have no certificate yet.
    pub lacks: Vec<Lack>,
    /// Whether something is being replaced or waited for, so that it is worth to look again soon.
    pub rotating: bool,
    /// Whether every server has its certificate.
    pub report: CertificatesReport,
    /// When certificates end, by component, and that of the authority of the hub (`ca`).
    pub ends: BTreeMap<&'static str, Timestamp>,
}

/// The Secrets of a hub's certificates as they are.
pub struct Present(Source);

enum Source {
    /// The operator issues.
    Own(Box<Own>),
    /// An issuer of the user does.
    Issuer { issuer: IssuerRef, pairs: Pairs },
}

/// What there is where the operator issues.
struct Own {
    servers: BTreeMap<Server, Option<Secret>>,
    /// That of the authorities.
    secret: Option<Secret>,
    authorities: Option<Authorities>,
}

impl Present {
    /// The authorities that everybody trusts; `None` if there are none yet.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn trust(&self, hub: &ValidatedHub) -> Result<Option<Trust>, PkiError> {
        match &self.0 {
            Source::Own(own) => trust_of(own.authorities.as_ref()),
            Source::Issuer { pairs, .. } => external::trust(hub, pairs),
        }
    }
}

/// Takes the certificates of a hub from its Secrets.
///
/// # Errors
/// When the API server fails, or a Secret cannot be used.
pub async fn read(ctx: &Context, hub: &ValidatedHub, listed: &Listed) -> Result<Present, PkiError> {
    let secrets = &Secrets::listed(ctx, hub, listed);
    if let Some(issuer) = &hub.issuer {
        return Ok(Present(Source::Issuer {
            issuer: issuer.clone(),
            pairs: external::read(secrets, hub).await?,
        }));
    }
    let servers = Server::of(hub)
        .into_iter()
        .map(async |server| Ok::<_, PkiError>((server, secrets.get(&server.secret(hub)).await?)));
    let (servers, (secret, authorities)) = try_join(try_join_all(servers), secrets.authorities()).await?;
    Ok(Present(Source::Own(Box::new(Own {
        servers: servers.into_iter().collect(),
        secret,
        authorities,
    }))))
}

/// Brings the certificates of a hub, which are as they were read, a step on. `live` tells whether pods know the authorities,
/// `wish` is the value of [`ROTATE`].
///
/// # Errors
/// When the API server fails, somebody else changed a Secret meanwhile, or a Secret cannot be used.
pub async fn ensure(
    ctx: &Context,
    hub: &ValidatedHub,
    present: Present,
    live: &Live,
    wish: Option<&str>,
) -> Result<Ensured, PkiError> {
    let Own {
        servers,
        secret,
        authorities,
    } = match present.0 {
        Source::Own(own) => *own,
        Source::Issuer { issuer, pairs } => return external::ensure(ctx, hub, &issuer, pairs, live).await,
    };
    let secrets = Secrets::of(ctx, hub);
    let now = Timestamp::now();
    let mut created = Vec::new();
    let name = hub.names.authority();
    let observed = observe(hub, live, authorities.as_ref(), wish, &servers).await?;
    let step = decide(&observed, now);
    let authorities = take(step, authorities, hub, wish, now)?;
    if step != Step::Rest || secret.as_ref().is_none_or(|secret| !secrets.is_ours(secret)) {
        if secret.is_none() {
            created.push(name.clone());
        }
        secrets
            .write(&name, COMPONENT, secret, |secret| authorities.write(secret))
            .await?;
        tracing::info!(
            hub = hub.names.hub(),
            ?step,
            "brought the certificate authority on"
        );
    }
    let trust = authorities.trust()?;
    let mut leaves = BTreeMap::new();
    for (server, secret) in servers {
        let name = server.secret(hub);
        if secret.is_none() {
            created.push(name.clone());
        }
        let leaf = renew(&secrets, hub, server, secret, &authorities.current, &trust, now).await?;
        leaves.insert(server, leaf);
    }
    let mut ends = report::ends(&leaves);
    ends.extend(validity::not_after(authorities.current.certificate()).map(|end| (report::AUTHORITY, end)));
    Ok(Ensured {
        report: CertificatesReport::of(&ends, None, now),
        ends,
        trust: Some(trust),
        leaves,
        created,
        lacks: Vec::new(),
        rotating: authorities.next.is_some() || authorities.previous.is_some(),
    })
}

/// The authorities of a hub as they are; `None` if there are none yet.
///
/// # Errors
/// When the API server fails, or the Secret cannot be used.
pub async fn trust(ctx: &Context, hub: &ValidatedHub) -> Result<Option<Trust>, PkiError> {
    let secrets = Secrets::of(ctx, hub);
    if hub.issuer.is_some() {
        return external::trust(hub, &external::read(&secrets, hub).await?);
    }
    let (_, authorities) = secrets.authorities().await?;
    trust_of(authorities.as_ref())
}

fn trust_of(authorities: Option<&Authorities>) -> Result<Option<Trust>, PkiError> {
    Ok(authorities.map(Authorities::trust).transpose()?)
}

/// What pods are told apart by: the authorities that they were started with.
pub(crate) fn trust_checksum(trust: Option<&Trust>) -> String {
    checksum::of_texts(trust.map(Trust::pem))
}

async fn observe(
    hub: &ValidatedHub,
    live: &Live,
    authorities: Option<&Authorities>,
    wish: Option<&str>,
    servers: &BTreeMap<Server, Option<Secret>>,
) -> Result<Observed, PkiError> {
    let Some(authorities) = authorities else {
        return Ok(Observed::default());
    };
    let trust = authorities.trust()?;
    let has_previous = authorities.previous.is_some();
    Ok(Observed {
        renew_at: Some(authorities.current.renew_at),
        has_next: authorities.next.is_some(),
        has_previous,
        requested: wish.is_some() && wish != authorities.heard.as_deref(),
        all_trust: all_trust(live, &trust),
        all_renewed: has_previous && all_renewed(hub, authorities, &trust, servers).await,
    })
}

/// Whether every pod was started with these authorities.
fn all_trust(live: &Live, trust: &Trust) -> bool {
    let wanted = trust_checksum(Some(trust));
    [Kind::StatefulSet, Kind::Deployment].into_iter().all(|kind| {
        !live.is_unread(kind)
            && live.of_kind(kind).all(|(name, object)| {
                let annotations = object.pointer("/spec/template/metadata/annotations");
                let found = annotations.and_then(|annotations| annotations[checksum::TRUST].as_str());
                found == Some(wanted.as_str()) && Rollout::of(live, kind, name) == Rollout::Complete
            })
    })
}

/// Whether every server shows a certificate that the current authority issued.
async fn all_renewed(
    hub: &ValidatedHub,
    authorities: &Authorities,
    trust: &Trust,
    servers: &BTreeMap<Server, Option<Secret>>,
) -> bool {
    for (server, secret) in servers {
        let leaf = secret.as_ref().and_then(store::read_leaf);
        let authority = authorities.current.certificate();
        let current = leaf.filter(|leaf| is_current(leaf, authority, &server.names(hub), Timestamp::now()));
        match current {
            Some(leaf) if certificates::all_show(hub, *server, &leaf, trust).await => {}
            _ => return false,
        }
    }
    true
}

/// The authorities after a step.
fn take(
    step: Step,
    authorities: Option<Authorities>,
    hub: &ValidatedHub,
    wish: Option<&str>,
    now: Timestamp,
) -> Result<Authorities, PkiError> {
    let domains = server::domains(hub);
    let another = || Authority::generate(&domains.each_ref().map(String::as_str), now);
    let Some(mut authorities) = authorities else {
        return Ok(Authorities {
            heard: wish.map(str::to_owned),
            ..Authorities::first(another()?)
        });
    };
    match step {
        Step::Rest | Step::Create => {}
        Step::Prepare => {
            authorities.next = Some(another()?);
            authorities.heard = wish.map(str::to_owned).or(authorities.heard);
        }
        Step::Promote => {
            if let Some(next) = authorities.next.take() {
                authorities.previous = Some(authorities.current.certificate().to_owned());
                authorities.current = next;
            }
        }
        Step::Retire => authorities.previous = None,
    }
    Ok(authorities)
}

/// The certificate of a server, a new one where the old one will not do.
async fn renew(
    secrets: &Secrets<'_>,
    hub: &ValidatedHub,
    server: Server,
    secret: Option<Secret>,
    authority: &Authority,
    trust: &Trust,
    now: Timestamp,
) -> Result<Leaf, PkiError> {
    let names = server.names(hub);
    let found = secret.as_ref().and_then(store::read_leaf);
    let kept = found.filter(|leaf| is_current(leaf, authority.certificate(), &names, now));
    let leaf = if let Some(leaf) = kept {
        leaf
    } else {
        let component = server.component();
        tracing::info!(hub = hub.names.hub(), component, "issues a certificate");
        authority.issue(&format!("{}-{component}", hub.names.hub()), &names, now)?
    };
    secrets.keep(server, secret, &leaf, trust).await?;
    Ok(leaf)
}
