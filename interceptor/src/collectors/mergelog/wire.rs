//! Between the messages of the trace server's protocol and rows.
//!
//! In the messages a text that is not there is the empty one; in a trace it is NULL.

use cascade_proto::tables::{CauseType, Mergelog, Moment, SentMoment, Span};
use cascade_proto::wire::mergelog as messages;
use prost_types::Timestamp;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Longest CPID, in bytes: the index holds every one in memory. The authors' are UUIDs of 36.
pub(super) const MAX_CPID_BYTES: usize = 1024;

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list}[{position}]: {fault}; nothing of this request was stored")]
pub(super) struct Invalid {
    list: &'static str,
    /// From 0.
    position: usize,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("{field} is empty")]
    NoCpid { field: &'static str },
    #[error("{field} has {bytes} bytes; a CPID has at most {MAX_CPID_BYTES}")]
    LongCpid { field: &'static str, bytes: usize },
    #[error("{field} is not a time between the years 1678 and 2262")]
    Time { field: &'static str },
}

/// Rows of the mergelogs of a request. Where and when they arrived is left to be filled in.
pub(super) fn mergelog_rows(mergelogs: Vec<messages::Mergelog>) -> Result<Vec<Mergelog>, Invalid> {
    rows("mergelogs", mergelogs, mergelog_row)
}

/// Rows of the spans of a request. Where and when they arrived is left to be filled in.
pub(super) fn span_rows(spans: Vec<messages::Span>) -> Result<Vec<Span>, Invalid> {
    rows("spans", spans, span_row)
}

fn rows<M, R>(
    list: &'static str,
    messages: Vec<M>,
    row: impl Fn(M) -> Result<R, Fault>,
) -> Result<Vec<R>, Invalid> {
    let numbered = messages.into_iter().enumerate();
    numbered
        .map(|(position, message)| {
            row(message).map_err(|fault| Invalid {
                list,
                position,
                fault,
            })
        })
        .collect()
}

/// To be filled in.
const NO_MOMENT: Moment = Moment { unix_nano: 0 };

fn mergelog_row(message: messages::Mergelog) -> Result<Mergelog, Fault> {
    let cause_type = match message.cause_type() {
        messages::CauseType::Unspecified => CauseType::Unspecified,
        messages::CauseType::NewChange => CauseType::NewChange,
        messages::CauseType::Merge => CauseType::Merge,
    };
    let sources = message.source_cpids.into_iter();
    Ok(Mergelog {
        new_cpid: cpid("new_cpid", message.new_cpid)?,
        source_cpids: sources
            .map(|source| cpid("a CPID of source_cpids", Some(source)))
            .collect::<Result<_, _>>()?,
        sent: moment("time", message.time)?.map(SentMoment),
        cause_type,
        cause_message: some_text(message.cause_message),
        reported_by: some_text(message.by),
        received: NO_MOMENT,
        instance: String::new(),
    })
}

fn span_row(message: messages::Span) -> Result<Span, Fault> {
    Ok(Span {
        cpid: cpid("cpid", message.cpid)?,
        start: moment("start_time", message.start_time)?,
        end: moment("end_time", message.end_time)?,
        service: some_text(message.service),
        object_kind: some_text(message.object_kind),
        object_name: some_text(message.object_name),
        message: some_text(message.message),
        span_id: some_text(message.span_id),
        parent_id: some_text(message.parent_id),
        received: NO_MOMENT,
        instance: String::new(),
    })
}

/// The message that a row was made of.
pub(super) fn mergelog_message(row: Mergelog) -> messages::Mergelog {
    let cause_type = match row.cause_type {
        CauseType::Unspecified => messages::CauseType::Unspecified,
        CauseType::NewChange => messages::CauseType::NewChange,
        CauseType::Merge => messages::CauseType::Merge,
    };
    messages::Mergelog {
        new_cpid: cpid_message(row.new_cpid),
        source_cpids: row
            .source_cpids
            .into_iter()
            .map(|cpid| messages::Cpid { cpid })
            .collect(),
        time: row.sent.map(|SentMoment(moment)| timestamp(moment)),
        cause_type: cause_type.into(),
        cause_message: row.cause_message.unwrap_or_default(),
        by: row.reported_by.unwrap_or_default(),
    }
}

/// The message that a row was made of.
pub(super) fn span_message(row: Span) -> messages::Span {
    messages::Span {
        cpid: cpid_message(row.cpid),
        start_time: row.start.map(timestamp),
        end_time: row.end.map(timestamp),
        service: row.service.unwrap_or_default(),
        object_kind: row.object_kind.unwrap_or_default(),
        object_name: row.object_name.unwrap_or_default(),
        message: row.message.unwrap_or_default(),
        span_id: row.span_id.unwrap_or_default(),
        parent_id: row.parent_id.unwrap_or_default(),
    }
}

fn cpid(field: &'static str, message: Option<messages::Cpid>) -> Result<String, Fault> {
    let text = message.unwrap_or_default().cpid;
    match text.len() {
        0 => Err(Fault::NoCpid { field }),
        bytes if bytes > MAX_CPID_BYTES => Err(Fault::LongCpid { field, bytes }),
        _ => Ok(text),
    }
}

fn cpid_message(cpid: String) -> Option<messages::Cpid> {
    Some(messages::Cpid { cpid })
}

fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn moment(field: &'static str, time: Option<Timestamp>) -> Result<Option<Moment>, Fault> {
    let Some(Timestamp { seconds, nanos }) = time else {
        return Ok(None);
    };
    let within_second = (0..NANOS_PER_SECOND).contains(&i64::from(nanos));
    seconds
        .checked_mul(NANOS_PER_SECOND)
        .and_then(|unix_nano| unix_nano.checked_add(i64::from(nanos)))
        .filter(|_| within_second)
        .map(|unix_nano| Some(Moment { unix_nano }))
        .ok_or(Fault::Time { field })
}

fn timestamp(moment: Moment) -> Timestamp {
    Timestamp {
        seconds: moment.unix_nano.div_euclid(NANOS_PER_SECOND),
        // Below 10⁹.
        nanos: i32::try_from(moment.unix_nano.rem_euclid(NANOS_PER_SECOND)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cpid_of(text: &str) -> messages::Cpid {
        messages::Cpid {
            cpid: text.to_owned(),
        }
    }

    fn any_time() -> impl Strategy<Value = Option<Timestamp>> {
        let seconds = i64::MIN / NANOS_PER_SECOND + 1..i64::MAX / NANOS_PER_SECOND;
        proptest::option::of(
            (seconds, 0..1_000_000_000_i32)
                .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }),
        )
    }

    proptest! {
        #[test]
        fn mergelogs_come_back_as_they_were_sent(
            new_cpid in ".{1,40}",
            sources in proptest::collection::vec(".{1,40}", 0..4),
            time in any_time(),
            cause_type in 0..3_i32,
            cause_message in ".*",
            by in ".*",
        ) {
            let sent = messages::Mergelog {
                new_cpid: Some(cpid_of(&new_cpid)),
                source_cpids: sources.iter().map(|source| cpid_of(source)).collect(),
                time,
                cause_type,
                cause_message,
                by,
            };
            let row = mergelog_rows(vec![sent.clone()]).unwrap().remove(0);
            prop_assert_eq!(mergelog_message(row), sent);
        }

        #[test]
        fn spans_come_back_as_they_were_sent(
            texts in proptest::collection::vec(".*", 6),
            start_time in any_time(),
            end_time in any_time(),
        ) {
            let text = |index: usize| texts[index].clone();
            let sent = messages::Span {
                cpid: Some(cpid_of("c")),
                start_time,
                end_time,
                service: text(0),
                object_kind: text(1),
                object_name: text(2),
                message: text(3),
                span_id: text(4),
                parent_id: text(5),
            };
            let row = span_rows(vec![sent.clone()]).unwrap().remove(0);
            prop_assert_eq!(span_message(row), sent);
        }

        #[test]
        fn no_time_makes_it_panic(seconds: i64, nanos: i32) {
            let sent = messages::Mergelog {
                new_cpid: Some(cpid_of("c")),
                time: Some(Timestamp { seconds, nanos }),
                ..messages::Mergelog::default()
            };
            let _ = mergelog_rows(vec![sent]);
        }
    }

    #[test]
    fn what_is_not_there_is_null() {
        let sent = messages::Mergelog {
            new_cpid: Some(cpid_of("c")),
            // Of a later version of the protocol.
            cause_type: 77,
            ..messages::Mergelog::default()
        };
        let row = mergelog_rows(vec![sent]).unwrap().remove(0);
        assert_eq!(row.sent, None);
        assert_eq!(row.cause_message, None);
        assert_eq!(row.reported_by, None);
        assert_eq!(row.cause_type, CauseType::Unspecified);
    }

    #[test]
    fn what_cannot_be_stored_is_refused_and_named() {
        let good = messages::Mergelog {
            new_cpid: Some(cpid_of("c")),
            ..messages::Mergelog::default()
        };
        let refusals = [
            (
                messages::Mergelog::default(),
                "mergelogs[1]: new_cpid is empty; nothing of this request was stored",
            ),
            (
                messages::Mergelog {
                    source_cpids: vec![cpid_of("a"), cpid_of("")],
                    ..good.clone()
                },
                "mergelogs[1]: a CPID of source_cpids is empty; nothing of this request was stored",
            ),
            (
                messages::Mergelog {
                    new_cpid: Some(cpid_of(&"x".repeat(1025))),
                    ..good.clone()
                },
                "mergelogs[1]: new_cpid has 1025 bytes; a CPID has at most 1024; \
                 nothing of this request was stored",
            ),
            (
                messages::Mergelog {
                    time: Some(Timestamp {
                        seconds: 1,
                        nanos: -1,
                    }),
                    ..good.clone()
                },
                "mergelogs[1]: time is not a time between the years 1678 and 2262; \
                 nothing of this request was stored",
            ),
        ];
        for (bad, message) in refusals {
            let error = mergelog_rows(vec![good.clone(), bad]).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
