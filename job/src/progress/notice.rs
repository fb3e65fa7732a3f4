//! What is published: a job and how it moved.

use std::fmt;
use std::str::FromStr;

use crate::model::JobId;

/// How a job moved, as far as a waiter wants to know before it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It is over.
    Over,
    /// It waits for its next attempt.
    Queued,
    /// A worker has begun with it.
    Running,
    /// Its client wants it cancelled.
    CancelRequested,
}

impl Move {
    const ALL: [Self; 4] = [Self::Over, Self::Queued, Self::Running, Self::CancelRequested];

    /// The name on the wire; the scripts of the lanes write the first two.
    const fn name(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::CancelRequested => "cancel",
        }
    }
}

/// A hint that a job moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The job.
    pub job_id: JobId,
    /// How it moved.
    pub to: Move,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.job_id, self.to.name())
    }
}

/// The text is no notice. Another version of the program may publish what this one does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a notice is a job id and how the job moved")]
pub struct NotANotice;

impl FromStr for Notice {
    type Err = NotANotice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (job_id, name) = text.split_once(' ').ok_or(NotANotice)?;
        Ok(Self {
            job_id: job_id.parse().map_err(|_| NotANotice)?,
            to: Move::ALL
                .into_iter()
                .find(|to| to.name() == name)
                .ok_or(NotANotice)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_notice_is_read_back() {
        for to in Move::ALL {
            let notice = Notice {
                job_id: JobId::new(),
                to,
            };
            assert_eq!(notice.to_string().parse(), Ok(notice));
        }
    }

    #[test]
    fn the_scripts_of_the_lanes_write_what_is_read_here() {
        for (script, to) in [
            (include_str!("../lane/done.lua"), Move::Over),
            (include_str!("../lane/delay.lua"), Move::Queued),
        ] {
            let line = format!(
                "redis.call('PUBLISH', PREFIX .. 'progress', job .. ' {}')",
                to.name()
            );
            assert!(script.contains(&line), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_other_text_is_refused_and_never_panics(text in ".{0,60}") {
            prop_assert_eq!(text.parse::<Notice>(), Err(NotANotice));
        }
    }
}
