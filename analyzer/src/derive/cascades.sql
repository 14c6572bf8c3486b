-- What came of each root, and how it ended: the kernel counts, the milestones say whether every object was as
-- its spec wants it.
SELECT
    counted.cluster_id, counted.epoch, counted.revision, counted.ordinal, root_class, action_id, kind, op, actor,
    changes_exclusive, changes_shared, bytes, counted.objects, kinds, actors, depth, merged_with,
    arrow_cast(settled_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS settled_time,
    settled_unix_nano, settled_ns,
    arrow_cast(
        CASE WHEN ended.revision IS NULL THEN settled_unix_nano ELSE converged_unix_nano END / 1000,
        'Timestamp(Microsecond, Some("UTC"))') AS converged_time,
    CASE WHEN ended.revision IS NULL THEN settled_unix_nano ELSE converged_unix_nano END AS converged_unix_nano,
    CASE WHEN ended.revision IS NULL THEN settled_ns ELSE converged_ns END AS converged_ns,
    CASE
        WHEN ended.superseded > 0 THEN 'superseded'
        WHEN ended.open = 0 THEN 'converged'
        -- Nothing that it changed waits for anything: it has converged when nothing more comes.
        WHEN settled_unix_nano IS NULL THEN 'truncated'
        WHEN ended.revision IS NULL THEN 'converged'
        ELSE 'never'
    END AS outcome,
    path_id
FROM causes.cascades AS counted
LEFT JOIN causes.convergence AS ended
    ON ended.cluster_id = counted.cluster_id AND ended.epoch = counted.epoch
    AND ended.revision = counted.revision AND ended.ordinal = counted.ordinal
