//! `spec.flickr.breaker`: when requests to Flickr stop because it does not answer. A change takes effect without a restart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// When requests to Flickr stop because it does not answer, by each application and each of Flickr's hosts. A change restarts
/// nothing; it takes effect within about two minutes, and a circuit that is open stays so for as long as it was opened for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("self.longestOpenSeconds >= self.openSeconds", "longestOpenSeconds must not be less than openSeconds, with which circuits open the first time; raise it or lower openSeconds"),
])))]
pub struct BreakerSpec {
    /// Seconds over which failures are counted.
    #[schemars(range(min = 1, max = 3600))]
    pub window_seconds: u32,
    /// Requests within the window below which no share of failures opens the circuit.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// The share of failures, in percent, from which on it opens.
    #[schemars(range(min = 1, max = 100))]
    pub failure_percent: u32,
    /// Seconds for which it opens the first time; twice as many each time that the probe fails.
    #[schemars(range(min = 1, max = 3600))]
    pub open_seconds: u32,
    /// Most seconds for which it opens by itself. Flickr may ask for more.
    #[schemars(range(min = 1, max = 86_400))]
    pub longest_open_seconds: u32,
    /// Seconds after which a probe that was not heard of is given up and another one sent.
    #[schemars(range(min = 1, max = 3600))]
    pub probe_lease_seconds: u32,
}

impl Default for BreakerSpec {
    fn default() -> Self {
        Self {
            window_seconds: 30,
            min_requests: 20,
            failure_percent: 50,
            open_seconds: 10,
            longest_open_seconds: 300,
            probe_lease_seconds: 60,
        }
    }
}
