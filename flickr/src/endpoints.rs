//! Where Flickr listens.

use url::Url;

/// The addresses a client talks to. [`Endpoints::flickr`] gives the real ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// REST calls, `https://api.flickr.com/services/rest`.
    pub rest: Url,
    /// Uploads, `https://up.flickr.com/services/upload/`.
    pub upload: Url,
    /// Replacements, `https://up.flickr.com/services/replace/`.
    pub replace: Url,
    /// Request tokens, `https://www.flickr.com/services/oauth/request_token`.
    pub request_token: Url,
    /// The page where a user authorizes, `https://www.flickr.com/services/oauth/authorize`.
    pub authorize: Url,
    /// Access tokens, `https://www.flickr.com/services/oauth/access_token`.
    pub access_token: Url,
}

impl Endpoints {
    /// Flickr's own addresses, as its documents `auth.oauth`, `upload.api` and `replace.api` give them.
    ///
    /// # Errors
    /// None in practice: the addresses are constants, and a test parses them.
    pub fn flickr() -> Result<Self, url::ParseError> {
        Self::from_bases(
            &Url::parse("https://api.flickr.com/services/rest")?,
            &Url::parse("https://up.flickr.com/services/")?,
            &Url::parse("https://www.flickr.com/services/oauth/")?,
        )
    }

    /// Addresses from the REST address, the folder of `upload/` and `replace/`, and the folder of
    /// the three OAuth addresses. A folder may lack its final slash.
    ///
    /// # Errors
    /// When a base cannot carry a path, as `mailto:` cannot.
    pub fn from_bases(rest: &Url, uploads: &Url, oauth: &Url) -> Result<Self, url::ParseError> {
        let (uploads, oauth) = (folder(uploads), folder(oauth));
        Ok(Self {
            rest: rest.clone(),
            upload: uploads.join("upload/")?,
            replace: uploads.join("replace/")?,
            request_token: oauth.join("request_token")?,
            authorize: oauth.join("authorize")?,
            access_token: oauth.join("access_token")?,
        })
    }

    /// All addresses under one origin, laid out as Flickr lays them out: for a stand-in server.
    ///
    /// # Errors
    /// When `origin` cannot carry a path.
    pub fn under(origin: &Url) -> Result<Self, url::ParseError> {
        Self::from_bases(
            &origin.join("/services/rest")?,
            &origin.join("/services/")?,
            &origin.join("/services/oauth/")?,
        )
    }
}

/// `Url::join` replaces the last path segment unless the base ends with a slash.
fn folder(base: &Url) -> Url {
    let mut base = base.clone();
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    base
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn flickrs_own_addresses_are_the_documented_ones() {
        let flickr = Endpoints::flickr().unwrap();
        assert_eq!(flickr.rest.as_str(), "https://api.flickr.com/services/rest");
        assert_eq!(flickr.upload.as_str(), "https://up.flickr.com/services/upload/");
        assert_eq!(flickr.replace.as_str(), "https://up.flickr.com/services/replace/");
        assert_eq!(
            flickr.request_token.as_str(),
            "https://www.flickr.com/services/oauth/request_token"
        );
        assert_eq!(
            flickr.authorize.as_str(),
            "https://www.flickr.com/services/oauth/authorize"
        );
        assert_eq!(
            flickr.access_token.as_str(),
            "https://www.flickr.com/services/oauth/access_token"
        );
    }

    #[test]
    fn a_base_without_a_final_slash_means_the_same_folder() {
        let url = |text| Url::parse(text).unwrap();
        let with = Endpoints::from_bases(&url("http://a/rest"), &url("http://a/up/"), &url("http://a/o/"));
        let without = Endpoints::from_bases(&url("http://a/rest"), &url("http://a/up"), &url("http://a/o"));
        assert_eq!(with, without);
    }
}
