//! A call as Flickr sees it: parameters, and who makes it.

use std::{
    collections::BTreeMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::body::Bytes;
use http::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    request::Parts,
};
use url::form_urlencoded;

use crate::{
    answer::{Answer, Fail, Problem},
    nonce::Refusal,
    signature,
    user::{Account, Permission},
    world::World,
};

/// Characters of an argument that the log keeps.
const LONGEST_LOGGED: usize = 100;

/// A request's parts and all its parameters, decoded, from wherever they came. `Debug` does not show
/// the parameters.
pub(crate) struct Call {
    http_method: String,
    /// Scheme, authority and path, as the signature covers them.
    url: String,
    pub(crate) path: String,
    pub(crate) params: Vec<(String, String)>,
    /// Whether the `Authorization` header was malformed.
    malformed: bool,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("http_method", &self.http_method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The user and what the token may do; absent when the application calls for itself.
    pub(crate) user: Option<(Account, Permission)>,
}

impl Caller {
    /// The user, if the token may do that much; otherwise what Flickr answers.
    pub(crate) fn require(&self, needed: Permission) -> Result<&Account, Fail> {
        match &self.user {
            Some((account, granted)) if *granted >= needed => Ok(account),
            Some((_, granted)) => Err(insufficient(needed, *granted)),
            None => Err(insufficient(needed, Permission::None)),
        }
    }

    /// The user's nsid, if there is a user.
    pub(crate) fn nsid(&self) -> Option<&str> {
        self.user.as_ref().map(|(account, _)| account.nsid.as_str())
    }
}

fn insufficient(needed: Permission, granted: Permission) -> Fail {
    let (needed, granted) = (needed.as_str(), granted.as_str());
    Fail::new(
        99,
        format!("Insufficient permissions. Method requires {needed} privileges; {granted} granted."),
    )
}

impl Call {
    /// A call from a request's head; parameters of the body are added by the next two functions.
    pub(crate) fn new(parts: &Parts) -> Self {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let (mut params, malformed) = match header.and_then(signature::header_parameters) {
            Some(Ok(params)) => (params, false),
            Some(Err(_)) => (Vec::new(), true),
            None => (Vec::new(), false),
        };
        params.extend(decode_form(parts.uri.query().unwrap_or_default().as_bytes()));
        Self {
            http_method: parts.method.as_str().to_owned(),
            url: signed_url(&parts.headers, &parts.uri),
            path: parts.uri.path().to_owned(),
            params,
            malformed,
        }
    }

    /// Adds the parameters of a body that says of itself that it is form-encoded; a signature covers
    /// no other (RFC 5849 section 3.4.1.3.1).
    pub(crate) fn add_form(&mut self, headers: &HeaderMap, body: &Bytes) {
        if is_form(headers) {
            self.params.extend(decode_form(body));
        }
    }

    /// Adds a text field of a multipart body.
    pub(crate) fn add_field(&mut self, name: String, value: String) {
        self.params.push((name, value));
    }

    /// The first parameter of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// What the caller chose, for the log: what signs the call and what every call has is left out.
    pub(crate) fn arguments(&self) -> BTreeMap<String, String> {
        const OF_EVERY_CALL: [&str; 4] = ["api_key", "format", "method", "nojsoncallback"];
        let chosen = self
            .params
            .iter()
            .filter(|(name, _)| !name.starts_with("oauth_") && !OF_EVERY_CALL.contains(&name.as_str()));
        chosen
            .map(|(name, value)| (name.clone(), value.chars().take(LONGEST_LOGGED).collect()))
            .collect()
    }

