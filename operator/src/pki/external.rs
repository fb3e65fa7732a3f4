//! Certificates by an issuer of cert-manager: asks for them, and hands on what was issued.
//!
//! cert-manager puts what it issued into a Secret of its own (`<hub>-<component>-issued`). Servers read another one
//! (`<hub>-<component>-tls`), into which the operator copies it when every client knows its authority ([`super::issued`]):
//! cert-manager replaces authority and certificate in one step, after which clients that run would not know the servers any
//! more. If the process dies between two writes, the next reconciliation finds what is there and decides anew.
//!
//! Without cert-manager, or while it cannot issue, servers go on with what they show.

use std::collections::BTreeMap;

use flickrhub_job::connection::trust::Trust;
use futures::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};

use super::cert_manager::{self, Certificate, Pending};
use super::issued::{Decision, Standing, Vouched, decide, during, may_retire};
use super::leaf::{Leaf, authorities_of, is_vouched_for};
use super::report::{self, CertificatesReport};
use super::secrets::{Secrets, failed};
use super::{Ensured, PkiError, Server, all_trust, store, validity};
use crate::apply::{Live, differs};
use crate::context::{Context, FIELD_MANAGER};
use crate::crd::IssuerRef;
use crate::engine::certificates;
use crate::lack::Lack;
use crate::validate::ValidatedHub;

/// The Secrets of each server.
pub(super) type Pairs = BTreeMap<Server, Pair>;

/// The Secrets of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    /// What the server reads.
    pub(super) shown: Option<Secret>,
    /// What cert-manager wrote.
    pub(super) issued: Option<Secret>,
}

impl Pair {
    fn shown_leaf(&self) -> Option<Leaf> {
        self.shown.as_ref().and_then(store::read_leaf)
    }

    fn issued_leaf(&self) -> Option<Leaf> {
        self.issued.as_ref().and_then(store::read_leaf)
    }

    fn standing(&self, names: &[String], now: Timestamp) -> Standing {
        let bundle = authorities_of(store::authorities(self.shown.as_ref()));
        let authorities = authorities_of(store::authorities(self.issued.as_ref()));
        let vouched = |leaf: &Leaf, names: &[String], at: Timestamp| {
            let all = bundle.iter().chain(&authorities);
            let by = all.filter(|authority| is_vouched_for(leaf, authority, names, at));
            Vouched(by.cloned().collect())
        };
        let (shown, issued) = (self.shown_leaf(), self.issued_leaf());
        // What is shown is judged by its authority alone: a name that it lacks, or that it is over, makes it no other's.
        let shown_vouched = shown.as_ref().map(|leaf| {
            let end = validity::not_after(&leaf.certificate).map(|end| end - SignedDuration::from_secs(1));
            vouched(leaf, &[], end.map_or(now, |end| end.min(now)))
        });
        let issued_vouched = issued.as_ref().map(|leaf| vouched(leaf, names, now));
        Standing {
            shown: shown_vouched,
            issued: issued_vouched.filter(|by| authorities.iter().any(|authority| by.0.contains(authority))),
            is_shown: same(shown.as_ref(), issued.as_ref()),
            bundle,
            authorities,
        }
    }
}

fn same(one: Option<&Leaf>, other: Option<&Leaf>) -> bool {
    let certificate = |leaf: &Leaf| leaf.certificate.clone();
    one.map(certificate) == other.map(certificate)
}

/// What is trusted as things stand; `None` while nothing was issued.
pub(super) fn trust(hub: &ValidatedHub, pairs: &Pairs) -> Result<Option<Trust>, PkiError> {
    together(&during(&standings(hub, pairs, Timestamp::now())))
}

fn standings(hub: &ValidatedHub, pairs: &Pairs, now: Timestamp) -> BTreeMap<Server, Standing> {
    let pairs = pairs.iter();
    pairs
        .map(|(server, pair)| (*server, pair.standing(&server.names(hub), now)))
        .collect()
}

fn together(authorities: &[String]) -> Result<Option<Trust>, PkiError> {
    if authorities.is_empty() {
        return Ok(None);
    }
    Ok(Some(Trust::from_pem(authorities.concat())?))
}

