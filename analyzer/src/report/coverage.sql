WITH carrying AS (
    -- A restored etcd counts its revisions anew, and has the objects of old.
    SELECT cluster_id, epoch, uid, min(revision) AS since
    FROM (
        SELECT cluster_id, epoch, uid, revision FROM raw.changes
        WHERE cpid IS NOT NULL AND uid IS NOT NULL
        UNION ALL
        SELECT cluster_id, epoch, uid, revision FROM raw.states
        WHERE cpid IS NOT NULL AND uid IS NOT NULL
    )
    GROUP BY cluster_id, epoch, uid
),
made AS (
    SELECT cluster_id, epoch, revision, ordinal, unnest(owners) AS owner
    FROM raw.changes
    WHERE op = 'create' AND cpid IS NULL
),
lost AS (
    SELECT DISTINCT made.cluster_id, made.epoch, made.revision, made.ordinal, true AS is_lost
    FROM made
    JOIN carrying ON carrying.cluster_id = made.cluster_id AND carrying.epoch = made.epoch
        AND carrying.uid = made.owner['uid'] AND carrying.since < made.revision
),
classified AS (
    SELECT api_group, kind, actor,
           CASE WHEN cpid_transition = 'drop' THEN 'dropped'
                WHEN cpid_transition = 'replace' THEN 'broken'
                WHEN cpid_reported IS NOT NULL THEN 'reported'
                WHEN cpid_transition = 'end' THEN 'ended'
                WHEN cpid IS NOT NULL THEN 'kept'
                WHEN is_lost THEN 'lost'
                ELSE 'without' END AS class
    FROM (SELECT * FROM changes{where}) AS change
    LEFT JOIN lost ON lost.cluster_id = change.cluster_id AND lost.epoch = change.epoch
        AND lost.revision = change.revision AND lost.ordinal = change.ordinal
)
SELECT api_group, kind, actor, count(*) AS writes,
       count(*) FILTER (WHERE class = 'reported') AS reported,
       count(*) FILTER (WHERE class = 'kept') AS kept,
       count(*) FILTER (WHERE class = 'lost') AS lost,
       count(*) FILTER (WHERE class = 'dropped') AS dropped,
       count(*) FILTER (WHERE class = 'broken') AS broken,
       count(*) FILTER (WHERE class = 'ended') AS ended,
       count(*) FILTER (WHERE class = 'without') AS without
FROM classified
GROUP BY api_group, kind, actor
ORDER BY lost + dropped + broken DESC, reported DESC, writes DESC, kind, api_group, actor
