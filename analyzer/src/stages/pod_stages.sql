-- One row per Pod: when it first reached each stage of its life.
WITH observations AS (
    SELECT cluster_id, epoch, key, create_revision, version, revision, op, namespace, name, uid,
           node_name, phase, condition_status(conditions, 'Ready') = 'True' AS is_ready,
           stateful, commit_unix_nano,
           CASE WHEN op = 'delete' THEN 2 ELSE 0 END AS place
    FROM changes
    WHERE kind = 'Pod' AND api_group = ''
    UNION ALL
    -- A snapshot tells what a Pod was, not when it became so.
    SELECT cluster_id, epoch, key, create_revision, version, revision, 'state', namespace, name, uid,
           node_name, phase, condition_status(conditions, 'Ready') = 'True', stateful, NULL, 1
    FROM states
    WHERE kind = 'Pod' AND api_group = ''
),
followed AS (
    SELECT *,
           -- Time of the write, where the value before it is known too: only then is the first
           -- value seen in a stage also the first that was in it.
           CASE WHEN place = 0 AND (version = 1 OR version - 1 = lag(version) OVER (
                    PARTITION BY cluster_id, epoch, key, create_revision ORDER BY version, place))
                THEN commit_unix_nano END AS exact_unix_nano
    FROM observations
),
histories AS (
    SELECT cluster_id, epoch, min(revision) AS history_first_revision
    FROM (SELECT cluster_id, epoch, revision FROM raw.changes
          UNION ALL SELECT cluster_id, epoch, snapshot_revision FROM states)
    GROUP BY cluster_id, epoch
),
pods AS (
    SELECT cluster_id, epoch, key, create_revision,
           max(namespace) AS namespace, max(name) AS name, max(uid) AS uid,
           max(node_name) AS node_name, bool_or(stateful) AS stateful,
           min(exact_unix_nano) FILTER (WHERE op = 'create') AS created_unix_nano,
           min(revision) FILTER (WHERE place < 2 AND node_name <> '') AS scheduled_revision,
           first_value(exact_unix_nano ORDER BY version, place)
               FILTER (WHERE place < 2 AND node_name <> '') AS scheduled_unix_nano,
           min(revision) FILTER (WHERE place < 2 AND phase = 'Running') AS running_revision,
           first_value(exact_unix_nano ORDER BY version, place)
               FILTER (WHERE place < 2 AND phase = 'Running') AS running_unix_nano,
           min(revision) FILTER (WHERE place < 2 AND is_ready) AS ready_revision,
           first_value(exact_unix_nano ORDER BY version, place)
               FILTER (WHERE place < 2 AND is_ready) AS ready_unix_nano,
           min(revision) FILTER (WHERE place < 2 AND phase IN ('Succeeded', 'Failed'))
               AS finished_revision,
           min(revision) FILTER (WHERE place = 2) AS deleted_revision
    FROM followed
    GROUP BY cluster_id, epoch, key, create_revision
)
SELECT pods.cluster_id, pods.epoch, namespace, name, uid, key, node_name, stateful,
       create_revision,
       arrow_cast(created_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS created_time,
       created_unix_nano,
       scheduled_revision,
       arrow_cast(scheduled_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS scheduled_time,
       scheduled_unix_nano,
       running_revision,
       arrow_cast(running_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS running_time,
       running_unix_nano,
       ready_revision,
       arrow_cast(ready_unix_nano / 1000, 'Timestamp(Microsecond, Some("UTC"))') AS ready_time,
       ready_unix_nano,
       finished_revision, deleted_revision, history_first_revision
FROM pods
JOIN histories ON histories.cluster_id = pods.cluster_id AND histories.epoch = pods.epoch
