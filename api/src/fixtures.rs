//! Jobs, windows and budgets for the unit tests of the routes.

use std::collections::BTreeMap;

use flickrhub_job::budget::{BudgetState, CircuitState, CircuitView, Endpoint, Standing};
use flickrhub_job::lane::{Policy, Quota, Quotas};
use flickrhub_job::limits::{Limits, RequestClass};
use flickrhub_job::model::{Job, TraceContext};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;

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

/// The windows of a client, a user and what reads, which are full for seven more seconds.
pub(crate) fn full_windows() -> Quotas {
    let policies = [Policy::Client, Policy::User, Policy::Class(RequestClass::Read)];
    Quotas(policies.map(|policy| Quota {
        policy,
        limit: 1,
        remaining: 0,
        reset: 7,
    }))
}

/// An application that has used 1,200 requests and whose REST circuit is in this state, and a user who has used none.
pub(crate) fn standing(rest: CircuitState) -> Standing {
    let circuit = |endpoint, state| CircuitView {
        endpoint,
        state,
        until: (state != CircuitState::Closed).then(|| Timestamp::constant(1_798_761_610, 0)),
    };
    Standing {
        whole: true,
        app: BudgetState {
            limit: 3600,
            used: 1200,
            frees_at: Some(Timestamp::constant(1_798_761_600, 0)),
        },
        circuits: [
            circuit(Endpoint::Rest, rest),
            circuit(Endpoint::Upload, CircuitState::Closed),
        ],
        user: BudgetState {
            limit: 3500,
            used: 0,
            frees_at: None,
        },
    }
}
