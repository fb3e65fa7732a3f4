//! What was being done when something failed.

use std::fmt;

use crate::method::{Effect, Method};

/// One kind of request to Flickr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A REST call.
    Call(&'static Method),
    /// A new photo.
    Upload,
    /// New content for a photo.
    Replace,
    /// The first step of the OAuth flow.
    RequestToken,
    /// The last step of the OAuth flow.
    AccessToken,
}

impl Operation {
    /// What sending the same request twice does.
    ///
    /// A second upload makes a second photo; a second replacement leaves the photo as the first
    /// left it. A request token buys one access token only.
    pub fn effect(self) -> Effect {
        match self {
            Self::Call(method) => method.effect,
            Self::Upload | Self::AccessToken => Effect::Once,
            Self::Replace | Self::RequestToken => Effect::Repeatable,
        }
    }

    /// A stable name: the method's, or `upload`, `replace`, `request_token`, `access_token`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call(method) => method.name,
            Self::Upload => "upload",
            Self::Replace => "replace",
            Self::RequestToken => "request_token",
            Self::AccessToken => "access_token",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
