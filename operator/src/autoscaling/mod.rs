//! Scaling of the workers by their backlog.
//!
//! How many workers a queue wants is decided outside: by the HPA controller, which asks the operator for the backlog
//! ([`crate::external_metrics`]), or by KEDA. What neither of them does is done here: a queue may have no worker at all while
//! it has no job (an HPA goes no lower than one), and the workers that go are told apart from those that stay by what they
//! run.
//!
//! | module | does |
//! | --- | --- |
//! | [`plan`] | what the resource wants, and by what a hub is scaled in this cluster; pure |
//! | [`cluster`] | who serves external metrics in the cluster, and whether KEDA is there |
//! | [`decide`] | from none to one worker and back, and which worker is dear; pure |
//! | [`scaled`] | the hubs that are scaled, as their last reconciliations left them |
//! | [`scaler`] | looks at them every few seconds and acts |
//! | [`running`] | how many jobs each worker runs, from MongoDB |

pub mod cluster;
pub mod decide;
pub mod plan;
mod running;
pub mod scaled;
pub mod scaler;

pub use cluster::ClusterView;
pub use plan::{AutoscalingPlan, Scaling};
pub use scaled::ScaledHubs;

/// The name of the external metric: the jobs of a queue that workers run or could run, see
/// [`Backlog::jobs`](flickrhub_job::lane::Backlog::jobs).
pub const BACKLOG_METRIC: &str = "flickrhub_queue_backlog";
/// The label of the metric with the name of the hub.
pub const HUB_LABEL: &str = "hub";
/// The label of the metric with the name of the queue, such as `flickr_rest`.
pub const QUEUE_LABEL: &str = "queue";
