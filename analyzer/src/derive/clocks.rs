//! `clocks`: how far the clocks of kube-apiserver and interceptor are apart, and how that is known.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use cascade_proto::tables::{ColumnDefinition, TableInfo};
use datafusion::execution::context::SessionContext;

use super::writes::clocks::{Bounds, NamedWindow, Window};
use super::{Chunks, Derivation, Derived};
use crate::error::Error;

/// The table, as documented.
pub(super) fn table_info() -> TableInfo {
    let column = |name: &str, data_type: &DataType, nullable, documentation| ColumnDefinition {
        name: name.to_owned(),
        data_type: data_type.clone(),
        nullable,
        documentation,
    };
    let (text, int64) = (&DataType::Utf8, &DataType::Int64);
    let time = &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    TableInfo {
        name: "clocks",
        documentation: "One row per kube-apiserver, interceptor and window of time: by how much the \
            interceptor's clock was ahead. Every request must contain its call to etcd, which bounds the difference \
            from both sides.",
        columns: vec![
            column("instance", text, true, "Interceptor that dated the calls."),
            column(
                "apiserver",
                text,
                true,
                "kube-apiserver that dated the requests, as in `requests`.",
            ),
            column(
                "from_time",
                time,
                false,
                "First call of the window; interceptor's clock. Windows are at least 10 s long and have at least 64 \
                pairs, if there are so many. An estimate holds until the next window.",
            ),
            column(
                "from_unix_nano",
                int64,
                false,
                "The same, nanoseconds since 1970.",
            ),
            column("to_time", time, false, "Last call of the window."),
            column(
                "to_unix_nano",
                int64,
                false,
                "The same, nanoseconds since 1970.",
            ),
            column(
                "pairs",
                int64,
                false,
                "Calls of the window that made a change, with their requests.",
            ),
            column(
                "contradicting",
                int64,
                false,
                "Pairs that no offset within the bounds reconciles; the fewest possible.",
            ),
            column(
                "negative_before",
                int64,
                false,
                "Pairs of which the clocks, uncorrected, say that the call began before its request, or was \
                answered after it.",
            ),
            column(
                "lower_ns",
                int64,
                true,
                "The interceptor's clock is ahead by at least this, nanoseconds; negative when it may be behind. \
                NULL, like the next two, when nothing reconciles the pairs.",
            ),
            column("upper_ns", int64, true, "And by at most this."),
            column(
                "offset_ns",
                int64,
                true,
                "The estimate, which is added to kube-apiserver's times: 0 where the bounds allow it, else their \
                middle, which is off by at most half their distance.",
            ),
        ],
    }
}

/// The derivation of the table.
#[derive(Debug)]
pub(super) struct ClocksDerivation {
    derived: Arc<Derived>,
}

impl ClocksDerivation {
    pub(super) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

#[async_trait]
impl Derivation for ClocksDerivation {
    fn name(&self) -> &'static str {
        "clocks"
    }

    fn schema(&self) -> SchemaRef {
        table_info().schema()
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let writes = self.derived.writes(context).await?;
        let mut found: Vec<NamedWindow<'_>> = writes.clocks().collect();
        found.sort_by_key(|named| (named.instance, named.apiserver, named.window.from_unix_nano));
        let texts = |text: fn(&NamedWindow<'_>) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(found.iter().map(text)))
        };
        let times = |value: fn(&Window) -> i64| -> ArrayRef {
            let micros = found
                .iter()
                .map(|named| value(&named.window).div_euclid(1_000));
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
        };
        let integers = |value: fn(&Window) -> Option<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(
                found.iter().map(|named| value(&named.window)),
            ))
        };
        let count = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        let counts = |value: fn(&Window) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter(
                found.iter().map(|named| count(value(&named.window))),
            ))
        };
        let arrays = vec![
            texts(|named| named.instance.map(str::to_owned)),
            texts(|named| named.apiserver.map(str::to_owned)),
            times(|window| window.from_unix_nano),
            integers(|window| Some(window.from_unix_nano)),
            times(|window| window.to_unix_nano),
            integers(|window| Some(window.to_unix_nano)),
            counts(|window| window.pairs),
            counts(|window| window.contradicting),
            counts(|window| window.negative_before),
            integers(|window| Some(window.bounds?.lower_ns)),
            integers(|window| Some(window.bounds?.upper_ns)),
            integers(|window| window.bounds.map(Bounds::offset_ns)),
        ];
        let batch = RecordBatch::try_new(self.schema(), arrays)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(vec![batch]))
    }
}
