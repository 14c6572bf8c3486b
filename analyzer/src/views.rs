//! The tables that people query: raw tables, and `changes` together with the calls that made them.

use datafusion::execution::context::SessionContext;

use crate::catalog::Trace;
use crate::error::Error;
use crate::session::RAW_SCHEMA;

/// Registers the views in the default schema.
///
/// # Errors
/// [`Error::Query`] when a view's query is refused, which would be a mistake here.
pub async fn register(context: &SessionContext, trace: &Trace) -> Result<(), Error> {
    for table in &trace.tables {
        let raw = format!("{RAW_SCHEMA}.{}", table.name);
        if table.name == "changes" {
            let changes = context.sql(&changes_query(trace)).await?.into_view();
            context.register_table("changes", changes)?;
            continue;
        }
        let provider = context.table_provider(raw.as_str()).await?;
        context.register_table(table.name, provider)?;
    }
    Ok(())
}

/// The view `changes`: each row of `raw.changes` once, with the call that made it if one was seen.
///
/// A call's answer and the ledger's event tell the same commit, so the commit is dated by whichever
/// came first. A key can occur once in a revision, so at most one committed operation matches;
/// should a trace claim two, the first is taken, never a row twice.
fn changes_query(trace: &Trace) -> String {
    let has_requests = trace
        .table("request_calls")
        .is_some_and(|table| table.rows > 0);
    let (request_columns, request_join) = if has_requests {
        (REQUEST_COLUMNS, REQUEST_JOIN)
    } else {
        (NO_REQUEST_COLUMNS, "")
    };
    // Several functions over the same order take the same row. Those that a query does not need are
    // dropped by the optimizer, and grouping costs a third of what numbering the rows does.
    let call_columns = CALL_COLUMNS
        .map(|column| {
            format!("first_value({column} ORDER BY request_unix_nano, call_id) AS {column}")
        })
        .join(", ");
    format!(
        "SELECT change.*,
            least(call.response_time, change.seen_time) AS commit_time,
            least(call.response_unix_nano, change.seen_unix_nano) AS commit_unix_nano,
            CASE WHEN call.response_unix_nano <= change.seen_unix_nano
                OR (change.seen_unix_nano IS NULL AND call.response_unix_nano IS NOT NULL)
                THEN 'call' WHEN change.seen_unix_nano IS NOT NULL THEN 'ledger' END
                AS commit_source,
            call.call_id,
            call.request_time AS call_time,
            call.request_unix_nano AS call_unix_nano,
            least(call.response_unix_nano, change.seen_unix_nano) - call.request_unix_nano
                AS storage_ns,
            {request_columns},
            newest_writer(change.writers) AS actor,
            CASE WHEN newest_writer(change.writers) IS NOT NULL THEN 'manager' END AS actor_source
        FROM {RAW_SCHEMA}.changes AS change
        LEFT JOIN (
            SELECT cluster_id, epoch, revision, key, {call_columns}
            FROM {RAW_SCHEMA}.calls
            WHERE outcome = 'committed' AND revision IS NOT NULL AND key IS NOT NULL
            GROUP BY cluster_id, epoch, revision, key
        ) AS call
        ON call.revision = change.revision AND call.key = change.key
            AND call.epoch = change.epoch AND call.cluster_id = change.cluster_id
        {request_join}"
    )
}

/// What the view needs of a call.
const CALL_COLUMNS: [&str; 6] = [
    "call_id",
    "request_time",
    "request_unix_nano",
    "response_time",
    "response_unix_nano",
    "span_id",
];
const NO_REQUEST_COLUMNS: &str =
    "arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS request_time,
            CAST(NULL AS BIGINT) AS request_unix_nano";
const REQUEST_COLUMNS: &str = "request.start_time AS request_time,
            request.start_unix_nano AS request_unix_nano";
/// Requests by the span of the call; a span belongs to one request.
const REQUEST_JOIN: &str = "LEFT JOIN (
            SELECT link.call_span_id, min(request.start_time) AS start_time,
                min(request.start_unix_nano) AS start_unix_nano
            FROM raw.request_calls AS link
            JOIN raw.requests AS request ON request.span_id = link.request_span_id
                AND request.trace_id = link.trace_id
            GROUP BY link.call_span_id
        ) AS request ON request.call_span_id = call.span_id";
