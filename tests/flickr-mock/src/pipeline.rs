//! What every call goes through: budget, fault, effect, answer, journal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::{
    answer::{self, Answer, Fail, Problem, Style},
    call::Call,
    connection,
    fault::{Kind, Phase, Rule, Subject},
    journal::Entry,
    world::World,
};

/// An answer, and what the call changed.
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    /// The id of the photo, set or ticket made or changed.
    pub(crate) effect: Option<String>,
}

impl Outcome {
    /// A call that changed something.
    pub(crate) fn changed(answer: Answer, effect: impl Into<String>) -> Self {
        Self {
            answer,
            effect: Some(effect.into()),
        }
    }
}

impl<A: Into<Answer>> From<A> for Outcome {
    fn from(answer: A) -> Self {
        Self {
            answer: answer.into(),
            effect: None,
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Run {
    world: Arc<World>,
    entry: Entry,
    style: Style,
    rule: Option<Rule>,
}

impl Run {
    /// Begins a call of `method`, and looks up which fault hits it.
    pub(crate) fn begin(
        world: &Arc<World>,
        call: &Call,
        method: &str,
        headers: &HeaderMap,
        style: Style,
    ) -> Self {
        let account = call.claimed_account(world);
        let subject = Subject {
            method,
            path: &call.path,
            nsid: account.as_ref().map(|account| account.nsid.as_str()),
            username: account.as_ref().map(|account| account.username.as_str()),
        };
        let rule = world.state().faults.strike(subject, rand::random);
        let header = |name| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let entry = Entry {
            seq: 0,
            time_ms: Timestamp::now().as_millisecond(),
            method: method.to_owned(),
            path: call.path.clone(),
            user: account.map(|account| account.nsid),
            consumer_key: call.consumer_key().map(str::to_owned),
            arguments: call.arguments(),
            content_sha256: None,
            status: 0,
            error: None,
            fault: rule.as_ref().map(|rule| rule.kind.name()),
            effect_id: None,
            effect: None,
            traceparent: header("traceparent"),
            trace_id: header("x-trace-id"),
        };
        Self {
            world: world.clone(),
            entry,
            style,
            rule,
        }
    }

    /// Notes the fields and the photo of a body that was read after the call began.
    #[must_use]
    pub(crate) fn with_body(mut self, call: &Call, sha256: Option<&str>) -> Self {
        self.entry.arguments = call.arguments();
        self.entry.content_sha256 = sha256.map(str::to_owned);
        self
    }

    /// Whether an asynchronous upload's conversion fails.
    pub(crate) fn ticket_fails(&self) -> bool {
        matches!(&self.rule, Some(rule) if rule.kind == Kind::TicketFails)
    }

    /// Whether the call ends before its body is read.
    pub(crate) fn ends_at_once(&self) -> bool {
        matches!(
            &self.rule,
            Some(Rule {
                kind: Kind::DropConnection | Kind::Refuse { .. },
                phase: Phase::Before,
                ..
            })
        )
    }

    /// How long the answer is to be kept back in that phase.
    fn delay(&self, wanted: Phase) -> Option<Duration> {
        match &self.rule {
            Some(Rule {
                kind: Kind::Slow { ms },
                phase,
                ..
            }) if *phase == wanted => Some(Duration::from_millis(*ms)),
            _ => None,
        }
    }

    /// Ends the call: `act` has its effect unless a fault comes before it.
    pub(crate) async fn finish(mut self, act: impl FnOnce() -> Outcome) -> Response {
        if let Some(delay) = self.delay(Phase::Before) {
            tokio::time::sleep(delay).await;
        }
        if self.is_over_budget() {
            return self.respond(answer::html_error(StatusCode::TOO_MANY_REQUESTS, None));
        }
        let spoilt = self.rule.clone().filter(|rule| spoils(&rule.kind));
        let outcome = match &spoilt {
            Some(Rule {
                phase: Phase::Before, ..
            }) => None,
            _ => Some(act()),
        };
        if let Some(outcome) = &outcome {
            self.entry.effect.clone_from(&outcome.effect);
        }
        let response = match (spoilt, outcome) {
            (Some(rule), _) => self.spoil(&rule.kind),
            (None, Some(outcome)) => {
                self.entry.error = outcome.answer.error();
                outcome.answer.into_response(self.style)
            }
            // Without a rule `act` has run.
            (None, None) => answer::html_error(StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        // Whoever loses patience ends this function where it sleeps: what was done is logged before.
        let delay = self.delay(Phase::After);
        let response = self.respond(response);
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        response
    }

    fn is_over_budget(&self) -> bool {
        let (Some(limit), Some(key)) = (self.world.settings.requests_per_hour, &self.entry.consumer_key)
        else {
            return false;
        };
        !self.world.state().budgets.spend(key, limit, Instant::now())
    }

    fn spoil(&mut self, kind: &Kind) -> Response {
        let answer: Answer = match kind {
            Kind::HttpStatus { status, retry_after } | Kind::Refuse { status, retry_after } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return answer::html_error(status, *retry_after);
            }
            // The last two spoil no answer, and do not come here.
            Kind::WrongBody | Kind::Slow { .. } | Kind::TicketFails => return answer::wrong_body(),
            Kind::LongBody { bytes } => return answer::long_body(*bytes),
            Kind::DropConnection => return connection::drop_connection(),
            Kind::ErrorCode { code } => Fail::new(*code, "Told to fail").into(),
            Kind::OauthProblem { problem } => Problem::new(problem).into(),
        };
        self.entry.error = answer.error();
        answer.into_response(self.style)
    }

    fn respond(mut self, response: Response) -> Response {
        if !connection::is_drop(&response) {
            self.entry.status = response.status().as_u16();
        }
        tracing::info!(
            event = "flickr_mock_call",
            method = self.entry.method,
            user = self.entry.user,
            status = self.entry.status,
            error = self.entry.error,
            fault = self.entry.fault,
            effect = self.entry.effect,
            trace_id = self.entry.trace_id,
        );
        self.world.state().journal.add(self.entry);
        response
    }
}

/// Whether a fault replaces the answer.
fn spoils(kind: &Kind) -> bool {
    !matches!(kind, Kind::Slow { .. } | Kind::TicketFails)
}
