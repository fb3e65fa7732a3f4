//! Cursors, and the queries that they come in.

use flickrhub_api::cursor::Cursor;
use flickrhub_api::validate::{
    AuditQuery, CallbackQuery, DeadLettersQuery, DeliveryQuery, InvalidationQuery, ListQuery,
};
use flickrhub_job::model::JobId;
use flickrhub_job::store::AuditId;

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(cursor) = text.parse::<Cursor<JobId>>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Ok(cursor) = text.parse::<Cursor<AuditId>>() {
        assert_eq!(cursor.to_string(), text, "there is one cursor of an entry");
        assert!(cursor.0.to_string().len() < 100);
    }
    let _ = ListQuery::parse(&text);
    let _ = AuditQuery::parse(&text);
    let _ = DeadLettersQuery::parse(&text);
    let _ = DeliveryQuery::parse(&text);
    let _ = InvalidationQuery::parse(&text);
    let _ = CallbackQuery::parse(&text);
}
