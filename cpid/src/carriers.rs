//! The places where a CPID travels, and how it is written there.
//!
//! | carrier | where | text |
//! |---|---|---|
//! | [`koc`] | annotation [`KOC_ANNOTATION`], of arXiv:2411.01336 | JSON with the CPID and ancestors |
//! | [`traceparent`] | annotation [`TRACEPARENT_ANNOTATION`], of KEP-5915 | W3C Trace Context; the trace id is the CPID |
//! | [`embedded`] | annotations of Tekton and agent-sandbox | JSON object with a `traceparent` |
//! | [`text`] | any annotation or label | the CPID |
//! | [`baggage`] | header of the request | W3C Baggage, member `cpid` |
//!
//! All functions that read tell three cases apart: there is a CPID, there is none, and the text is
//! malformed. Of a malformed text no part is taken: a guess would be worse than nothing.

pub mod baggage;
pub mod embedded;
mod format;
pub mod koc;
pub mod text;
pub mod traceparent;

pub use format::{
    Carried, CarriedCpid, Carrier, Format, Inside, Place, default_carriers, read_carriers,
};

use crate::context::InvalidContext;

/// The annotation of arXiv:2411.01336, in the format [`koc`].
pub const KOC_ANNOTATION: &str = "eppppi.github.io/koc";

/// The annotation of KEP-5915 (also used by OVN-Kubernetes, OKEP-6534), in the format
/// [`traceparent`].
pub const TRACEPARENT_ANNOTATION: &str = "tracing.k8s.io/traceparent";

/// Tekton's annotation on a TaskRun and its Pod, in the format [`embedded`].
pub const TEKTON_TASK_RUN_ANNOTATION: &str = "tekton.dev/taskrunSpanContext";

/// Tekton's annotation on a PipelineRun, in the format [`embedded`].
pub const TEKTON_PIPELINE_RUN_ANNOTATION: &str = "tekton.dev/pipelinerunSpanContext";

/// The annotation of `kubernetes-sigs/agent-sandbox`, in the format [`embedded`].
pub const AGENT_SANDBOX_ANNOTATION: &str = "opentelemetry.io/trace-context";

/// Why the text of a carrier cannot be read, or a context not be written as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierError {
    /// The text is to be JSON and is not.
    #[error("is not JSON")]
    NotJson,
    /// The text is JSON, but not an object.
    #[error("is not a JSON object")]
    NotAnObject,
    /// `cpid` is neither a text nor null.
    #[error("has a cpid that is not a text")]
    CpidNotText,
    /// `ancCpids` is neither a list of texts nor null.
    #[error("has ancCpids that are not a list of texts")]
    AncestorsNotTexts,
    /// One of `ancCpids` is the empty text.
    #[error("has an empty entry in ancCpids")]
    EmptyAncestor,
    /// What it says is no valid context.
    #[error("is not valid: {0}")]
    Invalid(#[from] InvalidContext),
    /// The text is no `traceparent` of W3C Trace Context.
    #[error("is not a W3C traceparent")]
    NotTraceparent,
    /// What the JSON pointer leads to is neither a text nor null.
    #[error("has something else than a text at its JSON pointer")]
    PointsToNoText,
    /// The text has white space around it or control characters in it.
    #[error("has white space around the CPID or control characters in it")]
    NotPlain,
    /// The format has no place for what is to be written.
    #[error("cannot hold this CPID")]
    CannotHold,
}