/// Reads both Secrets of every server.
pub(super) async fn read(secrets: &Secrets<'_>, hub: &ValidatedHub) -> Result<Pairs, PkiError> {
    let reads = Server::of(hub).into_iter().map(async |server| {
        let shown = secrets.get(&server.secret(hub)).await?;
        let name = server.issued_secret(hub);
        let issued = secrets.api.get_opt(&name).await;
        let issued = issued.map_err(|source| failed(&name, source))?;
        Ok::<_, PkiError>((server, Pair { shown, issued }))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// Asks cert-manager for what is to be issued, and hands on what was.
pub(super) async fn ensure(
    ctx: &Context,
    hub: &ValidatedHub,
    issuer: &IssuerRef,
    pairs: Pairs,
    live: &Live,
) -> Result<Ensured, PkiError> {
    let now = Timestamp::now();
    let asks = pairs.keys().map(async |server| {
        let pending = ask(ctx, hub, issuer, *server).await?;
        Ok::<_, PkiError>((*server, pending))
    });
    let pending: BTreeMap<Server, Option<Pending>> = try_join_all(asks).await?.into_iter().collect();
    let standings = standings(hub, &pairs, now);
    let trusted = together(&during(&standings))?;
    let all_trust = trusted.as_ref().is_some_and(|trust| all_trust(live, trust));
    let all_renewed = match &trusted {
        Some(trust) if all_trust && may_retire(&standings) => all_show(hub, &pairs, trust).await,
        _ => false,
    };
    let Decision { trust, take } = decide(&standings, all_trust, all_renewed);
    let trust = together(&trust)?;

    let secrets = Secrets::of(ctx, hub);
    let (mut leaves, mut created, mut lacks) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut waits = Vec::new();
    for (server, pair) in pairs {
        let pending = pending.get(&server).cloned().flatten();
        let newest = if take.contains(&server) {
            pair.issued_leaf()
        } else {
            pair.shown_leaf()
        };
        let Some((leaf, trust)) = newest.zip(trust.as_ref()) else {
            let pending = pending.unwrap_or_else(|| unusable(hub, server, &pair, &standings));
            lacks.push(lack(hub, server, &pending));
            waits.push(pending);
            continue;
        };
        waits.extend(pending);
        if pair.shown.is_none() {
            created.push(server.secret(hub));
        }
        secrets.keep(server, pair.shown, &leaf, trust).await?;
        leaves.insert(server, leaf);
    }
    let rotating = may_retire(&standings)
        || !waits.is_empty()
        || standings
            .values()
            .any(|standing| standing.issued.is_some() && !standing.is_shown);
    let ends = report::ends(&leaves);
    Ok(Ensured {
        report: CertificatesReport::of(&ends, waits.into_iter().next(), now),
        ends,
        trust,
        leaves,
        created,
        lacks,
        rotating,
    })
}

/// Whether every server shows what its Secret holds.
async fn all_show(hub: &ValidatedHub, pairs: &Pairs, trust: &Trust) -> bool {
    let looks = pairs.iter().map(async |(server, pair)| match pair.shown_leaf() {
        Some(leaf) => certificates::all_show(hub, *server, &leaf, trust).await,
        None => false,
    });
    join_all(looks).await.into_iter().all(|shows| shows)
}

fn lack(hub: &ValidatedHub, server: Server, pending: &Pending) -> Lack {
    Lack {
        secret: server.secret(hub),
        reason: pending.reason,
        message: pending.message.clone(),
        passes: !pending.stalls,
    }
}

/// cert-manager says that it has issued, and yet there is nothing to show.
fn unusable(
    hub: &ValidatedHub,
    server: Server,
    pair: &Pair,
    standings: &BTreeMap<Server, Standing>,
) -> Pending {
    let has_authority = standings
        .get(&server)
        .is_some_and(|standing| !standing.authorities.is_empty());
    let name = server.issued_secret(hub);
    let (stalls, message) = if pair.issued.is_none() {
        (false, format!("Waits for Secret {name:?} of cert-manager."))
    } else if has_authority {
        let names = server.names(hub).join(", ");
        let message = format!(
            "The authority in Secret {name:?} does not vouch for the certificate beside it under the names {names}: correct the issuer."
        );
        (true, message)
    } else {
        let message = format!(
            "The issuer put no authority (ca.crt) into Secret {name:?}: name an issuer that does, such as one of type CA."
        );
        (true, message)
    };
    Pending {
        reason: "CertificateUnusable",
        message,
        stalls,
    }
}

/// Applies the `Certificate` of a server; tells what it waits for.
async fn ask(
    ctx: &Context,
    hub: &ValidatedHub,
    issuer: &IssuerRef,
    server: Server,
) -> Result<Option<Pending>, PkiError> {
    let api: Api<Certificate> = Api::namespaced(ctx.client.clone(), hub.names.namespace());
    let wanted = cert_manager::certificate(hub, issuer, server);
    let name = server.secret(hub);
    let failed = |source| PkiError::Certificate {
        name: name.clone(),
        source,
    };
    let encoding = |source: serde_json::Error| failed(kube::Error::SerdeError(source));
    let found = match api.get_opt(&name).await {
        // Not that there is none: nothing is known at this address.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            return Ok(Some(cert_manager::missing(issuer)));
        }
        found => found.map_err(failed)?,
    };
    if let Some(found) = &found {
        let (desired, current) = (
            serde_json::to_value(&wanted).map_err(encoding)?,
            serde_json::to_value(found).map_err(encoding)?,
        );
        if !differs(&desired, &current) {
            return Ok(cert_manager::pending(found));
        }
    }
    tracing::info!(hub = hub.names.hub(), name, "asks cert-manager for a certificate");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(&name, &params, &Patch::Apply(&wanted)).await {
        Ok(applied) => Ok(cert_manager::pending(&applied)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(cert_manager::missing(issuer))),
        Err(source) => Err(failed(source)),
    }
}
