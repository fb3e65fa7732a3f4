//! One subscription of a process, for as long as it lives: found through Sentinel, and found again after a failover.

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::notice::Notice;
use super::watch::Watchers;
use crate::connection::redis::{Redis, RedisError, Subscription};

/// How long nothing may come before the server is asked whether it is there: a connection that is cut off says nothing.
const SILENCE: Duration = Duration::from_secs(5);
/// The longest pause before the next try; the shortest is none.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Hands every notice of the channel to its watchers. Never ends by itself.
pub(super) async fn listen(redis: Redis, channel: String, watchers: Arc<Watchers>) {
    loop {
        match redis.subscribe(&channel).await {
            Ok((subscription, notices)) => {
                tracing::debug!(channel, "listening");
                // What was published before this cannot be heard any more.
                watchers.wake_all();
                let error = hear(subscription, notices, &watchers).await;
                tracing::warn!(
                    channel,
                    error = error.map(|error| error.to_string()),
                    "the subscription ended; the next one begins"
                );
            }
            Err(error) => tracing::warn!(channel, %error, "cannot listen yet"),
        }
        // Everybody looks by itself meanwhile.
        watchers.wake_all();
        sleep(rand::random_range(Duration::ZERO..=LONGEST_PAUSE)).await;
    }
}

/// Hears until the connection is lost; why, if there is more to say than that.
async fn hear(
    mut subscription: Subscription,
    mut notices: mpsc::UnboundedReceiver<PushInfo>,
    watchers: &Watchers,
) -> Option<RedisError> {
    loop {
        match timeout(SILENCE, notices.recv()).await {
            Ok(Some(push)) if push.kind == PushKind::Message => {
                // What another version publishes is not for this one.
                if let Some(notice) = notice_of(&push) {
                    watchers.wake(notice);
                }
            }
            Ok(Some(push)) if push.kind == PushKind::Disconnection => return None,
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(_) => {
                if let Err(error) = subscription.ping().await {
                    return Some(error);
                }
            }
        }
    }
}

/// The notice of a message, which comes as its channel and its payload.
fn notice_of(push: &PushInfo) -> Option<Notice> {
    match push.data.get(1)? {
        Value::BulkString(payload) => Notice::try_from(payload.as_slice()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobId;
    use crate::progress::Move;

    #[test]
    fn a_message_is_its_channel_and_its_payload() {
        let notice = Notice {
            job_id: JobId::new(),
            to: Move::Over,
        };
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let payload = Value::BulkString(notice.to_bytes());
        let push = |data| PushInfo {
            kind: PushKind::Message,
            data,
        };
        let heard = notice_of(&push(vec![text("fh:progress"), payload]));
        assert_eq!(heard, Some(notice));
        assert_eq!(notice_of(&push(vec![text("fh:progress"), text("gossip")])), None);
        assert_eq!(notice_of(&push(Vec::new())), None);
    }
}
