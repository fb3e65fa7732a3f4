//! Whether every server has its certificate, for the status. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::cert_manager::Pending;
use super::leaf::Leaf;
use super::{Server, validity};

/// The condition that every server has a certificate that holds for some time.
pub const CERTIFICATES_READY: &str = "CertificatesReady";
/// What the authority is called among the components.
pub(super) const AUTHORITY: &str = "ca";

/// Whether every server has its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatesReport {
    /// Whether that is so.
    pub holds: bool,
    /// One word in `CamelCase`.
    pub reason: &'static str,
    /// What is the case, and what to do.
    pub message: String,
}

/// When the certificates end, by component.
pub(super) fn ends(leaves: &BTreeMap<Server, Leaf>) -> BTreeMap<&'static str, Timestamp> {
    let ends = leaves.iter();
    ends.filter_map(|(server, leaf)| Some((server.component(), validity::not_after(&leaf.certificate)?)))
        .collect()
}

impl CertificatesReport {
    /// From when certificates end, and what is waited for.
    pub(super) fn of(
        ends: &BTreeMap<&'static str, Timestamp>,
        pending: Option<Pending>,
        now: Timestamp,
    ) -> Self {
        if let Some(pending) = pending {
            return Self {
                holds: false,
                reason: pending.reason,
                message: pending.message,
            };
        }
        let Some((component, end)) = ends.iter().min_by_key(|(_, end)| **end) else {
            return Self {
                holds: false,
                reason: "None",
                message: "There are no certificates yet.".to_owned(),
            };
        };
        let day = end.to_zoned(TimeZone::UTC).date();
        if validity::is_near(*end, now) {
            return Self {
                holds: false,
                reason: "Expiring",
                message: format!(
                    "The certificate of {component} ends on {day} and should have been replaced: look at the logs of the operator and of whoever issues it."
                ),
            };
        }
        Self {
            holds: true,
            reason: "Issued",
            message: format!("Every server has a certificate; the first ends on {day}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn report(days: i64, pending: Option<Pending>) -> CertificatesReport {
        let end = |days: i64| NOW + jiff::SignedDuration::from_hours(24 * days);
        let ends = BTreeMap::from([("redis", end(60)), ("api", end(days))]);
        CertificatesReport::of(&ends, pending, NOW)
    }

    #[test]
    fn the_first_certificate_to_end_is_told_and_warned_of_before_it_does() {
        let well = report(31, None);
        assert!(
            well.holds && well.message.ends_with("ends on 2027-02-15."),
            "{well:?}"
        );
        let near = report(13, None);
        assert!(!near.holds && near.message.contains("of api ends on"), "{near:?}");
        assert!(!CertificatesReport::of(&BTreeMap::new(), None, NOW).holds);
    }

    #[test]
    fn what_is_waited_for_comes_first() {
        let pending = Pending {
            reason: "IssuerPending",
            message: "Waits.".to_owned(),
            stalls: false,
        };
        let found = report(31, Some(pending));
        assert_eq!((found.holds, found.reason), (false, "IssuerPending"));
    }
}
