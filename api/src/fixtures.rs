//! Jobs for the unit tests of the routes.

use std::collections::BTreeMap;

use flickrhub_job::limits::Limits;
use flickrhub_job::model::{Job, TraceContext};
use flickrhub_job::queue::Queue;

use crate::accept::now;
use crate::auth::Caller;
use crate::order::Order;
use crate::validate::JobOptions;

/// A job that was accepted now.
pub(crate) fn job() -> Job {
    let caller = Caller {
        client_id: "c".to_owned(),
        key_id: "k".to_owned(),
        scopes: Vec::new(),
    };
    let order = Order {
        user_id: "1@N01".to_owned(),
        app: "main".to_owned(),
        queue: Queue::Rest,
        method: "flickr.test.echo".to_owned(),
        params: BTreeMap::new(),
        body: None,
        options: JobOptions::default(),
    };
    let trace = TraceContext {
        trace_id: String::new(),
        traceparent: String::new(),
    };
    order.into_job(&caller, trace, now(), &Limits::default(), None)
}
