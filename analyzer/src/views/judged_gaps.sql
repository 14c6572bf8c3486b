-- One row per row of gaps. A gap is filled where every revision that it covers was recorded all the same, by
-- the ledger of another interceptor. One without both ends is never known to be.
WITH ranges AS (
    SELECT DISTINCT cluster_id, epoch, from_revision, to_revision
    FROM raw.gaps
    WHERE covers_revisions AND from_revision <= to_revision
),
filled AS (
    SELECT ranges.cluster_id, ranges.epoch, ranges.from_revision, ranges.to_revision
    FROM ranges
    JOIN stored.changes AS change ON change.cluster_id = ranges.cluster_id
        AND change.epoch = ranges.epoch
        AND change.revision >= ranges.from_revision AND change.revision <= ranges.to_revision
    GROUP BY ranges.cluster_id, ranges.epoch, ranges.from_revision, ranges.to_revision
    HAVING count(DISTINCT change.revision) = ranges.to_revision - ranges.from_revision + 1
)
SELECT gap.*, gap.covers_revisions AND filled.cluster_id IS NOT NULL AS is_filled
FROM raw.gaps AS gap
LEFT JOIN filled ON filled.cluster_id = gap.cluster_id AND filled.epoch = gap.epoch
    AND filled.from_revision = gap.from_revision AND filled.to_revision = gap.to_revision
