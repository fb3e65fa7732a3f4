//! Failures on demand.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};

/// Which calls a rule is for. What is absent matches everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// The API method, or `upload`, `replace`, `request_token`, `access_token`. A final `*` matches
    /// any rest.
    pub method: Option<String>,
    /// The beginning of the path.
    pub path: Option<String>,
    /// The user's nsid or screen name.
    pub user: Option<String>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// An HTML page with this status, and a `Retry-After` if given.
    HttpStatus {
        /// Such as 429, 500 or 503.
        status: u16,
        /// Seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// As `http_status`, and an upload is answered before its body is read.
    Refuse {
        /// Such as 413 or 503.
        status: u16,
        /// Seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The right answer, late: before the effect, or with the effect had and the call logged.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// Status 200 with a body of no documented form.
    WrongBody,
    /// Status 200 with a body of this many bytes, of no documented form.
    LongBody {
        /// Bytes.
        bytes: usize,
    },
    /// `stat=fail` with this code.
    ErrorCode {
        /// Flickr's error code.
        code: u32,
    },
    /// Status 401 with this `oauth_problem`.
    OauthProblem {
        /// Such as `token_rejected`.
        problem: String,
    },
    /// The connection is closed without an answer.
    DropConnection,
    /// An asynchronous upload gets a ticket, and its conversion fails.
    TicketFails,
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::HttpStatus { .. } => "http_status",
            Self::Refuse { .. } => "refuse",
            Self::Slow { .. } => "slow",
            Self::WrongBody => "wrong_body",
            Self::LongBody { .. } => "long_body",
            Self::ErrorCode { .. } => "error_code",
            Self::OauthProblem { .. } => "oauth_problem",
            Self::DropConnection => "drop_connection",
            Self::TicketFails => "ticket_fails",
        }
    }
}

/// Whether the call acts before it fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The call fails without effect.
    #[default]
    Before,
    /// The call has its effect; only the answer is spoilt.
    After,
}

/// One rule. The first rule that matches a call, and whose dice fall, applies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Which calls.
    #[serde(rename = "match")]
    pub matcher: Matcher,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: Kind,
    /// Before or after the call's effect.
    pub phase: Phase,
    /// How many calls the rule is good for; without, it stays.
    pub times: Option<u32>,
    /// The share of matching calls that it hits, from 0 to 1; without, all.
    pub probability: Option<f64>,
}

/// What every kind of rule can have.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Common {
    #[serde(rename = "match")]
    matcher: Matcher,
    phase: Phase,
    times: Option<u32>,
    probability: Option<f64>,
}

/// Why an object is no rule.
#[derive(Debug, thiserror::Error)]
enum BadRule {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("unknown field {0:?}")]
    UnknownField(String),
    #[error("the status {0} is not between 200 and 599")]
    Status(u16),
    #[error("the probability {0} is not between 0 and 1")]
    Probability(f64),
}

// Serde cannot refuse unknown fields of a flattened enum: a misspelt `phase` would go unnoticed.
impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Rule {
    fn read(fields: Map<String, Value>) -> Result<Self, BadRule> {
        let (common, of_kind): (Map<_, _>, Map<_, _>) = fields
            .into_iter()
            .partition(|(name, _)| ["match", "phase", "times", "probability"].contains(&name.as_str()));
        let common: Common = serde_json::from_value(common.into())?;
        let kind: Kind = serde_json::from_value(of_kind.clone().into())?;
        let known = serde_json::to_value(&kind)?;
        if let Some(name) = of_kind.keys().find(|name| known.get(name.as_str()).is_none()) {
            return Err(BadRule::UnknownField(name.clone()));
        }
        if let Kind::HttpStatus { status, .. } | Kind::Refuse { status, .. } = kind
            && !(200..600).contains(&status)
        {
            return Err(BadRule::Status(status));
        }
        if let Some(share) = common.probability
            && !(0.0..=1.0).contains(&share)
        {
            return Err(BadRule::Probability(share));
        }
        Ok(Self {
            matcher: common.matcher,
            kind,
            phase: common.phase,
            times: common.times,
            probability: common.probability,
        })
    }
}

impl Rule {
    /// A rule for every call of `method`, before its effect.
    pub fn new(method: &str, kind: Kind) -> Self {
        let matcher = Matcher {
            method: Some(method.to_owned()),
            ..Matcher::default()
        };
        Self {
            matcher,
            kind,
            phase: Phase::Before,
            times: None,
            probability: None,
        }
    }

