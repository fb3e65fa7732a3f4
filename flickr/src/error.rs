//! What can fail, and what may be done about it.

use std::{borrow::Cow, fmt, time::Duration};

use crate::{
    api_code, identifier::PhotoId, method::Effect, oauth_problem::OAuthProblem, operation::Operation,
};

/// What may be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing happened at Flickr, or it happening twice does no harm: send it again later.
    Retryable,
    /// The same request will fail again.
    Permanent,
    /// Flickr may have done it, and doing it twice would show: find out before sending it again.
    OutcomeUnknown,
}

/// A request that did not succeed.
///
/// Neither `Display` nor `Debug` shows credentials, request parameters or more of an answer than
/// Flickr's own error message.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {failure}")]
pub struct FlickrError {
    operation: Operation,
    failure: Failure,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Flickr answered `stat=fail`.
    #[error(transparent)]
    Api(ApiFailure),
    /// Flickr refused the signature, the token or the application's key.
    #[error("Flickr refused the authorization: {0}")]
    OAuth(OAuthProblem),
    /// Status 429: the application's budget (3,600 requests an hour) is spent, or Flickr defends
    /// itself.
    #[error("Flickr limits the rate of requests")]
    RateLimited {
        /// How long Flickr asks to wait.
        retry_after: Option<Duration>,
    },
    /// Another status than success, with a body that says nothing more.
    #[error("Flickr answered HTTP status {status}")]
    Http {
        /// The status code.
        status: u16,
        /// How long Flickr asks to wait.
        retry_after: Option<Duration>,
    },
    /// No connection came about (name, network, TLS), so that nothing was sent.
    #[error("no connection to Flickr")]
    Connect,
    /// The exchange broke off.
    #[error("the exchange with Flickr broke off: {cause}")]
    Interrupted {
        /// How.
        cause: Interruption,
        /// Whether Flickr may have the whole request.
        sent: bool,
    },
    /// The answer is not what Flickr documents.
    #[error("Flickr's answer is not the documented {expected}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
    },
    /// The answer was longer than the client reads.
    #[error("Flickr's answer is longer than {limit} bytes")]
    AnswerTooLarge {
        /// The longest answer read, in bytes.
        limit: usize,
    },
    /// The stream of the photo's bytes failed.
    #[error("the photo could not be read")]
    PhotoSource,
    /// The stream of the photo's bytes was not as long as declared.
    #[error("the photo was declared as {declared} bytes; {read} were read")]
    PhotoLength {
        /// The declared length in bytes.
        declared: u64,
        /// Bytes read when the difference showed.
        read: u64,
    },
    /// A parameter that belongs to the protocol and not to the caller.
    #[error("the parameter {name:?} belongs to the protocol")]
    ReservedParameter {
        /// The parameter's name.
        name: String,
    },
    /// The method needs a user's token, and none was given.
    #[error("the method needs a user who authorized the application")]
    TokenRequired,
    /// The request could not be built: a media type or address that is none.
    #[error("the request could not be built")]
    Request,
}

/// An answer with `stat=fail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Flickr answered error {code}: {message}")]
pub struct ApiFailure {
    /// The code that Flickr documents with the method.
    pub code: u32,
    /// Flickr's message, at most 200 characters of it.
    pub message: String,
    /// The photo that an upload with `dedup_check` duplicates (upload code 9).
    pub duplicate_of: Option<PhotoId>,
    /// How long Flickr asks to wait: with upload code 14, or by a `Retry-After` header.
    pub wait: Option<Duration>,
}

impl ApiFailure {
    /// A failure with a code and message alone.
    pub fn new(code: u32, message: &str) -> Self {
        Self {
            code,
            message: message.chars().filter(|c| !c.is_control()).take(200).collect(),
            duplicate_of: None,
            wait: None,
        }
    }
}

/// How an exchange broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// It took longer than the client waits.
    Timeout,
    /// The connection was lost.
    Connection,
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "it took too long",
            Self::Connection => "the connection was lost",
        })
    }
}

