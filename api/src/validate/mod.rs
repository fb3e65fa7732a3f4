//! From what a client sent to what the hub can run: pure functions that either give a type whose values are all good,
//! or name every field that is not.

mod argument;
mod audit;
mod batch;
mod callbacks;
mod dead_letters;
mod file_name;
mod invalidation;
mod job;
mod list;
mod media;
mod oauth;
mod oauth_callback;
mod options;
mod upload;
mod user_id;

pub use argument::Argument;
pub use audit::AuditQuery;
pub use batch::{BatchItem, BatchSubmission, MAX_BATCH};
pub use callbacks::{DeliveryQuery, EnableEndpoint, EndpointQuery, RotateSecret};
pub use dead_letters::{BulkReplay, DeadLettersQuery};
pub use file_name::file_name;
pub use invalidation::InvalidationQuery;
pub use job::{JobSubmission, ValidJob};
pub use list::ListQuery;
pub use media::{Media, SNIFF_BYTES, check_declared};
pub use oauth::{StartAuthorisation, ValidStart};
pub use oauth_callback::CallbackQuery;
pub use options::JobOptions;
pub use upload::{MAX_FIELD_BYTES, PHOTO_PART, USER_PART, UploadFields, UploadKind, ValidUpload};

use std::borrow::Cow;
use std::fmt::Display;

use url::form_urlencoded;

use crate::problem::{FieldError, Problem};

/// The most findings that are told: a person reads no more, and a body can hold a million wrong fields.
const MAX_FINDINGS: usize = 20;

/// Collects what is wrong with a request, so that its sender learns of everything at once, up to [`MAX_FINDINGS`].
#[derive(Debug, Default)]
struct Findings(Vec<FieldError>);

impl Findings {
    /// Notes that a field is wrong.
    fn note(&mut self, field: impl AsRef<str>, message: impl Display) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(FieldError::new(field, message.to_string()));
        }
    }

    /// The value of a field, or a note of what is wrong with it.
    fn check<T, E: Display>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|message| self.note(field, message)).ok()
    }

    /// Hands each parameter of a query to `take`, which says whether the route has one of that name; notes those that it has
    /// not, and those that are given twice. `names`: all that there are, for the message. How many were taken.
    fn each_parameter(
        &mut self,
        query: &str,
        names: &str,
        mut take: impl FnMut(&str, Cow<'_, str>, &mut Self) -> bool,
    ) -> usize {
        let mut taken = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if taken.contains(&name) {
                self.note(name, "is given twice");
            } else if take(&name, value, self) {
                taken.push(name);
            } else {
                self.note(
                    name,
                    format!("is not a parameter of this route; it takes {names}"),
                );
            }
        }
        taken.len()
    }

    /// The value of a field that must be there.
    fn required<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.note(field, "is missing");
        }
        value
    }

    /// `value`, if nothing was noted. Something was noted wherever a part of `value` is missing.
    fn conclude<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Problem::InvalidRequest(self.0)),
        }
    }
}
