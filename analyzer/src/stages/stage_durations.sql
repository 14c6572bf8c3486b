-- One row per step of an object from one stage to another: its duration, or why there is none.
WITH moments AS (
    SELECT 'pod' AS object, cluster_id, epoch, namespace, name, uid,
           CAST(NULL AS BIGINT) AS generation, create_revision, created_unix_nano,
           create_revision AS created_revision,
           scheduled_revision, scheduled_unix_nano, running_revision, running_unix_nano,
           ready_revision, ready_unix_nano,
           finished_revision, CAST(NULL AS BIGINT) AS superseded_revision, deleted_revision,
           history_first_revision
    FROM pod_stages
    UNION ALL
    SELECT CASE WHEN generation = 1 THEN 'deployment' ELSE 'deployment generation' END,
           cluster_id, epoch, namespace, name, uid, generation, create_revision, start_unix_nano,
           start_revision AS created_revision, NULL, NULL, NULL, NULL,
           ready_revision, ready_unix_nano, NULL, superseded_revision, deleted_revision,
           history_first_revision
    FROM deployment_stages
    UNION ALL
    SELECT 'service', cluster_id, epoch, namespace, name, uid, NULL, create_revision,
           created_unix_nano, create_revision AS created_revision, NULL, NULL, NULL, NULL,
           endpoint_revision, endpoint_unix_nano, NULL, NULL, deleted_revision,
           history_first_revision
    FROM service_stages
),
-- Which moments each stage lies between; a Service is ready with its first ready endpoint.
stages (stage, object, begins, ends) AS (
    VALUES ('pod.created_to_scheduled', 'pod', 'created', 'scheduled'),
           ('pod.scheduled_to_running', 'pod', 'scheduled', 'running'),
           ('pod.running_to_ready', 'pod', 'running', 'ready'),
           ('pod.created_to_running', 'pod', 'created', 'running'),
           ('pod.created_to_ready', 'pod', 'created', 'ready'),
           ('deployment.created_to_ready', 'deployment', 'created', 'ready'),
           ('deployment.changed_to_ready', 'deployment generation', 'created', 'ready'),
           ('service.created_to_endpoint', 'service', 'created', 'ready')
),
steps AS (
    SELECT stage, cluster_id, epoch, namespace, name, uid, generation, create_revision,
           created_unix_nano,
           CASE begins WHEN 'created' THEN created_revision
                       WHEN 'scheduled' THEN scheduled_revision
                       ELSE running_revision END AS from_revision,
           CASE begins WHEN 'created' THEN created_unix_nano
                       WHEN 'scheduled' THEN scheduled_unix_nano
                       ELSE running_unix_nano END AS from_unix_nano,
           CASE ends WHEN 'scheduled' THEN scheduled_revision
                     WHEN 'running' THEN running_revision
                     ELSE ready_revision END AS to_revision,
           CASE ends WHEN 'scheduled' THEN scheduled_unix_nano
                     WHEN 'running' THEN running_unix_nano
                     ELSE ready_unix_nano END AS to_unix_nano,
           finished_revision, superseded_revision, deleted_revision, history_first_revision
    FROM moments
    JOIN stages ON stages.object = moments.object
),
judged AS (
    SELECT *,
           CASE
               WHEN from_revision IS NOT NULL AND from_unix_nano IS NULL
                    AND from_revision <= history_first_revision THEN 'before_trace'
               WHEN from_revision IS NOT NULL AND from_unix_nano IS NULL THEN 'not_observed'
               WHEN to_revision IS NOT NULL AND to_unix_nano IS NULL THEN 'not_observed'
               WHEN to_revision IS NULL AND superseded_revision IS NOT NULL THEN 'superseded'
               WHEN to_revision IS NULL AND finished_revision IS NOT NULL THEN 'finished'
               WHEN to_revision IS NULL AND deleted_revision IS NOT NULL THEN 'deleted'
               WHEN to_revision IS NULL THEN 'not_reached'
               WHEN from_revision IS NULL OR to_revision < from_revision
                    OR to_unix_nano < from_unix_nano THEN 'out_of_order'
           END AS excluded
    FROM steps
)
SELECT stage, cluster_id, epoch, namespace, name, uid, generation, create_revision,
       created_unix_nano, from_revision, from_unix_nano, to_revision, to_unix_nano,
       CASE WHEN excluded IS NULL THEN to_unix_nano - from_unix_nano END AS duration_ns,
       excluded
FROM judged
