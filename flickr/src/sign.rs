//! What the end of a request tells about whether Flickr is there, for a circuit breaker.

use std::time::Duration;

use crate::error::{Failure, FlickrError};

/// Codes for "the service is not available": 105 and 106 are documented, 0 and 201 come with the same text.
const AWAY: [u32; 4] = [0, 105, 106, 201];

/// What the end of a request tells about Flickr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered, if only to refuse what was asked.
    There,
    /// It was not there, or said so.
    Away,
    /// It wants fewer requests of the application, and perhaps none for this long.
    Limited(Option<Duration>),
    /// None: the request failed on our side.
    Nothing,
}

impl FlickrError {
    /// What the failure tells about Flickr.
    pub fn sign(&self) -> Sign {
        match self.failure() {
            Failure::RateLimited { retry_after } => Sign::Limited(*retry_after),
            Failure::Connect | Failure::Interrupted { .. } | Failure::Http { status: 500.., .. } => {
                Sign::Away
            }
            Failure::Api(api) if AWAY.contains(&api.code) => Sign::Away,
            Failure::Api(_)
            | Failure::OAuth(_)
            | Failure::Http { .. }
            | Failure::Malformed { .. }
            | Failure::AnswerTooLarge { .. } => Sign::There,
            Failure::PhotoSource
            | Failure::PhotoLength { .. }
            | Failure::ReservedParameter { .. }
            | Failure::TokenRequired
            | Failure::Request => Sign::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{ApiFailure, Interruption},
        operation::Operation,
    };

    fn sign(failure: Failure) -> Sign {
        FlickrError::new(Operation::Upload, failure).sign()
    }

    fn http(status: u16) -> Failure {
        Failure::Http {
            status,
            retry_after: None,
        }
    }

    #[test]
    fn only_what_says_that_flickr_is_away_counts_against_it() {
        for there in [http(404), Failure::Api(ApiFailure::new(1, "Photo not found"))] {
            assert_eq!(sign(there.clone()), Sign::There, "{there:?}");
        }
        let lost = Failure::Interrupted {
            cause: Interruption::Timeout,
            sent: true,
        };
        let away = [
            http(500),
            http(503),
            lost,
            Failure::Connect,
            Failure::Api(ApiFailure::new(105, "Service currently unavailable")),
        ];
        for away in away {
            assert_eq!(sign(away.clone()), Sign::Away, "{away:?}");
        }
    }

    #[test]
    fn a_photo_that_cannot_be_read_says_nothing_about_flickr() {
        assert_eq!(sign(Failure::PhotoSource), Sign::Nothing);
    }

    #[test]
    fn a_limit_keeps_the_wait_that_flickr_asks_for() {
        let retry_after = Some(Duration::from_secs(9));
        assert_eq!(
            sign(Failure::RateLimited { retry_after }),
            Sign::Limited(retry_after)
        );
    }
}
