-- Which CPIDs were made of which others, and the first change that carried each: as controllers reported it, and as
-- it follows from the causes.
WITH made AS (
    SELECT DISTINCT new_cpid, array_sort(source_cpids) AS source_cpids
    FROM raw.mergelogs
    WHERE array_length(source_cpids) > 0
),
carried AS (
    SELECT coalesce(cpid, cpid_reported) AS cpid, cluster_id, epoch, revision, ordinal,
           row_number() OVER (
               PARTITION BY coalesce(cpid, cpid_reported)
               ORDER BY commit_unix_nano, cluster_id, epoch, revision, ordinal
           ) AS occurrence
    FROM changes
    WHERE cpid IS NOT NULL OR cpid_reported IS NOT NULL
)
SELECT made.new_cpid, made.source_cpids, carried.cluster_id, carried.epoch, carried.revision,
       carried.ordinal, 'reported' AS origin
FROM made
LEFT JOIN carried ON carried.cpid = made.new_cpid AND carried.occurrence = 1
UNION ALL
SELECT new_cpid, source_cpids, cluster_id, epoch, revision, ordinal, origin FROM causes.merges
