//! The conditions that are no part of `Ready`: what was found beside the parts. Without a finding each stays as it was.

use jiff::Timestamp;

use super::condition;
use super::conditions::{Conditions, Truth};
use crate::autoscaling::plan::{Finding, WORKERS_AUTOSCALED};
use crate::consent::{BuildReport, OPERATOR_VERSION_APPLIED};
use crate::crd::FlickrHubStatus;
use crate::credentials::{self, CREDENTIALS_ROTATED};
use crate::engine::vault::rotation::{KEYS_ROTATED, RotationReport};
use crate::flickr_reachable::{FLICKR_REACHABLE, Reachability};
use crate::pki::{CERTIFICATES_READY, CertificatesReport};

/// The status with the condition about Flickr; without a finding, as that condition was.
pub fn with_flickr(
    status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    flickr: Option<&Reachability>,
    now: Timestamp,
) -> FlickrHubStatus {
    let finding = flickr.map(|flickr| (flickr.reachable, flickr.reason, flickr.message.clone()));
    with_condition(status, previous, FLICKR_REACHABLE, finding, now)
}

/// The status with what is known of the transit keys; without a look at them, as that was.
pub fn with_keys(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    keys: Option<&RotationReport>,
    now: Timestamp,
) -> FlickrHubStatus {
    if let Some(keys) = keys {
        status.transit_keys.clone_from(&keys.keys);
    }
    let finding = keys.map(|keys| (keys.holds, keys.reason.as_ref(), keys.message.clone()));
    with_condition(status, previous, KEYS_ROTATED, finding, now)
}

/// The status with what is known of the credentials of the engines; without a look at them, as that was.
pub fn with_credentials(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    found: Option<&credentials::Report>,
    now: Timestamp,
) -> FlickrHubStatus {
    if let Some(found) = found {
        status.credentials.clone_from(&found.credentials);
    }
    let finding = found.map(|found| (found.holds, found.reason, found.message.clone()));
    with_condition(status, previous, CREDENTIALS_ROTATED, finding, now)
}

/// The status with what the objects were built from; without a look at them, as that was.
pub fn with_build(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    build: Option<&BuildReport>,
    now: Timestamp,
) -> FlickrHubStatus {
    if let Some(build) = build {
        status.build.clone_from(&build.last);
    }
    let finding = build.map(|build| build.finding.clone());
    with_condition(status, previous, OPERATOR_VERSION_APPLIED, finding, now)
}

/// The status with what scales the workers; without a look, as that was.
pub fn with_autoscaling(
    status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    autoscaling: Option<&Finding>,
    now: Timestamp,
) -> FlickrHubStatus {
    let finding = autoscaling.map(|found| (found.holds, found.reason, found.message.clone()));
    with_condition(status, previous, WORKERS_AUTOSCALED, finding, now)
}

/// The status with whether every server has its certificate; without a look, as that was.
pub fn with_certificates(
    status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    certificates: Option<&CertificatesReport>,
    now: Timestamp,
) -> FlickrHubStatus {
    let finding = certificates.map(|found| (found.holds, found.reason, found.message.clone()));
    with_condition(status, previous, CERTIFICATES_READY, finding, now)
}

/// The status with a condition that is no part of `Ready`: whether it holds, the reason, and a sentence.
fn with_condition(
    mut status: FlickrHubStatus,
    previous: Option<&FlickrHubStatus>,
    type_: &str,
    finding: Option<(bool, &str, String)>,
    now: Timestamp,
) -> FlickrHubStatus {
    let mut conditions = Conditions {
        known: previous.map_or(&[][..], |status| status.conditions.as_slice()),
        generation: status.observed_generation.unwrap_or_default(),
        now,
        list: std::mem::take(&mut status.conditions),
    };
    if let Some((holds, reason, message)) = finding {
        let truth = if holds { Truth::True } else { Truth::False };
        conditions.add(type_, truth, reason, message);
    } else {
        let known = condition(previous, type_).cloned();
        conditions.list.extend(known);
    }
    status.conditions = conditions.list;
    status
}
