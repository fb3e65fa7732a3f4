//! What Flickr's numeric error codes mean for a second attempt.
//!
//! Codes of 95 and above mean the same everywhere; lower ones belong to the method.

use crate::operation::Operation;

/// Codes that mean "not now" whatever was called. 105 and 106 are documented. 0 and 201 are not:
/// Flickr sends both with the text "Sorry, the Flickr API service is not currently available".
const TRANSIENT: [u32; 4] = [0, 105, 106, 201];

/// Codes of single operations whose documents describe a passing state.
const TRANSIENT_OF: [(&str, u32); 22] = [
    ("flickr.galleries.addPhoto", 5), // unable to add: nothing wrong with the photo
    ("flickr.galleries.create", 3),   // a problem creating it
    ("flickr.galleries.editMeta", 3), // failed, "please try again"
    ("flickr.photos.comments.addComment", 9), // posting too fast
    ("flickr.photos.geo.correctLocation", 4), // server error
    ("flickr.photos.geo.setLocation", 6), // server error
    ("flickr.photos.notes.add", 6),   // posting too fast
    ("flickr.photos.search", 10),     // search databases unavailable
    ("flickr.photos.transform.rotate", 3), // temporary failure
    ("flickr.photos.transform.rotate", 4), // service switched off
    ("flickr.photosets.comments.addComment", 9), // posting too fast
    ("flickr.places.placesForContacts", 1), // "not available at this time"
    ("flickr.places.placesForUser", 1), // "not available at this time"
    ("flickr.push.subscribe", 6),     // verification pending, "try again later"
    ("flickr.push.unsubscribe", 6),   // verification pending, "try again later"
    ("flickr.testimonials.addTestimonial", 2), // unable to save
    ("flickr.testimonials.approveTestimonial", 4), // failed to approve
    ("flickr.testimonials.deleteTestimonial", 4), // failed to delete
    ("flickr.testimonials.editTestimonial", 4), // unable to save
    ("replace", 3),                   // general upload failure
    ("upload", 3),                    // general upload failure
    ("upload", 14),                   // at capacity
];

/// Codes of single operations that fail after the change was made, or may have been.
const OUTCOME_UNKNOWN_OF: [(&str, u32); 2] = [
    ("flickr.blogs.postPhoto", 4), // the blog's API failed, perhaps with its answer only
    ("flickr.testimonials.addTestimonial", 3), // saved, and its id could not be read back
];

/// Codes that are a success: what was asked for is under way.
const DONE: [(&str, u32); 1] = [
    ("flickr.groups.pools.add", 6), // put into the pool's queue for approval
];

/// Codes that say that what was asked for is so already, or that what was to go is gone. After an
/// attempt whose answer was lost, they are how success looks.
const ALREADY: [(&str, u32); 20] = [
    ("flickr.favorites.add", 3),                    // already a favorite
    ("flickr.favorites.remove", 1),                 // not a favorite
    ("flickr.galleries.addPhoto", 8),               // already in the gallery
    ("flickr.groups.join", 4),                      // a member already
    ("flickr.groups.joinRequest", 4),               // a member already
    ("flickr.groups.joinRequest", 7),               // asked already
    ("flickr.groups.leave", 3),                     // not a member
    ("flickr.groups.pools.add", 3),                 // already in the pool
    ("flickr.groups.pools.add", 7),                 // in its queue for approval already
    ("flickr.groups.pools.remove", 2),              // not in the pool
    ("flickr.photos.comments.deleteComment", 2),    // no such comment
    ("flickr.photos.delete", 1),                    // no such photo of the caller's
    ("flickr.photos.geo.removeLocation", 2),        // no location
    ("flickr.photos.notes.delete", 1),              // no such note
    ("flickr.photosets.addPhoto", 3),               // already in the set
    ("flickr.photosets.comments.deleteComment", 2), // no such comment
    ("flickr.photosets.delete", 1),                 // no such set of the caller's
    ("flickr.photosets.removePhoto", 3),            // not in the set
    ("flickr.push.unsubscribe", 7),                 // no such subscription
    ("flickr.testimonials.approveTestimonial", 3),  // approved already
];

/// Whether the same request may succeed later.
pub(crate) fn is_transient(operation: Operation, code: u32) -> bool {
    TRANSIENT.contains(&code) || TRANSIENT_OF.contains(&(operation.name(), code))
}

/// Whether the operation may have had its effect in spite of the code.
pub(crate) fn is_outcome_unknown(operation: Operation, code: u32) -> bool {
    OUTCOME_UNKNOWN_OF.contains(&(operation.name(), code))
}

/// Whether the code says that this very call did what was asked for.
pub(crate) fn is_done(operation: Operation, code: u32) -> bool {
    DONE.contains(&(operation.name(), code))
}

/// Whether the code says that the wished state is reached, by this call or one before it.
pub(crate) fn is_already_done(operation: Operation, code: u32) -> bool {
    ALREADY.contains(&(operation.name(), code)) || is_done(operation, code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::method::Method;

    #[test]
    fn exceptions_name_real_methods_and_documented_codes() {
        let all = TRANSIENT_OF
            .iter()
            .chain(&OUTCOME_UNKNOWN_OF)
            .chain(&DONE)
            .chain(&ALREADY);
        for (name, code) in all {
            if !["upload", "replace"].contains(name) {
                let method = Method::lookup(name).unwrap();
                assert!(method.error_codes.contains(code), "{name} {code}");
            }
        }
    }
}
