//! The text fields of a multipart upload.

use std::collections::BTreeMap;

use flickrhub_job::callback::AddressPolicy;

use super::Findings;
use super::options::{self, JobOptions};
use super::user_id::user_id;
use crate::problem::Problem;

/// The longest text field in bytes.
pub const MAX_FIELD_BYTES: usize = 64 * 1024;

/// The name of the part that holds the photo.
pub const PHOTO_PART: &str = "photo";
/// The name of the part that names the user.
pub const USER_PART: &str = "user_id";

/// The fields that say how the job is to be run.
const JOB_FIELDS: [&str; 4] = ["user_id", "priority", "callback_url", "expires_in"];
/// The arguments of Flickr's upload, <https://www.flickr.com/services/api/upload.api.html>, and the values that each
/// takes; free text where none are listed. `async` is the hub's own business.
const UPLOAD_ARGUMENTS: [(&str, &[&str]); 9] = [
    ("title", &[]),
    ("description", &[]),
    ("tags", &[]),
    ("is_public", &["0", "1"]),
    ("is_friend", &["0", "1"]),
    ("is_family", &["0", "1"]),
    ("safety_level", &["1", "2", "3"]),
    ("content_type", &["1", "2", "3"]),
    ("hidden", &["1", "2"]),
];

/// What an upload does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadKind {
    /// A new photo.
    New,
    /// New content for a photo that exists.
    Replace {
        /// The photo.
        photo_id: String,
    },
}

impl UploadKind {
    /// A replacement of this photo.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] when it is no photo id.
    pub fn replace(photo_id: String) -> Result<Self, Problem> {
        if (1..=20).contains(&photo_id.len()) && photo_id.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self::Replace { photo_id })
        } else {
            Err(Problem::field("photo_id", "is no Flickr photo id: a number"))
        }
    }

    /// The values that Flickr takes for an argument, if this kind has it.
    fn argument(&self, name: &str) -> Option<&'static [&'static str]> {
        match self {
            Self::New => UPLOAD_ARGUMENTS
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, values)| *values),
            Self::Replace { .. } => None,
        }
    }
}

/// The text fields as they arrive.
#[derive(Debug)]
pub struct UploadFields {
    kind: UploadKind,
    fields: BTreeMap<String, String>,
}

/// An upload that can be made, provided that its user authorised it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidUpload {
    /// The Flickr user.
    pub user_id: String,
    /// Flickr's arguments.
    pub params: BTreeMap<String, String>,
    /// How it is to be run.
    pub options: JobOptions,
}

impl UploadFields {
    /// No fields yet.
    pub fn new(kind: UploadKind) -> Self {
        Self {
            kind,
            fields: BTreeMap::new(),
        }
    }

    /// Whether a text field of this name may come now.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] when this kind of upload has no such field, or it was there before.
    pub fn expect(&self, name: &str) -> Result<(), Problem> {
        if self.fields.contains_key(name) {
            Err(Problem::field(name, "is given twice"))
        } else if JOB_FIELDS.contains(&name) || self.kind.argument(name).is_some() {
            Ok(())
        } else {
            Err(Problem::field(name, "is not a field of this upload"))
        }
    }

    /// Keeps a field.
    pub fn insert(&mut self, name: String, value: String) {
        self.fields.insert(name, value);
    }

    /// The user, who must be named before the photo comes.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] when there is none yet, or it is none.
    pub fn user_id(&self) -> Result<String, Problem> {
        match self.fields.get(USER_PART) {
            Some(text) => user_id(text.clone()).map_err(|message| Problem::field(USER_PART, message)),
            None => Err(Problem::field(
                USER_PART,
                "is missing; it must come before the photo",
            )),
        }
    }

