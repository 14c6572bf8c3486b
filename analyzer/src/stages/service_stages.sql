-- One row per Service: when it was created, and when one of its EndpointSlices first had a ready
-- endpoint.
WITH services AS (
    SELECT cluster_id, epoch, key, create_revision,
           max(namespace) AS namespace, max(name) AS name, max(uid) AS uid,
           min(unix_nano) AS created_unix_nano,
           min(deleted_revision) AS deleted_revision
    FROM (
        SELECT cluster_id, epoch, key, create_revision, namespace, name, uid,
               CASE WHEN op = 'create' THEN commit_unix_nano END AS unix_nano,
               CASE WHEN op = 'delete' THEN revision END AS deleted_revision
        FROM changes
        WHERE kind = 'Service' AND api_group = ''
        UNION ALL
        SELECT cluster_id, epoch, key, create_revision, namespace, name, uid, NULL, NULL
        FROM states
        WHERE kind = 'Service' AND api_group = ''
    )
    GROUP BY cluster_id, epoch, key, create_revision
),
slice_observations AS (
    SELECT cluster_id, epoch, key, create_revision, version, revision, namespace,
           labels ->> 'kubernetes.io/service-name' AS service, ready_replicas, commit_unix_nano,
           0 AS place
    FROM changes
    WHERE kind = 'EndpointSlice' AND api_group = 'discovery.k8s.io' AND op <> 'delete'
    UNION ALL
    SELECT cluster_id, epoch, key, create_revision, version, revision, namespace,
           labels ->> 'kubernetes.io/service-name', ready_replicas, NULL, 1
    FROM states
    WHERE kind = 'EndpointSlice' AND api_group = 'discovery.k8s.io'
),
followed_slices AS (
    SELECT *,
           -- Time of the write, where the value before it is known too: only then is the first
           -- value seen with a ready endpoint also the first that had one.
           CASE WHEN place = 0 AND (version = 1 OR version - 1 = lag(version) OVER (
                    PARTITION BY cluster_id, epoch, key, create_revision ORDER BY version, place))
                THEN commit_unix_nano END AS exact_unix_nano
    FROM slice_observations
),
slices AS (
    SELECT cluster_id, epoch, namespace, service, key, create_revision,
           min(revision) AS ready_revision,
           first_value(exact_unix_nano ORDER BY version, place) AS ready_unix_nano
    FROM followed_slices
    WHERE ready_replicas >= 1 AND service IS NOT NULL
    GROUP BY cluster_id, epoch, namespace, service, key, create_revision
),
endpoints AS (
    -- Slices made after the Service: older ones of the same name belonged to another one.
    SELECT services.cluster_id, services.epoch, services.key, services.create_revision,
           min(slices.ready_revision) AS endpoint_revision,
           first_value(slices.ready_unix_nano ORDER BY slices.ready_revision) AS endpoint_unix_nano
    FROM services
    JOIN slices ON slices.cluster_id = services.cluster_id AND slices.epoch = services.epoch
        AND slices.namespace = services.namespace AND slices.service = services.name
    WHERE slices.create_revision > services.create_revision
        AND (services.deleted_revision IS NULL
             OR slices.ready_revision < services.deleted_revision)
    GROUP BY services.cluster_id, services.epoch, services.key, services.create_revision
),
losses AS (
    SELECT cluster_id, epoch, from_revision, to_revision
    FROM stored.judged_gaps
    WHERE covers_revisions AND NOT is_filled
),
-- A slice that came and went within a gap has left no trace: no time across one is certain.
uncertain AS (
    SELECT DISTINCT endpoints.cluster_id, endpoints.epoch, endpoints.key, endpoints.create_revision
    FROM endpoints
    JOIN losses ON losses.cluster_id = endpoints.cluster_id AND losses.epoch = endpoints.epoch
    WHERE losses.from_revision <= endpoints.endpoint_revision
        AND losses.to_revision >= endpoints.create_revision
),
histories AS (
    SELECT cluster_id, epoch, min(revision) AS history_first_revision
    FROM (SELECT cluster_id, epoch, revision FROM raw.changes
          UNION ALL SELECT cluster_id, epoch, snapshot_revision FROM states)
    GROUP BY cluster_id, epoch
),
joined AS (
    SELECT services.*, endpoints.endpoint_revision, history_first_revision,
           CASE WHEN uncertain.key IS NULL THEN endpoints.endpoint_unix_nano END
               AS endpoint_unix_nano
    FROM services
    JOIN histories ON histories.cluster_id = services.cluster_id
        AND histories.epoch = services.epoch
    LEFT JOIN endpoints ON endpoints.cluster_id = services.cluster_id
        AND endpoints.epoch = services.epoch AND endpoints.key = services.key
        AND endpoints.create_revision = services.create_revision
    LEFT JOIN uncertain ON uncertain.cluster_id = services.cluster_id
        AND uncertain.epoch = services.epoch AND uncertain.key = services.key
        AND uncertain.create_revision = services.create_revision
)
SELECT cluster_id, epoch, namespace, name, uid, key, create_revision,
       arrow_cast(created_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS created_time,
       created_unix_nano,
       endpoint_revision,
       arrow_cast(endpoint_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS endpoint_time,
       endpoint_unix_nano,
       deleted_revision, history_first_revision
FROM joined