    /// The same rule for this many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    /// The same rule, after the effect.
    #[must_use]
    pub fn after_effect(self) -> Self {
        Self {
            phase: Phase::After,
            ..self
        }
    }
}

/// A call, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) nsid: Option<&'a str>,
    pub(crate) username: Option<&'a str>,
}

impl Matcher {
    fn matches(&self, call: Subject<'_>) -> bool {
        let method = self
            .method
            .as_deref()
            .is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(start) => call.method.starts_with(start),
                None => call.method == wanted,
            });
        let path = self
            .path
            .as_deref()
            .is_none_or(|start| call.path.starts_with(start));
        let user = self
            .user
            .as_deref()
            .is_none_or(|wanted| [call.nsid, call.username].contains(&Some(wanted)));
        method && path && user
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) rules: VecDeque<Rule>,
}

impl Faults {
    /// The rule that hits a call, its count spent. `dice` gives numbers from 0 up to 1.
    pub(crate) fn strike(&mut self, call: Subject<'_>, mut dice: impl FnMut() -> f64) -> Option<Rule> {
        let hit = self.rules.iter().position(|rule| {
            rule.times != Some(0)
                && rule.matcher.matches(call)
                && rule.probability.is_none_or(|share| dice() < share)
        })?;
        let rule = self.rules.get_mut(hit)?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CALL: Subject<'static> = Subject {
        method: "flickr.photos.search",
        path: "/services/rest",
        nsid: Some("1@N01"),
        username: Some("bees"),
    };

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    fn strikes(json: &str) -> bool {
        let mut faults = Faults {
            rules: [rule(json)].into(),
        };
        faults.strike(CALL, || 0.5).is_some()
    }

    #[test]
    fn a_rule_reads_from_json() {
        let found = rule(
            r#"{"match":{"method":"upload"},"kind":"http_status","status":429,"retry_after":7,"times":2,"phase":"after"}"#,
        );
        let kind = Kind::HttpStatus {
            status: 429,
            retry_after: Some(7),
        };
        assert_eq!(found, Rule::new("upload", kind).times(2).after_effect());
    }

    #[test]
    fn a_rule_that_says_something_unknown_or_impossible_is_refused() {
        for json in [
            r#"{"kind":"wrong_body","fase":"after"}"#,
            r#"{"kind":"wrong_body","status":500}"#,
            r#"{"kind":"http_status","status":500,"after":3}"#,
            r#"{"kind":"http_status","status":99}"#,
            r#"{"kind":"http_status"}"#,
            r#"{"kind":"sleepy","ms":1}"#,
            r#"{"kind":"slow","ms":1,"probability":2.0}"#,
            r#"{"kind":"slow","ms":1,"phase":"during"}"#,
            r#"{"kind":"slow","ms":1,"match":{"methd":"upload"}}"#,
            r#"{"match":{}}"#,
        ] {
            assert!(serde_json::from_str::<Rule>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_rule_that_is_listed_can_be_added_again() {
        let listed = Rule::new("upload", Kind::TicketFails).times(3).after_effect();
        let json = serde_json::to_string(&listed).unwrap();
        assert_eq!(rule(&json), listed);
    }

    #[test]
    fn a_rule_hits_what_it_matches() {
        for (matcher, hit) in [
            ("{}", true),
            (r#"{"method":"flickr.photos.search"}"#, true),
            (r#"{"method":"flickr.photos.*"}"#, true),
            (r#"{"method":"flickr.photos"}"#, false),
            (r#"{"path":"/services/up"}"#, false),
            (r#"{"user":"bees"}"#, true),
            (r#"{"user":"1@N01"}"#, true),
            (r#"{"user":"wasps"}"#, false),
        ] {
            let json = format!(r#"{{"match":{matcher},"kind":"wrong_body"}}"#);
            assert_eq!(strikes(&json), hit, "{matcher}");
        }
    }

    #[test]
    fn dice_and_counts_are_respected() {
        assert!(strikes(r#"{"kind":"slow","ms":1,"probability":0.6}"#));
        assert!(!strikes(r#"{"kind":"slow","ms":1,"probability":0.4}"#));
        let mut faults = Faults {
            rules: [Rule::new("*", Kind::WrongBody).times(2)].into(),
        };
        let hits = (0..5).filter(|_| faults.strike(CALL, || 0.0).is_some()).count();
        assert_eq!(hits, 2);
    }
}
