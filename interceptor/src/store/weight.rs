//! About how much memory rows take.
//!
//! Fields of a fixed or naturally small size are counted as a lump; those that whoever writes objects,
//! calls or mergelogs chooses the size of are counted one by one.

use cascade_proto::tables::{Call, Change, Mergelog, Object, ObjectCpid, Request, Span, State};

use super::Rows;

/// Short texts of a row: ids, names of kinds and methods.
const SHORT_TEXTS: usize = 256;
/// One element of a list of small structures, such as an owner or a condition.
const ELEMENT: usize = 192;

/// Memory of rows, in bytes; an estimate on the high side for rows as they come from a cluster.
pub(super) fn bytes(rows: &Rows) -> usize {
    match rows {
        Rows::Changes(rows) => rows.iter().map(change).sum(),
        Rows::States(rows) => rows.iter().map(state).sum(),
        Rows::Calls(rows) => rows.iter().map(call).sum(),
        Rows::Gaps(rows) => rows.iter().map(|gap| fixed(gap) + text(&gap.detail)).sum(),
        Rows::Requests(rows) => rows.iter().map(request).sum(),
        Rows::RequestCalls(rows) => rows.iter().map(fixed).sum(),
        Rows::Mergelogs(rows) => rows.iter().map(mergelog).sum(),
        Rows::Spans(rows) => rows.iter().map(span).sum(),
        Rows::Checkpoint(_) => 0,
    }
}

/// Memory of one call.
pub(crate) fn call(row: &Call) -> usize {
    let texts = [&row.key, &row.range_end, &row.baggage, &row.cpid];
    fixed(row) + texts.into_iter().map(text).sum::<usize>()
}

fn fixed<T>(_row: &T) -> usize {
    size_of::<T>() + SHORT_TEXTS
}

fn text(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn texts(list: &[String]) -> usize {
    list.iter()
        .map(|text| size_of::<String>() + text.len())
        .sum()
}

fn change(row: &Change) -> usize {
    fixed(row)
        + row.key.len()
        + text(&row.prev_cpid)
        + texts(row.changed.as_deref().unwrap_or_default())
        + object(&row.object)
        + cpid(&row.cpid)
}

fn state(row: &State) -> usize {
    fixed(row) + row.key.len() + object(&row.object) + cpid(&row.cpid)
}

fn object(object: &Object) -> usize {
    let elements = [
        object.owners.as_ref().map_or(0, Vec::len),
        object.name_refs.as_ref().map_or(0, Vec::len),
        object.writers.as_ref().map_or(0, Vec::len),
        object.conditions.as_ref().map_or(0, Vec::len),
        object.containers.as_ref().map_or(0, Vec::len),
    ];
    let large = [
        &object.name,
        &object.labels,
        &object.selector,
        &object.annotations,
        &object.facts,
        &object.decode_error,
    ];
    elements.into_iter().sum::<usize>() * ELEMENT
        + large.into_iter().map(text).sum::<usize>()
        + texts(object.finalizers.as_deref().unwrap_or_default())
        + texts(object.related_uids.as_deref().unwrap_or_default())
}

fn cpid(cpid: &ObjectCpid) -> usize {
    text(&cpid.cpid) + texts(cpid.cpid_ancestors.as_deref().unwrap_or_default())
}

fn request(row: &Request) -> usize {
    let large = [&row.name, &row.user_agent, &row.user, &row.audit_id];
    fixed(row)
        + large.into_iter().map(text).sum::<usize>()
        + texts(row.groups.as_deref().unwrap_or_default())
}

fn mergelog(row: &Mergelog) -> usize {
    let large = [&row.cause_message, &row.reported_by];
    fixed(row)
        + row.new_cpid.len()
        + texts(&row.source_cpids)
        + large.into_iter().map(text).sum::<usize>()
}

fn span(row: &Span) -> usize {
    let large = [
        &row.service,
        &row.object_kind,
        &row.object_name,
        &row.message,
        &row.span_id,
        &row.parent_id,
    ];
    fixed(row) + row.cpid.len() + large.into_iter().map(text).sum::<usize>()
}