    /// Checks the fields together. `photo`: whether the form had a photo.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming every field that is wrong.
    pub fn validate(mut self, policy: &AddressPolicy, photo: bool) -> Result<ValidUpload, Problem> {
        let mut findings = Findings::default();
        if !photo {
            findings.note(PHOTO_PART, "is missing");
        }
        let given = self.fields.remove("user_id");
        let user_id = findings
            .required("user_id", given)
            .and_then(|text| findings.check("user_id", user_id(text)));
        let priority = self
            .fields
            .remove("priority")
            .and_then(|text| findings.check("priority", options::priority(&text)));
        let callback_url = self
            .fields
            .remove("callback_url")
            .and_then(|text| findings.check("callback_url", options::callback_url(&text, policy)));
        let expires_in = self.fields.remove("expires_in").and_then(|text| {
            let seconds = text.parse().map_err(|_| "is no number of seconds".to_owned());
            findings.check("expires_in", seconds.and_then(options::expires_in))
        });
        for (name, value) in &self.fields {
            let values = self.kind.argument(name).unwrap_or_default();
            if !values.is_empty() && !values.contains(&value.as_str()) {
                findings.note(name, format!("is one of {}", values.join(", ")));
            }
        }
        let mut params = self.fields;
        if let UploadKind::Replace { photo_id } = self.kind {
            params.insert("photo_id".to_owned(), photo_id);
        }
        findings.conclude(user_id.map(|user_id| ValidUpload {
            user_id,
            params,
            options: JobOptions {
                priority: priority.unwrap_or_default(),
                callback_url,
                expires_in,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::model::Priority;

    use super::*;

    fn validate(kind: UploadKind, fields: &[(&str, &str)]) -> Result<ValidUpload, Problem> {
        let mut form = UploadFields::new(kind);
        for (name, value) in fields {
            form.expect(name)?;
            form.insert((*name).to_owned(), (*value).to_owned());
        }
        form.validate(&AddressPolicy::new(Vec::new()), true)
    }

    fn wrong_fields(kind: UploadKind, fields: &[(&str, &str)]) -> Vec<String> {
        let errors = validate(kind, fields).map_or_else(|problem| problem.errors(), |_| Vec::new());
        errors.into_iter().map(|error| error.field).collect()
    }

    const USER: (&str, &str) = ("user_id", "12037949754@N01");

    #[test]
    fn fields_of_the_job_and_arguments_of_flickr_are_told_apart() {
        let fields = [
            USER,
            ("title", "Dusk"),
            ("is_public", "0"),
            ("priority", "low"),
            ("expires_in", "60"),
        ];
        let upload = validate(UploadKind::New, &fields).unwrap_or_else(|problem| panic!("{problem:?}"));
        let params: Vec<_> = upload
            .params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(params, [("is_public", "0"), ("title", "Dusk")]);
        assert_eq!(upload.options.priority, Priority::Low);
    }

    #[test]
    fn a_replacement_names_its_photo_and_takes_no_other_argument() {
        let kind = || UploadKind::replace("53000000001".to_owned()).unwrap_or(UploadKind::New);
        let upload = validate(kind(), &[USER]).unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(
            upload.params.get("photo_id").map(String::as_str),
            Some("53000000001")
        );
        assert_eq!(wrong_fields(kind(), &[USER, ("title", "Dusk")]), ["title"]);
        for photo_id in ["", "abc", "1;2", "123456789012345678901"] {
            assert!(UploadKind::replace(photo_id.to_owned()).is_err(), "{photo_id}");
        }
    }

    #[test]
    fn the_user_is_known_before_the_photo_comes() {
        let mut form = UploadFields::new(UploadKind::New);
        let fields = |user: Result<String, Problem>| {
            let errors = user.map_or_else(|problem| problem.errors(), |_| Vec::new());
            errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(fields(form.user_id()), ["user_id"]);
        form.insert("user_id".to_owned(), "me".to_owned());
        assert_eq!(fields(form.user_id()), ["user_id"]);
        form.insert("user_id".to_owned(), USER.1.to_owned());
        assert_eq!(form.user_id(), Ok(USER.1.to_owned()));
    }

    #[test]
    fn a_form_without_a_photo_is_refused() {
        let problem = UploadFields::new(UploadKind::New).validate(&AddressPolicy::new(Vec::new()), false);
        let fields: Vec<_> = problem.map_or_else(|problem| problem.errors(), |_| Vec::new());
        let fields: Vec<_> = fields.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["photo", "user_id"]);
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (fields, wrong) in [
            (vec![], vec!["user_id"]),
            (vec![("user_id", "me")], vec!["user_id"]),
            (vec![USER, USER], vec!["user_id"]),
            (vec![USER, ("is_public", "yes")], vec!["is_public"]),
            (vec![USER, ("safety_level", "4")], vec!["safety_level"]),
            (vec![USER, ("async", "0")], vec!["async"]),
            (
                vec![USER, ("priority", "urgent"), ("expires_in", "soon")],
                vec!["priority", "expires_in"],
            ),
            (
                vec![USER, ("callback_url", "https://127.0.0.1")],
                vec!["callback_url"],
            ),
        ] {
            assert_eq!(wrong_fields(UploadKind::New, &fields), wrong, "{fields:?}");
        }
    }
}
