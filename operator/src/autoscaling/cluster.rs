//! What of the cluster decides by what workers are scaled: who serves external metrics, and whether KEDA is there.
//!
//! It hardly ever changes and is the same for every hub, so it is asked at most every [`KEPT`] seconds, and what was known
//! last holds while the API server does not answer.

use std::time::{Duration, Instant};

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{Api, Client};
use tokio::sync::Mutex;

use crate::external_metrics::{self, ServiceAddress};

/// For how long an answer holds.
const KEPT: Duration = Duration::from_secs(30);
/// The group and version of KEDA's kinds.
const KEDA: &str = "keda.sh/v1alpha1";

/// What of the cluster decides by what workers are scaled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the operator is to serve external metrics.
    pub served: bool,
    /// The other adapter that serves external metrics, as `namespace/service`; `None` if there is none.
    pub other_adapter: Option<String>,
    /// Whether the cluster knows the kinds of KEDA.
    pub keda: bool,
}

/// The view of the cluster of one operator process.
pub struct ClusterView {
    /// Where the operator serves external metrics; `None` if it does not.
    service: Option<ServiceAddress>,
    known: Mutex<Option<(Instant, Facts)>>,
}

impl ClusterView {
    /// The view of an operator that serves external metrics at `service`.
    pub fn new(service: Option<ServiceAddress>) -> Self {
        Self {
            service,
            known: Mutex::new(None),
        }
    }

    /// What is known, at most half a minute old while the API server answers.
    ///
    /// # Errors
    /// When the API server does not answer and never did.
    pub async fn facts(&self, client: &Client) -> Result<Facts, kube::Error> {
        let mut known = self.known.lock().await;
        if let Some((_, facts)) = known.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(facts.clone());
        }
        match (self.ask(client).await, known.as_mut()) {
            (Ok(facts), _) => {
                *known = Some((Instant::now(), facts.clone()));
                Ok(facts)
            }
            (Err(error), Some((at, facts))) => {
                tracing::warn!(%error, "cannot ask who serves external metrics: what was known holds");
                *at = Instant::now();
                Ok(facts.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn ask(&self, client: &Client) -> Result<Facts, kube::Error> {
        let services: Api<APIService> = Api::all(client.clone());
        let registered = services.get_opt(&external_metrics::api_service_name()).await?;
        let other = registered.and_then(|registered| other_adapter(&registered, self.service.as_ref()));
        Ok(Facts {
            served: self.service.is_some(),
            other_adapter: other,
            keda: knows_keda(client).await?,
        })
    }
}

/// The adapter that an `APIService` names, unless it is the operator itself.
pub fn other_adapter(registered: &APIService, own: Option<&ServiceAddress>) -> Option<String> {
    let service = registered.spec.as_ref()?.service.as_ref()?;
    let address = ServiceAddress {
        namespace: service.namespace.clone().unwrap_or_default(),
        name: service.name.clone().unwrap_or_default(),
    };
    (own != Some(&address)).then(|| address.to_string())
}

async fn knows_keda(client: &Client) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(KEDA).await {
        Ok(list) => Ok(list
            .resources
            .iter()
            .any(|resource| resource.kind == "ScaledObject")),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIServiceSpec, ServiceReference};

    use super::*;

    fn registered(namespace: &str, name: &str) -> APIService {
        APIService {
            spec: Some(APIServiceSpec {
                service: Some(ServiceReference {
                    namespace: Some(namespace.to_owned()),
                    name: Some(name.to_owned()),
                    ..ServiceReference::default()
                }),
                ..APIServiceSpec::default()
            }),
            ..APIService::default()
        }
    }

    #[test]
    fn an_adapter_is_another_one_unless_it_is_the_operator() {
        let own = ServiceAddress {
            namespace: "flickrhub-system".to_owned(),
            name: "flickrhub-operator".to_owned(),
        };
        let ours = registered("flickrhub-system", "flickrhub-operator");
        assert_eq!(other_adapter(&ours, Some(&own)), None);
        assert_eq!(
            other_adapter(&ours, None).as_deref(),
            Some("flickrhub-system/flickrhub-operator"),
            "this operator serves nothing, so another one does"
        );
        let keda = registered("keda", "keda-operator-metrics-apiserver");
        assert_eq!(
            other_adapter(&keda, Some(&own)).as_deref(),
            Some("keda/keda-operator-metrics-apiserver")
        );
        assert_eq!(other_adapter(&APIService::default(), Some(&own)), None);
    }
}
