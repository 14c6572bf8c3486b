-- One row per chosen trigger: who was at both ends, and where the time between their commits went.
-- The parts are those of `reach`: without a request span all of it is reaction. Nothing is clamped: a
-- negative part says that two clocks differ, or that the cause is wrong.
SELECT
    edge.cluster_id, edge.epoch,
    edge.effect_revision, edge.effect_ordinal, edge.cause_revision, edge.cause_ordinal,
    cause.kind AS cause_kind, cause.op AS cause_op, cause.actor AS cause_actor,
    cause.namespace AS cause_namespace, cause.name AS cause_name,
    effect.kind AS effect_kind, effect.op AS effect_op, effect.actor AS effect_actor,
    effect.namespace AS effect_namespace, effect.name AS effect_name,
    CASE WHEN effect.request_unix_nano IS NULL OR effect.call_unix_nano IS NULL
        THEN effect.commit_unix_nano ELSE effect.request_unix_nano END
        - cause.commit_unix_nano AS reaction_ns,
    effect.call_unix_nano - effect.request_unix_nano AS api_ns,
    CASE WHEN effect.request_unix_nano IS NOT NULL
        THEN effect.commit_unix_nano - effect.call_unix_nano END AS storage_ns,
    effect.commit_unix_nano - cause.commit_unix_nano AS total_ns,
    row_number() OVER (
        PARTITION BY edge.cluster_id, edge.epoch, edge.effect_revision, edge.effect_ordinal
        ORDER BY cause.commit_unix_nano DESC NULLS LAST, edge.cause_revision DESC, edge.cause_ordinal DESC
    ) = 1 AS is_last_cause
FROM edges AS edge
JOIN changes AS cause
    ON cause.cluster_id = edge.cluster_id AND cause.epoch = edge.epoch
    AND cause.revision = edge.cause_revision AND cause.ordinal = edge.cause_ordinal
JOIN changes AS effect
    ON effect.cluster_id = edge.cluster_id AND effect.epoch = edge.epoch
    AND effect.revision = edge.effect_revision AND effect.ordinal = edge.effect_ordinal
WHERE edge.relation = 'trigger' AND edge.chosen