    /// A parameter that a method cannot do without.
    pub(crate) fn require(&self, name: &str) -> Result<&str, Fail> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Fail::new(1, format!("Required argument missing: {name}")))
    }

    /// The application's key, by either of its names.
    pub(crate) fn consumer_key(&self) -> Option<&str> {
        self.get("oauth_consumer_key").or_else(|| self.get("api_key"))
    }

    /// The account behind the token that is given, verified or not.
    pub(crate) fn claimed_account(&self, world: &World) -> Option<Account> {
        let state = world.state();
        let token = state.users.access_tokens.get(self.get("oauth_token")?)?;
        state.users.by_nsid(&token.nsid).cloned()
    }

    /// Who calls, with an access token or none.
    pub(crate) fn authenticate(&self, world: &World) -> Result<Caller, Answer> {
        if self.malformed {
            return Err(Problem::new("parameter_rejected").into());
        }
        if self.get("oauth_signature").is_none() {
            return self.unsigned(world);
        }
        let (secret, user) = match self.get("oauth_token").filter(|token| !token.is_empty()) {
            None => (String::new(), None),
            Some(name) => {
                let state = world.state();
                let known = state.users.access_tokens.get(name).filter(|token| {
                    token
                        .consumer_key
                        .as_deref()
                        .is_none_or(|key| Some(key) == self.consumer_key())
                });
                let token = known.ok_or_else(|| Answer::from(Problem::new("token_rejected")))?;
                let account = state.users.by_nsid(&token.nsid).cloned();
                (
                    token.secret.clone(),
                    account.map(|account| (account, token.perms)),
                )
            }
        };
        self.verify(world, &secret)?;
        Ok(Caller { user })
    }

    /// An unsigned call can be made with a known key, for what needs no login.
    fn unsigned(&self, world: &World) -> Result<Caller, Answer> {
        match self.get("api_key") {
            Some(key) if world.settings.apps.contains_key(key) => Ok(Caller { user: None }),
            _ => Err(Fail::new(100, "Invalid API Key (Key has invalid format)").into()),
        }
    }

    /// Checks key, method, timestamp, nonce and signature; gives the key.
    pub(crate) fn verify(&self, world: &World, token_secret: &str) -> Result<String, Answer> {
        let need = |name: &str| self.get(name).ok_or_else(|| Problem::new("parameter_absent"));
        let key = need("oauth_consumer_key")?;
        let Some(client_secret) = world.settings.apps.get(key) else {
            return Err(Problem::new("consumer_key_unknown").into());
        };
        if need("oauth_signature_method")? != "HMAC-SHA1" {
            return Err(Problem::new("signature_method_rejected").into());
        }
        if self.get("oauth_version").is_some_and(|version| version != "1.0") {
            return Err(Problem::new("version_rejected").into());
        }
        let signature = need("oauth_signature")?;
        if !signature::verify(
            signature,
            &self.http_method,
            &self.url,
            &self.params,
            client_secret,
            token_secret,
        ) {
            return Err(self.invalid_signature().into());
        }
        // Only a nonce under a good signature is spent: otherwise anyone could spend it.
        let timestamp = need("oauth_timestamp")?
            .parse()
            .map_err(|_| Problem::new("timestamp_refused"))?;
        let owner = format!("{key}\n{}", self.get("oauth_token").unwrap_or_default());
        let nonce = need("oauth_nonce")?;
        match world
            .state()
            .nonces
            .take(&owner, nonce, timestamp, unix_seconds())
        {
            Ok(()) => Ok(key.to_owned()),
            Err(Refusal::Timestamp) => Err(Problem::new("timestamp_refused").into()),
            Err(Refusal::Used) => Err(Problem::new("nonce_used").into()),
        }
    }

    fn invalid_signature(&self) -> Problem {
        let base = signature::base_string(&self.http_method, &self.url, &self.params);
        Problem {
            problem: "signature_invalid".into(),
            base_string: Some(base),
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| {
            media_type
                .trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

fn decode_form(encoded: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(encoded).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// The base string URI (RFC 5849 section 3.4.1.2). Behind a proxy that ends TLS, the scheme is the
/// one that it tells.
fn signed_url(headers: &HeaderMap, uri: &Uri) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = text("x-forwarded-proto").unwrap_or("http");
    let host = text(HOST.as_str()).unwrap_or_default().to_ascii_lowercase();
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = host.strip_suffix(default_port).unwrap_or(&host);
    format!("{scheme}://{authority}{}", uri.path())
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_a_form_has_parameters() {
        for (media_type, form) in [
            (Some("application/x-www-form-urlencoded"), true),
            (Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"), true),
            (Some("text/plain"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(media_type) = media_type {
                headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
            }
            assert_eq!(is_form(&headers), form, "{media_type:?}");
        }
    }

    #[test]
    fn the_signed_address_is_lower_case_without_default_port() {
        let url = |host: &str, scheme: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(scheme) = scheme {
                headers.insert("x-forwarded-proto", scheme.parse().unwrap());
            }
            signed_url(&headers, &"/services/rest?x=1".parse().unwrap())
        };
        assert_eq!(url("Mock:8080", None), "http://mock:8080/services/rest");
        assert_eq!(url("mock:80", None), "http://mock/services/rest");
        assert_eq!(url("mock:443", Some("https")), "https://mock/services/rest");
    }
}
