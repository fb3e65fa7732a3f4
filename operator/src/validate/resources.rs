//! Requests and limits of a container: what the user wrote, over the defaults.

use super::ValidationError;
use crate::crd::{Amounts, Quantity, ResourcesSpec};

/// The defaults of a container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// Request and limit of CPU.
    pub(crate) cpu: (&'static str, &'static str),
    /// Request and limit of memory.
    pub(crate) memory: (&'static str, &'static str),
}

/// Requests and limits of a container; each request is at most its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerResources {
    /// Requested cores.
    pub cpu_request: Quantity,
    /// Most cores.
    pub cpu_limit: Quantity,
    /// Requested bytes.
    pub memory_request: Quantity,
    /// Most bytes.
    pub memory_limit: Quantity,
    /// Most bytes, as a number.
    pub memory_limit_bytes: u64,
}

impl Defaults {
    /// The user's amounts over these defaults. `field` is the path of the resources in the spec.
    ///
    /// # Errors
    /// When an amount cannot be read or a request is above its limit.
    pub(crate) fn with(
        self,
        spec: Option<&ResourcesSpec>,
        field: &str,
    ) -> Result<ContainerResources, ValidationError> {
        let none = Amounts::default();
        let requests = spec.and_then(|spec| spec.requests.as_ref()).unwrap_or(&none);
        let limits = spec.and_then(|spec| spec.limits.as_ref()).unwrap_or(&none);
        let (cpu_request, cpu_limit) =
            pair(self.cpu, requests.cpu.as_ref(), limits.cpu.as_ref(), field, "cpu")?;
        let (memory_request, memory_limit) = pair(
            self.memory,
            requests.memory.as_ref(),
            limits.memory.as_ref(),
            field,
            "memory",
        )?;
        let memory_limit_bytes = memory_limit.units().map_err(|source| ValidationError::Quantity {
            field: format!("{field}.limits.memory"),
            source,
        })?;
        Ok(ContainerResources {
            cpu_request,
            cpu_limit,
            memory_request,
            memory_limit,
            memory_limit_bytes,
        })
    }
}

/// A request and a limit: where only one is given, the default of the other gives way to it.
fn pair(
    defaults: (&str, &str),
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
    field: &str,
    resource: &'static str,
) -> Result<(Quantity, Quantity), ValidationError> {
    let nanos = |quantity: &Quantity, kind: &str| {
        quantity.nanos().map_err(|source| ValidationError::Quantity {
            field: format!("{field}.{kind}.{resource}"),
            source,
        })
    };
    let default_request = Quantity::new(defaults.0);
    let default_limit = Quantity::new(defaults.1);
    match (request, limit) {
        (None, None) => Ok((default_request, default_limit)),
        (Some(request), None) => {
            let raised = nanos(request, "requests")? > nanos(&default_limit, "limits")?;
            Ok((
                request.clone(),
                if raised { request.clone() } else { default_limit },
            ))
        }
        (None, Some(limit)) => {
            let lowered = nanos(limit, "limits")? < nanos(&default_request, "requests")?;
            Ok((
                if lowered { limit.clone() } else { default_request },
                limit.clone(),
            ))
        }
        (Some(request), Some(limit)) if nanos(request, "requests")? > nanos(limit, "limits")? => {
            Err(ValidationError::RequestAboveLimit {
                field: field.to_owned(),
                resource,
                request: request.to_string(),
                limit: limit.to_string(),
            })
        }
        (Some(request), Some(limit)) => Ok((request.clone(), limit.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        cpu: ("100m", "1"),
        memory: ("128Mi", "512Mi"),
    };

    fn memory(request: Option<&str>, limit: Option<&str>) -> Result<(String, String), String> {
        let amounts = |memory: Option<&str>| {
            Some(Amounts {
                cpu: None,
                memory: memory.map(Quantity::new),
            })
        };
        let spec = ResourcesSpec {
            requests: amounts(request),
            limits: amounts(limit),
        };
        DEFAULTS
            .with(Some(&spec), "redis.resources")
            .map(|r| (r.memory_request.to_string(), r.memory_limit.to_string()))
            .map_err(|error| error.to_string())
    }

    #[expect(clippy::unnecessary_wraps, reason = "what the code under test takes")]
    fn amounts(request: &str, limit: &str) -> Result<(String, String), String> {
        Ok((request.to_owned(), limit.to_owned()))
    }

    #[test]
    fn what_the_user_leaves_out_keeps_its_default() {
        assert_eq!(memory(None, None), amounts("128Mi", "512Mi"));
        assert_eq!(memory(Some("256Mi"), None), amounts("256Mi", "512Mi"));
        assert_eq!(memory(None, Some("2Gi")), amounts("128Mi", "2Gi"));
    }

    #[test]
    fn a_default_gives_way_to_what_the_user_wrote() {
        assert_eq!(memory(Some("1Gi"), None), amounts("1Gi", "1Gi"));
        assert_eq!(memory(None, Some("64Mi")), amounts("64Mi", "64Mi"));
    }

    #[test]
    fn a_request_above_its_limit_is_refused() {
        assert_eq!(
            memory(Some("2Gi"), Some("1Gi")),
            Err("redis.resources.requests.memory is 2Gi, more than limits.memory of 1Gi: raise the limit or lower the request.".to_owned())
        );
    }
}