impl FlickrError {
    /// A failure of an operation.
    pub fn new(operation: Operation, failure: Failure) -> Self {
        Self { operation, failure }
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What went wrong.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Flickr's numeric error code, if Flickr gave one.
    pub fn code(&self) -> Option<u32> {
        match &self.failure {
            Failure::Api(api) => Some(api.code),
            _ => None,
        }
    }

    /// The photo that Flickr has already, where it refused an upload with `dedup_check` as a duplicate (code 9).
    pub fn duplicate_of(&self) -> Option<&PhotoId> {
        match (&self.failure, self.operation) {
            (Failure::Api(api), Operation::Upload) if api.code == 9 => api.duplicate_of.as_ref(),
            _ => None,
        }
    }

    /// What may be done about it.
    pub fn disposition(&self) -> Disposition {
        disposition(self.operation, &self.failure)
    }

    /// How long Flickr asks to wait before the next attempt; at most a day.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.failure {
            Failure::RateLimited { retry_after } | Failure::Http { retry_after, .. } => *retry_after,
            Failure::Api(api) => api.wait,
            _ => None,
        }
    }

    /// Whether Flickr says that what was asked for is so already, as `flickr.favorites.add` does of
    /// a favorite and `flickr.photos.delete` of a photo that is gone. After an attempt whose answer
    /// was lost, this is how success looks.
    pub fn is_already_done(&self) -> bool {
        self.code()
            .is_some_and(|code| api_code::is_already_done(self.operation, code))
    }

    /// Whether Flickr did what was asked for and says so by an error code, as
    /// `flickr.groups.pools.add` does of a photo that now awaits the approval of a moderated group.
    /// That is success at the first attempt too; [`FlickrError::is_already_done`] holds as well.
    pub fn is_done_by_this_call(&self) -> bool {
        self.code()
            .is_some_and(|code| api_code::is_done(self.operation, code))
    }

    /// Whether the user has to authorize the application (again, or for more).
    pub fn needs_authorization(&self) -> bool {
        match &self.failure {
            Failure::OAuth(problem) => problem.needs_authorization(),
            Failure::Api(api) => matches!(api.code, 98 | 99),
            Failure::TokenRequired => true,
            _ => false,
        }
    }

    /// A short stable name of the failure, fit for a metric label: one of some dozens of values
    /// plus Flickr's codes up to 999, such as `105`, `oauth_token_rejected`, `http_502`, `timeout`.
    pub fn label(&self) -> Cow<'static, str> {
        match &self.failure {
            Failure::Api(api) if api.code <= 999 => api.code.to_string().into(),
            Failure::Api(_) => "code_other".into(),
            Failure::OAuth(problem) => format!("oauth_{problem}").into(),
            Failure::RateLimited { .. } => "http_429".into(),
            Failure::Http { status, .. } => format!("http_{status}").into(),
            Failure::Connect => "connect".into(),
            Failure::Interrupted {
                cause: Interruption::Timeout,
                ..
            } => "timeout".into(),
            Failure::Interrupted {
                cause: Interruption::Connection,
                ..
            } => "connection_lost".into(),
            Failure::Malformed { .. } => "malformed_answer".into(),
            Failure::AnswerTooLarge { .. } => "answer_too_large".into(),
            Failure::PhotoSource => "photo_source".into(),
            Failure::PhotoLength { .. } => "photo_length".into(),
            Failure::ReservedParameter { .. } => "reserved_parameter".into(),
            Failure::TokenRequired => "token_required".into(),
            Failure::Request => "request".into(),
        }
    }
}

/// The rule behind [`FlickrError::disposition`].
fn disposition(operation: Operation, failure: &Failure) -> Disposition {
    use Disposition::{OutcomeUnknown, Permanent, Retryable};

    // Flickr may have acted on the request.
    let perhaps_done = match operation.effect() {
        Effect::Once => OutcomeUnknown,
        Effect::Read | Effect::Repeatable => Retryable,
    };
    let transient = |is_transient| if is_transient { Retryable } else { Permanent };

    match failure {
        Failure::Api(api) if api_code::is_outcome_unknown(operation, api.code) => perhaps_done,
        Failure::Api(api) => transient(api_code::is_transient(operation, api.code)),
        Failure::OAuth(problem) => transient(problem.is_transient()),
        // 408 says that the server never had the request whole. Whoever answers 503 and names a time
        // turned the request away; a bare 503 can as well come from a proxy that lost the server
        // behind it, which may have acted.
        Failure::RateLimited { .. }
        | Failure::Connect
        | Failure::PhotoSource
        | Failure::Interrupted { sent: false, .. }
        | Failure::Http { status: 408, .. }
        | Failure::Http {
            status: 503,
            retry_after: Some(_),
        } => Retryable,
        Failure::Http { status: 500.., .. }
        | Failure::Malformed { .. }
        | Failure::Interrupted { sent: true, .. } => perhaps_done,
        // The same request would be answered at the same length.
        Failure::AnswerTooLarge { .. } => match perhaps_done {
            Retryable => Permanent,
            other => other,
        },
        Failure::Http { .. }
        | Failure::PhotoLength { .. }
        | Failure::ReservedParameter { .. }
        | Failure::TokenRequired
        | Failure::Request => Permanent,
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
