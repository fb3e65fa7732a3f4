//! What Flickr's numeric error codes mean for a second attempt.
//!
//! Codes of 95 and above mean the same everywhere; lower ones belong to the method.

use crate::operation::Operation;

/// Codes that mean "not now" whatever was called. 105 and 106 are documented. 0 and 201 are not:
/// Flickr sends both with the text "Sorry, the Flickr API service is not currently available".
const TRANSIENT: [u32; 4] = [0, 105, 106, 201];

/// Codes of single operations whose documents describe a passing state.
const TRANSIENT_OF: [(&str, u32); 10] = [
    ("flickr.photos.comments.addComment", 9),    // posting too fast
    ("flickr.photos.geo.setLocation", 6),        // server error
    ("flickr.photos.notes.add", 6),              // posting too fast
    ("flickr.photos.search", 10),                // search databases unavailable
    ("flickr.photos.transform.rotate", 3),       // temporary failure
    ("flickr.photos.transform.rotate", 4),       // service switched off
    ("flickr.photosets.comments.addComment", 9), // posting too fast
    ("replace", 3),                              // general upload failure
    ("upload", 3),                               // general upload failure
    ("upload", 14),                              // at capacity
];

/// Codes that say that what was asked for is so already. After an attempt whose answer was lost,
/// they are how success looks.
const ALREADY: [(&str, u32); 5] = [
    ("flickr.favorites.add", 3),      // already a favorite
    ("flickr.groups.pools.add", 3),   // already in the pool
    ("flickr.groups.pools.add", 6),   // put into the pool's queue for approval
    ("flickr.groups.pools.add", 7),   // in that queue already
    ("flickr.photosets.addPhoto", 3), // already in the set
];

/// Whether the same request may succeed later.
pub(crate) fn is_transient(operation: Operation, code: u32) -> bool {
    TRANSIENT.contains(&code) || TRANSIENT_OF.contains(&(operation.name(), code))
}

/// Whether the code says that the wished state is reached already.
pub(crate) fn is_already_done(operation: Operation, code: u32) -> bool {
    ALREADY.contains(&(operation.name(), code))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::method::Method;

    #[test]
    fn exceptions_name_real_methods_and_documented_codes() {
        for (name, code) in TRANSIENT_OF.iter().chain(&ALREADY) {
            if !["upload", "replace"].contains(name) {
                let method = Method::lookup(name).unwrap();
                assert!(method.error_codes.contains(code), "{name} {code}");
            }
        }
    }
}
