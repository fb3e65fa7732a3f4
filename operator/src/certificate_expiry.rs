//! When the certificates of all hubs end, for Prometheus: `flickrhub_operator_certificate_expiry_timestamp_seconds` by
//! namespace, hub and component. The process that leads knows; the others tell nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

/// A hub, by namespace and name.
type HubId = (String, String);
type Ends = BTreeMap<&'static str, Timestamp>;

/// When certificates end, by hub and component; clones share it.
#[derive(Clone, Default)]
pub struct CertificateExpiry(Arc<Mutex<BTreeMap<HubId, Ends>>>);

impl CertificateExpiry {
    /// Notes the ends of all certificates of a hub, by component.
    pub fn note(&self, namespace: &str, hub: &str, ends: Ends) {
        self.lock().insert((namespace.to_owned(), hub.to_owned()), ends);
    }

    /// Forgets a hub that is gone.
    pub fn forget(&self, namespace: &str, hub: &str) {
        self.lock().remove(&(namespace.to_owned(), hub.to_owned()));
    }

    /// What tells them to a registry.
    ///
    /// # Errors
    /// Never in practice: when the metric has no proper name.
    pub fn collector(&self) -> Result<impl Collector + 'static, prometheus::Error> {
        let gauge = GaugeVec::new(
            Opts::new(
                "flickrhub_operator_certificate_expiry_timestamp_seconds",
                "When the certificate of a component ends, in seconds since 1970; ca is the authority of the hub.",
            ),
            &["namespace", "hub", "component"],
        )?;
        Ok(Told {
            ends: self.clone(),
            gauge,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HubId, Ends>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Told {
    ends: CertificateExpiry,
    gauge: GaugeVec,
}

impl Collector for Told {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let ends = self.ends.lock();
        self.gauge.reset();
        for ((namespace, hub), ends) in ends.iter() {
            for (component, end) in ends {
                let gauge = self
                    .gauge
                    .with_label_values(&[namespace.as_str(), hub.as_str(), *component]);
                gauge.set(end.as_duration().as_secs_f64());
            }
        }
        self.gauge.collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn the_ends_are_told_until_the_hub_is_gone() {
        let (expiry, registry) = (CertificateExpiry::default(), Registry::new());
        registry.register(Box::new(expiry.collector().unwrap())).unwrap();
        let told = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert_eq!(told(), "");
        let end = Timestamp::constant(1_800_000_000, 0);
        expiry.note("photos", "gallery", [("redis", end)].into());
        let line = "flickrhub_operator_certificate_expiry_timestamp_seconds\
            {component=\"redis\",hub=\"gallery\",namespace=\"photos\"} 1800000000";
        assert!(told().contains(line), "{}", told());
        expiry.note("photos", "gallery", Ends::new());
        assert_eq!(told(), "");
        expiry.note("photos", "gallery", [("redis", end)].into());
        expiry.forget("photos", "gallery");
        assert_eq!(told(), "");
    }
}
