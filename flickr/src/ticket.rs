//! Tickets of asynchronous uploads (Flickr document `flickr.photos.upload.checkTickets`).

use serde_json::Value;

use crate::identifier::{PhotoId, TicketId};

/// How far an asynchronous upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketState {
    /// Flickr is working on it.
    Pending,
    /// The photo is there.
    Complete(PhotoId),
    /// Flickr could not convert the file. Sending the same file again would not help.
    Failed,
    /// Flickr knows no such ticket.
    Unknown,
}

/// The states that an answer gives for `asked`, in that order. A ticket the answer leaves out is
/// [`TicketState::Unknown`]. `None` when the answer is not one of `checkTickets`.
pub(crate) fn states(answer: &Value, asked: &[TicketId]) -> Option<Vec<(TicketId, TicketState)>> {
    let tickets = answer.get("uploader")?.get("ticket")?.as_array()?;
    let state_of = |id: &TicketId| {
        tickets
            .iter()
            .find(|ticket| text(ticket, "id").as_deref() == Some(id.as_str()))
            .map_or(TicketState::Unknown, state)
    };
    Some(asked.iter().map(|id| (id.clone(), state_of(id))).collect())
}

fn state(ticket: &Value) -> TicketState {
    if text(ticket, "invalid").as_deref() == Some("1") {
        return TicketState::Unknown;
    }
    match (text(ticket, "complete").as_deref(), text(ticket, "photoid")) {
        (Some("1"), Some(photo)) => TicketState::Complete(PhotoId(photo)),
        (Some("2"), _) => TicketState::Failed,
        _ => TicketState::Pending,
    }
}

/// A member as text: Flickr writes some numbers as strings and some strings as numbers.
fn text(object: &Value, name: &str) -> Option<String> {
    match object.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_documented_state_is_read() {
        let answer = json!({"uploader": {"ticket": [
            {"id": "128", "complete": 1, "photoid": "2995"},
            {"id": 129, "complete": "0"},
            {"id": "130", "complete": 2},
            {"id": "131", "invalid": 1},
        ]}, "stat": "ok"});
        let asked: Vec<_> = ["128", "129", "130", "131", "132"]
            .map(|id| TicketId(id.into()))
            .into();
        let found: Vec<_> = states(&answer, &asked)
            .unwrap()
            .into_iter()
            .map(|(_, state)| state)
            .collect();
        assert_eq!(
            found,
            [
                TicketState::Complete(PhotoId("2995".into())),
                TicketState::Pending,
                TicketState::Failed,
                TicketState::Unknown,
                TicketState::Unknown,
            ]
        );
    }

    #[test]
    fn another_answer_is_not_taken_for_one() {
        assert_eq!(states(&json!({"stat": "ok"}), &[]), None);
    }
}
