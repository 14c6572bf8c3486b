//! Stages: the moments in the life of Pods, Deployments and Services that people wait for.
//!
//! Views over `changes` and `states`; [`register`] adds them to a session:
//! - `pod_stages`: one row per Pod, with the moment of each stage;
//! - `deployment_stages`: one row per Deployment and generation;
//! - `service_stages`: one row per Service;
//! - `stage_durations`: one row per object and step from one stage to another: how long it took,
//!   or why that is not known (`excluded`).
//!
//! A moment is the commit time of the first revision that was in the stage. It counts only if the
//! object's value before is in the trace as well (etcd numbers the versions of a key without
//! holes): otherwise the object may have been in the stage before, and a time would be invented.

mod condition_status;

use datafusion::error::DataFusionError;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

use condition_status::ConditionStatus;

/// A step from one stage of an object's life to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Name in `stage_durations`, reports and thresholds.
    pub name: &'static str,
    /// Where it begins and ends, for people.
    pub definition: &'static str,
}

/// Every stage, in the order of reports.
pub const STAGES: &[Stage] = &[
    Stage {
        name: "pod.created_to_scheduled",
        definition: "Pod created → spec.nodeName set",
    },
    Stage {
        name: "pod.scheduled_to_running",
        definition: "spec.nodeName set → phase Running",
    },
    Stage {
        name: "pod.running_to_ready",
        definition: "phase Running → condition Ready is True",
    },
    Stage {
        name: "pod.created_to_running",
        definition: "Pod created → phase Running",
    },
    Stage {
        name: "pod.created_to_ready",
        definition: "Pod created → condition Ready is True",
    },
    Stage {
        name: "deployment.created_to_ready",
        definition: "Deployment created → all replicas updated, ready and available",
    },
    Stage {
        name: "deployment.changed_to_ready",
        definition: "Deployment's spec changed → all replicas updated, ready and available",
    },
    Stage {
        name: "service.created_to_endpoint",
        definition: "Service created → first ready endpoint",
    },
];

/// Why an object has no duration for a stage, with the words for people, in the order of reports.
pub const EXCLUSIONS: &[(&str, &str)] = &[
    ("before_trace", "began before the trace"),
    (
        "not_observed",
        "a moment was not recorded (gap, or imported trace)",
    ),
    ("superseded", "superseded by a newer generation first"),
    ("finished", "finished first"),
    ("deleted", "deleted first"),
    ("not_reached", "not there when the trace ended"),
    ("out_of_order", "reached the other way round"),
];

/// The views, each after those it needs.
const VIEWS: &[(&str, &str)] = &[
    ("pod_stages", include_str!("stages/pod_stages.sql")),
    (
        "deployment_stages",
        include_str!("stages/deployment_stages.sql"),
    ),
    ("service_stages", include_str!("stages/service_stages.sql")),
    (
        "stage_durations",
        include_str!("stages/stage_durations.sql"),
    ),
];

/// Adds the views and the function `condition_status` to a session that has the tables of a trace.
///
/// # Errors
/// When a view does not fit the tables: a mistake in this program.
pub async fn register(context: &SessionContext) -> Result<(), DataFusionError> {
    context.register_udf(ScalarUDF::from(ConditionStatus::new()));
    for (name, sql) in VIEWS {
        context
            .sql(&format!("CREATE OR REPLACE VIEW {name} AS\n{sql}"))
            .await?;
    }
    Ok(())
}
