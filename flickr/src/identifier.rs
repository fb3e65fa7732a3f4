//! Identifiers that Flickr hands out.

use std::fmt;

/// The id of a photo or video. Opaque text: Flickr's ids have outgrown 32 bits before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhotoId(pub String);

/// The id of an asynchronous upload (Flickr document `upload.async`). It is not a photo id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TicketId(pub String);

impl PhotoId {
    /// The id as Flickr wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TicketId {
    /// The id as Flickr wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhotoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
