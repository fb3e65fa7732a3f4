//! What a request asks of the Kubernetes API, read from its method and address as its authoriser reads it.

use http::Method;

/// An object, or all of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The group; empty for the core group.
    pub(crate) group: String,
    /// The version.
    pub(crate) version: String,
    /// The resource in the plural.
    pub(crate) resource: String,
    /// The namespace; `None` for all, or where there is none.
    pub(crate) namespace: Option<String>,
    /// The object; `None` for all.
    pub(crate) name: Option<String>,
}

/// A request, understood.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What it is about.
    pub(crate) place: Place,
    /// The subresource.
    pub(crate) subresource: Option<String>,
    /// The verb.
    pub(crate) verb: &'static str,
    /// The labels that are selected.
    pub(crate) labels: Vec<(String, String)>,
    /// Whether nothing is to come of it.
    pub(crate) is_dry_run: bool,
}

impl Asked {
    /// Reads a request; `None` if it is about no resource.
    pub(crate) fn read(method: &Method, path: &str, query: &str) -> Option<Self> {
        let mut words = path.trim_matches('/').split('/').map(str::to_owned);
        let (group, version) = match words.next()?.as_str() {
            "api" => (String::new(), words.next()?),
            "apis" => (words.next()?, words.next()?),
            _ => return None,
        };
        let mut rest: Vec<String> = words.collect();
        let namespace = (rest.len() > 2 && rest[0] == "namespaces").then(|| {
            let namespace = rest.remove(1);
            rest.remove(0);
            namespace
        });
        let mut rest = rest.into_iter();
        let place = Place {
            group,
            version,
            resource: rest.next()?,
            namespace,
            name: rest.next(),
        };
        let parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let parameter = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, v)| v);
        let watches = parameter("watch").is_some_and(|value| value == "true" || value == "1");
        let verb = match *method {
            Method::GET if place.name.is_some() => "get",
            Method::GET if watches => "watch",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if place.name.is_some() => "delete",
            Method::DELETE => "deletecollection",
            _ => return None,
        };
        let selected = parameter("labelSelector").map(String::as_str).unwrap_or_default();
        let labels = selected.split(',').filter_map(|pair| pair.split_once('='));
        Some(Self {
            subresource: rest.next(),
            verb,
            is_dry_run: parameter("dryRun").is_some(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            place,
        })
    }

    /// The resource as a role names it.
    pub(crate) fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.place.resource),
            None => self.place.resource.clone(),
        }
    }
}
