//! Reading what Flickr answers.
//!
//! Flickr answers in four forms: JSON for REST calls, XML for uploads, form-encoded text for the
//! OAuth flow and for OAuth problems of any request, and HTML from the servers in front of it. All
//! functions here are pure, and take whatever comes.

use std::{fmt, time::Duration};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use serde_json::Value;
use url::form_urlencoded;

use crate::{
    error::{ApiFailure, Failure},
    identifier::{PhotoId, TicketId},
    oauth_problem::OAuthProblem,
    photo::Uploaded,
};

/// An answer as it came.
#[derive(Clone, Copy)]
pub struct RawAnswer<'a> {
    /// The HTTP status code.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: &'a [u8],
}

/// The body, which can hold a token or repeat the request, is not shown.
impl fmt::Debug for RawAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAnswer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl RawAnswer<'_> {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the answer says when its body is not of the `expected` form.
    fn failure(&self, expected: &'static str) -> Failure {
        if let Some(problem) = self.oauth_problem() {
            return Failure::OAuth(problem);
        }
        // During outages Flickr has sent this text with status 400 and no envelope.
        if contains(self.body, b"API service is not currently available") {
            return Failure::Api(ApiFailure {
                wait: self.retry_after,
                ..ApiFailure::new(0, "The Flickr API is not currently available.")
            });
        }
        if self.is_success() {
            return Failure::Malformed { expected };
        }
        Failure::Http {
            status: self.status,
            retry_after: self.retry_after,
        }
    }

    /// The `oauth_problem` of a form-encoded body. The rest of such a body, `debug_sbs`, repeats the
    /// whole request and is not looked at.
    fn oauth_problem(&self) -> Option<OAuthProblem> {
        if matches!(self.body.trim_ascii_start().first(), None | Some(b'<' | b'{')) {
            return None;
        }
        form_urlencoded::parse(self.body.trim_ascii())
            .find(|(name, _)| name == "oauth_problem")
            .map(|(_, value)| OAuthProblem::from_value(&value))
    }

    fn refuse_rate_limit(&self) -> Result<(), Failure> {
        match self.status {
            429 => Err(Failure::RateLimited {
                retry_after: self.retry_after,
            }),
            _ => Ok(()),
        }
    }
}

/// The JSON object of a REST call's answer, with its `stat` member.
///
/// # Errors
/// [`Failure::Api`] for `stat=fail`; [`Failure::OAuth`], [`Failure::RateLimited`] or
/// [`Failure::Http`] for the other forms; [`Failure::Malformed`] for a success that is none of them.
pub fn rest(answer: RawAnswer<'_>) -> Result<Value, Failure> {
    const EXPECTED: &str = "JSON object";
    answer.refuse_rate_limit()?;
    let Ok(value) = serde_json::from_slice::<Value>(answer.body) else {
        return Err(answer.failure(EXPECTED));
    };
    match value.get("stat").and_then(Value::as_str) {
        Some("ok") if answer.is_success() => Ok(value),
        Some("fail") => match value.get("code").and_then(number) {
            Some(code) => {
                let message = value.get("message").and_then(Value::as_str).unwrap_or_default();
                Err(Failure::Api(ApiFailure {
                    wait: answer.retry_after,
                    ..ApiFailure::new(code, message)
                }))
            }
            None => Err(Failure::Malformed { expected: EXPECTED }),
        },
        _ => Err(answer.failure(EXPECTED)),
    }
}

/// Flickr writes codes as numbers in most answers and as strings in some.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64()?.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The photo or ticket of an upload's or replacement's answer.
///
/// # Errors
/// As [`rest`], with XML for JSON.
pub fn upload(answer: RawAnswer<'_>) -> Result<Uploaded, Failure> {
    const EXPECTED: &str = "XML <rsp>";
    answer.refuse_rate_limit()?;
    let Some(rsp) = std::str::from_utf8(answer.body).ok().and_then(Rsp::read) else {
        return Err(answer.failure(EXPECTED));
    };
    match rsp.stat.as_str() {
        "ok" if answer.is_success() => {
            let photo = rsp.value("photoid").map(|id| Uploaded::Photo(PhotoId(id)));
            let ticket = rsp.value("ticketid").map(|id| Uploaded::Ticket(TicketId(id)));
            ticket.or(photo).ok_or(Failure::Malformed { expected: EXPECTED })
        }
        "fail" => match rsp.value("code").and_then(|code| code.parse().ok()) {
            Some(code) => Err(Failure::Api(ApiFailure {
                duplicate_of: rsp.value("duplicate_photo_id").map(PhotoId),
                wait: rsp
                    .value("non_pro_desktop_upload_wait_time")
                    .and_then(|seconds| seconds.parse().ok())
                    .map(|seconds: u64| Duration::from_secs(seconds.min(86_400)))
                    .or(answer.retry_after),
                ..ApiFailure::new(code, &rsp.value("msg").unwrap_or_default())
            })),
            None => Err(Failure::Malformed { expected: EXPECTED }),
        },
        _ => Err(answer.failure(EXPECTED)),
    }
}

