//! The SQL behind hop times.

use crate::report::scope::Filter;

/// The parts of a hop, as columns begin.
const PARTS: [&str; 4] = ["total", "reaction", "api", "storage"];

/// The hops that a report looks at, with what their clocks said before they were corrected.
fn looked_at(filter: &Filter) -> String {
    let mut conditions = filter.conditions("effect_revision", "write.commit_unix_nano");
    for condition in &mut conditions {
        if condition.starts_with("namespace =") {
            condition.insert_str(0, "effect_");
        }
    }
    let is_dated = conditions
        .iter()
        .any(|condition| condition.starts_with("write."));
    let join = if is_dated {
        "\n    JOIN writes AS write ON write.cluster_id = hop.cluster_id AND write.epoch = hop.epoch
        AND write.revision = effect_revision AND write.ordinal = effect_ordinal"
    } else {
        ""
    };
    let conditions = match conditions.is_empty() {
        true => String::new(),
        false => format!("\n    WHERE {}", conditions.join("\n      AND ")),
    };
    format!(
        "\
WITH looked_at AS (
    SELECT hop.*, hop.api_ns IS NOT NULL AND hop.storage_ns IS NOT NULL AS has_parts,
           coalesce(hop.clock_offset_ns, 0) AS offset_ns
    FROM hops AS hop{join}{conditions}
)"
    )
}

/// Times by evidence, kind and actor. A hop without all parts has its time in the reaction, and is in the total only.
pub(crate) fn by_hop(filter: &Filter) -> String {
    let statistics = PARTS.map(|part| {
        ["p50", "p90", "p95", "p99"]
            .iter()
            .enumerate()
            .map(|(index, name)| format!("{part}_q[{}] AS {part}_{name}_ns, ", index + 1))
            .chain([format!("{part}_max_ns")])
            .collect::<String>()
    });
    let aggregates = PARTS.map(|part| {
        format!(
            "quantile_disc({part}_ns, [0.5, 0.9, 0.95, 0.99]) AS {part}_q, max({part}_ns) AS {part}_max_ns"
        )
    });
    format!(
        "\
{looked_at}
SELECT evidence, kind, actor, hops, with_parts, unequal, negative_before, negative,
       {statistics}
FROM (
    SELECT evidence, kind, actor, count(*) AS hops, count(*) FILTER (WHERE has_parts) AS with_parts,
           count(*) FILTER (WHERE has_parts AND reaction_ns + api_ns + storage_ns <> total_ns) AS unequal,
           count(*) FILTER (WHERE reaction_ns - offset_ns < 0 OR api_ns + offset_ns < 0 OR storage_ns < 0)
               AS negative_before,
           count(*) FILTER (WHERE reaction_ns < 0 OR api_ns < 0 OR storage_ns < 0) AS negative,
           {aggregates}
    FROM (
        SELECT evidence, effect_kind AS kind, effect_actor AS actor, has_parts, offset_ns, total_ns,
               CASE WHEN has_parts THEN reaction_ns END AS reaction_ns, api_ns, storage_ns
        FROM looked_at
    )
    GROUP BY evidence, kind, actor
)
ORDER BY hops DESC, evidence, kind, actor",
        looked_at = looked_at(filter),
        statistics = statistics.join(",\n       "),
        aggregates = aggregates.join(",\n           "),
    )
}

/// Why hops lack a part.
pub(crate) fn lacking(filter: &Filter) -> String {
    format!(
        "\
{looked_at}
SELECT CASE WHEN change.call_id IS NULL THEN 'no_call' ELSE 'no_request' END AS reason,
       change.kind, change.resource, count(*) AS hops
FROM looked_at AS hop
JOIN changes AS change ON change.cluster_id = hop.cluster_id AND change.epoch = hop.epoch
    AND change.revision = effect_revision AND change.ordinal = effect_ordinal
WHERE NOT has_parts
GROUP BY ALL
ORDER BY hops DESC, reason, kind, resource",
        looked_at = looked_at(filter),
    )
}

/// The clocks of the whole trace.
pub(crate) const fn clocks() -> &'static str {
    "\
SELECT apiserver, instance, count(*) AS windows, sum(pairs) AS pairs, sum(contradicting) AS contradicting,
       sum(negative_before) AS negative_before, min(offset_ns) AS min_offset_ns, max(offset_ns) AS max_offset_ns,
       min(lower_ns) AS lower_ns, max(upper_ns) AS upper_ns
FROM clocks
GROUP BY apiserver, instance
ORDER BY apiserver, instance"
}
