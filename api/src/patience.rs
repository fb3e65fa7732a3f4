//! How long a client may take with what it sends and with what it is answered. One that is slow, by accident or on purpose,
//! holds a connection and what belongs to it, and no longer than this.

use std::time::Duration;

/// The time for each step in which it is the client that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the handshake of TLS, and then again for the headers of the first request.
    pub first_headers: Duration,
    /// For the headers of a later request, counted from the answer before. Longer than an ingress keeps an unused connection
    /// (60 s), so that it is never the server that closes one on which a request is already on its way.
    pub headers: Duration,
    /// For taking the answer, or a piece of it.
    pub answer: Duration,
    /// For the next piece of a body that is no photo.
    pub body_piece: Duration,
    /// For all of such a body. Shorter than the time limit of the request
    /// ([`TIME_LIMIT`](crate::middleware::time_limit::TIME_LIMIT)), so that a client whose body did not arrive is told so.
    pub body: Duration,
    /// For the next piece of a form with a photo.
    pub photo_piece: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_headers: Duration::from_secs(15),
            headers: Duration::from_secs(75),
            answer: Duration::from_secs(30),
            body_piece: Duration::from_secs(10),
            body: Duration::from_secs(25),
            photo_piece: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::time_limit::TIME_LIMIT;

    #[test]
    fn a_body_is_given_up_before_its_request_is() {
        let patience = Patience::default();
        assert!(patience.body_piece < patience.body && patience.body < TIME_LIMIT);
    }
}