/// The named fields of a form-encoded answer of the OAuth flow, in the order asked.
///
/// # Errors
/// As [`rest`], with form-encoded text for JSON; [`Failure::Malformed`] if a field is missing.
pub fn form<const N: usize>(answer: RawAnswer<'_>, names: [&str; N]) -> Result<[String; N], Failure> {
    const EXPECTED: &str = "form-encoded text";
    answer.refuse_rate_limit()?;
    if !answer.is_success() || answer.oauth_problem().is_some() {
        return Err(answer.failure(EXPECTED));
    }
    let fields: Vec<_> = form_urlencoded::parse(answer.body.trim_ascii()).collect();
    let mut found = names.map(|_| String::new());
    for (slot, name) in found.iter_mut().zip(names) {
        let Some((_, value)) = fields.iter().find(|(field, _)| field == name) else {
            return Err(answer.failure(EXPECTED));
        };
        *slot = value.clone().into_owned();
    }
    Ok(found)
}

/// The longest XML that is read, in bytes; what Flickr documents has a few hundred. The work that an
/// element takes grows with the square of its attributes.
const LONGEST_XML: usize = 64 * 1024;

/// The names of what is looked at in `<rsp>`.
const NAMES: [&str; 6] = [
    "photoid",
    "ticketid",
    "code",
    "msg",
    "duplicate_photo_id",
    "non_pro_desktop_upload_wait_time",
];

/// What matters of `<rsp stat="…">…</rsp>`: its texts and attributes by name, wherever they stand,
/// as Flickr's documents leave open whether a detail of an error is an attribute or an element. Of
/// each name the first one counts.
#[derive(Default)]
struct Rsp {
    stat: String,
    values: [Option<String>; NAMES.len()],
}

impl Rsp {
    /// `None` for text that is not well-formed, has another root, or is too long.
    fn read(text: &str) -> Option<Self> {
        if text.len() > LONGEST_XML {
            return None;
        }
        let mut reader = Reader::from_str(text);
        let mut rsp = Self::default();
        let mut open: Vec<Option<usize>> = Vec::new();
        let mut seen_root = false;
        loop {
            match reader.read_event().ok()? {
                Event::Start(element) => {
                    open.push(rsp.element(&element, &mut seen_root)?);
                }
                Event::Empty(element) => {
                    rsp.element(&element, &mut seen_root)?;
                }
                Event::Text(text) => {
                    let text = text.xml_content(XmlVersion::Implicit1_0);
                    if let Some(index) = open.last()
                        && !text.trim().is_empty()
                    {
                        rsp.note(*index, text.trim());
                    }
                }
                Event::End(_) => {
                    open.pop();
                }
                // No value that Flickr documents contains an entity.
                Event::GeneralRef(_) => return None,
                Event::Eof => return (seen_root && open.is_empty()).then_some(rsp),
                _ => {}
            }
        }
    }

    /// The place of the element's text among the values, if it has one; `None` if it is not
    /// well-formed or no root.
    #[expect(clippy::option_option, reason = "an element that is read may have no place")]
    fn element(&mut self, element: &BytesStart<'_>, seen_root: &mut bool) -> Option<Option<usize>> {
        let name = element.name().0;
        if !*seen_root && name != "rsp" {
            return None;
        }
        for attribute in element.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .ok()?
                .into_owned();
            if !*seen_root && attribute.key.0 == "stat" {
                self.stat = value;
            } else {
                self.note(place(attribute.key.0), &value);
            }
        }
        *seen_root = true;
        Some(place(name))
    }

    fn note(&mut self, place: Option<usize>, value: &str) {
        if let Some(slot) = place.and_then(|place| self.values.get_mut(place)) {
            slot.get_or_insert_with(|| value.to_owned());
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.values.get(place(name)?)?.clone()
    }
}

/// The place of a name among the values.
fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
