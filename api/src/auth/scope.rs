//! Each scope is a type too, so that a route names its scope in its signature.

use flickrhub_job::scope::ScopeName;

/// A scope by type: the parameter of [`crate::auth::Authorised`].
pub trait Scope: Send + Sync + 'static {
    /// The scope that the route needs.
    const NAME: ScopeName;
}

/// See jobs.
#[derive(Debug)]
pub struct JobsRead;
/// Submit, cancel and replay jobs.
#[derive(Debug)]
pub struct JobsWrite;
/// Upload and replace photos.
#[derive(Debug)]
pub struct UploadsWrite;
/// Have users authorise the client, and forget them.
#[derive(Debug)]
pub struct UsersWrite;
/// Replace the webhook secret, enable callback addresses and retry callbacks.
#[derive(Debug)]
pub struct CallbacksWrite;
/// Read the audit log.
#[derive(Debug)]
pub struct AuditRead;

impl Scope for JobsRead {
    const NAME: ScopeName = ScopeName::JobsRead;
}
impl Scope for JobsWrite {
    const NAME: ScopeName = ScopeName::JobsWrite;
}
impl Scope for UploadsWrite {
    const NAME: ScopeName = ScopeName::UploadsWrite;
}
impl Scope for UsersWrite {
    const NAME: ScopeName = ScopeName::UsersWrite;
}
impl Scope for CallbacksWrite {
    const NAME: ScopeName = ScopeName::CallbacksWrite;
}
impl Scope for AuditRead {
    const NAME: ScopeName = ScopeName::AuditRead;
}
