-- One row per Deployment and generation: when that generation was asked for, and when all its
-- replicas were first ready.
WITH observations AS (
    SELECT cluster_id, epoch, key, create_revision, version, revision, op, namespace, name, uid,
           generation, observed_generation, replicas, updated_replicas, ready_replicas,
           available_replicas, deletion_time, facts, commit_unix_nano,
           CASE WHEN op = 'delete' THEN 2 ELSE 0 END AS place
    FROM changes
    WHERE kind = 'Deployment' AND api_group = 'apps' AND generation IS NOT NULL
    UNION ALL
    -- A snapshot tells what a Deployment was, not when it became so.
    SELECT cluster_id, epoch, key, create_revision, version, revision, 'state', namespace, name, uid,
           generation, observed_generation, replicas, updated_replicas, ready_replicas,
           available_replicas, deletion_time, facts, NULL, 1
    FROM states
    WHERE kind = 'Deployment' AND api_group = 'apps' AND generation IS NOT NULL
),
followed AS (
    SELECT *,
           -- As the rollout status of kubectl has it: the controller has seen this generation, and
           -- every replica is of it, ready and available; none of an older one is left. Asking for
           -- deletion raises the generation too, but asks for no replicas.
           place < 2
               AND deletion_time IS NULL
               AND observed_generation >= generation
               AND coalesce(replicas, 0) = wanted
               AND coalesce(updated_replicas, 0) = wanted
               AND coalesce(ready_replicas, 0) = wanted
               AND coalesce(available_replicas, 0) = wanted AS is_ready,
           -- Time of the write, where the value before it is known too: only then is the first
           -- value seen in a stage also the first that was in it.
           CASE WHEN place = 0 AND (version = 1 OR version - 1 = lag(version) OVER (
                    PARTITION BY cluster_id, epoch, key, create_revision ORDER BY version, place))
                THEN commit_unix_nano END AS exact_unix_nano
    FROM (SELECT *, CAST(facts ->> 'spec.replicas' AS BIGINT) AS wanted FROM observations)
),
histories AS (
    SELECT cluster_id, epoch, min(revision) AS history_first_revision
    FROM (SELECT cluster_id, epoch, revision FROM raw.changes
          UNION ALL SELECT cluster_id, epoch, snapshot_revision FROM states)
    GROUP BY cluster_id, epoch
),
generations AS (
    SELECT cluster_id, epoch, key, create_revision, generation,
           max(namespace) AS namespace, max(name) AS name, max(uid) AS uid,
           max(wanted) AS wanted_replicas,
           min(revision) AS start_revision,
           first_value(exact_unix_nano ORDER BY version, place) AS start_unix_nano,
           min(revision) FILTER (WHERE is_ready) AS ready_revision,
           first_value(exact_unix_nano ORDER BY version, place)
               FILTER (WHERE is_ready) AS ready_unix_nano,
           min(revision) FILTER (WHERE place = 2) AS deleted_revision
    FROM followed
    GROUP BY cluster_id, epoch, key, create_revision, generation
),
succeeded AS (
    SELECT *,
           lead(start_revision) OVER (PARTITION BY cluster_id, epoch, key, create_revision
                                      ORDER BY generation) AS superseded_revision
    FROM generations
)
SELECT succeeded.cluster_id, succeeded.epoch, namespace, name, uid, key, create_revision, generation,
       wanted_replicas,
       start_revision,
       arrow_cast(start_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS start_time,
       start_unix_nano,
       ready_revision,
       arrow_cast(ready_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS ready_time,
       ready_unix_nano,
       superseded_revision, deleted_revision, history_first_revision
FROM succeeded
JOIN histories ON histories.cluster_id = succeeded.cluster_id AND histories.epoch = succeeded.epoch
