//! The Flickr protocol: OAuth 1.0a, REST calls, uploads, replacements, tickets and error codes.
//!
//! This crate knows nothing of jobs, queues or users of the hub. It sends one request, reads one
//! answer, and says of every failure whether it may be sent again ([`FlickrError::disposition`]).
//!
//! | part | holds |
//! | --- | --- |
//! | [`oauth1`] | RFC 5849 request signing |
//! | [`oauth_flow`] | request token, authorization address, access token, what a token allows |
//! | [`method`] | the table of all API methods |
//! | [`client`] | the HTTP client: calls, uploads, replacements, tickets |
//! | [`answer`] | reading what Flickr answers |
//! | [`error`] | what can fail, and what may be done about it |

pub mod answer;
mod api_code;
pub mod client;
mod credentials;
mod endpoints;
pub mod error;
mod exchange;
mod identifier;
pub mod method;
pub mod oauth1;
pub mod oauth_flow;
mod oauth_problem;
mod operation;
mod photo;
mod retry_after;
mod sign;
mod ticket;
mod trace;

pub use client::{ClientError, FlickrClient, Timeouts};
pub use credentials::{AppCredentials, UserToken};
pub use endpoints::Endpoints;
pub use error::{ApiFailure, Disposition, Failure, FlickrError, Interruption};
pub use identifier::{PhotoId, TicketId};
pub use method::{Access, Effect, Method, Permission};
pub use oauth_flow::{AccessGrant, RequestToken, TokenInfo};
pub use oauth_problem::OAuthProblem;
pub use operation::Operation;
pub use photo::{PhotoBody, Uploaded};
pub use sign::Sign;
pub use ticket::TicketState;
pub use trace::TraceHeaders;
