//! What is published: a job and how it moved.

use uuid::Uuid;

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

impl Notice {
    /// As it is published: the 16 bytes of the job's id, as the lanes hold it, and the name of the move.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [Uuid::from(self.job_id).as_bytes(), self.to.name().as_bytes()].concat()
    }
}

/// The bytes are no notice. Another version of the program may publish what this one does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a notice is a job id and how the job moved")]
pub struct NotANotice;

impl TryFrom<&[u8]> for Notice {
    type Error = NotANotice;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        let (id, name) = bytes.split_first_chunk::<16>().ok_or(NotANotice)?;
        let to = Move::ALL.into_iter().find(|to| to.name().as_bytes() == name);
        Ok(Self {
            job_id: Uuid::from_bytes(*id).into(),
            to: to.ok_or(NotANotice)?,
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
            assert_eq!(Notice::try_from(notice.to_bytes().as_slice()), Ok(notice));
        }
    }

    #[test]
    fn the_scripts_of_the_lanes_write_what_is_read_here() {
        for (script, to) in [
            (include_str!("../lane/done.lua"), Move::Over),
            (include_str!("../lane/delay.lua"), Move::Queued),
        ] {
            let line = format!(
                "redis.call('PUBLISH', PREFIX .. 'progress', job .. '{}')",
                to.name()
            );
            assert!(script.contains(&line), "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_else_is_published_is_refused_and_never_panics(bytes in any::<Vec<u8>>()) {
            if let Ok(notice) = Notice::try_from(bytes.as_slice()) {
                prop_assert_eq!(notice.to_bytes(), bytes);
            }
        }
    }
}
