//! `paths(from, to)`: how long it took from one kind of change to another, and which way.
//!
//! One row per change that fits `from` and object that then first fits `to`, with the critical path between them.
//! `from` is the nearest earlier fit on the critical path; NULL stands for the roots that clients and
//! timers started. `to` is the first fit of each object; NULL stands for the last change of the cascade,
//! Events and Leases aside. Cascades are read one after the other, so memory is needed for one of them and
//! for the answer.

mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Builder, ListBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::common::{Result as QueryResult, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::Expr;
use futures::StreamExt;

use super::endpoint::{Endpoint, StepWords};
use super::rows::{
    Histories, HistoryName, Keys, history_columns, history_fields, key_columns, key_fields, numbers,
};
use super::sums::SumColumns;
use crate::derive::{Chunks, Derivation};
use crate::error::Error;
use crate::report::rows::{flags, floats, integers, text, texts};
use crate::report::scope::literal;
use walk::{Arrival, Cascade, Reached};

/// Rows of one record batch.
const BATCH_ROWS: usize = 8192;

/// The paths between two kinds of changes.
#[derive(Debug)]
pub(super) struct PathsBetween {
    from: Option<Endpoint>,
    to: Option<Endpoint>,
}

/// Texts by number.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }
}

/// What the rows of the answer are made of.
#[derive(Debug, Default)]
struct Answer {
    arrivals: Vec<Arrival>,
    histories: Vec<HistoryName>,
    steps: Vec<StepWords>,
    objects: Names,
    aspects: Names,
    namespaces: Names,
    names: Names,
    paths: Names,
}

impl PathsBetween {
    pub(super) fn plan(arguments: &[Expr]) -> QueryResult<Self> {
        let [from, to] = arguments else {
            return plan_err!(
                "paths takes two ends, such as paths('Deployment/update', 'Pod:ready'); NULL for the \
                root or the end of the cascade"
            );
        };
        let end = |argument: &Expr| match argument {
            Expr::Literal(value, _) if value.is_null() => Ok(None),
            Expr::Literal(
                ScalarValue::Utf8(Some(text))
                | ScalarValue::Utf8View(Some(text))
                | ScalarValue::LargeUtf8(Some(text)),
                _,
            ) => Endpoint::parse(text)
                .map(Some)
                .map_err(|error| plan_datafusion_err!("{error}")),
            other => {
                plan_err!("paths takes texts that are known before the query runs, not {other}")
            }
        };
        let (from, to) = (end(from)?, end(to)?);
        if from.as_ref().is_some_and(|from| from.milestone.is_some()) {
            return plan_err!("a path begins with a change, not with a milestone");
        }
        Ok(Self { from, to })
    }

    /// The kinds of changes that there are, and the number of each by the signatures that end in it.
    async fn steps(context: &SessionContext) -> Result<(Vec<StepWords>, HashMap<i64, u32>), Error> {
        let query = "SELECT path_id, step, kind, op, facet, actor FROM path_steps ORDER BY path_id, position";
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut steps = Vec::new();
        // Of each signature the last step counts: it is inserted last.
        let mut of_path = HashMap::new();
        for batch in context.sql(query).await?.collect().await? {
            let ids = integers(&batch, "path_id")?;
            let (words, kinds) = (texts(&batch, "step")?, texts(&batch, "kind")?);
            let (ops, facets) = (texts(&batch, "op")?, texts(&batch, "facet")?);
            let actors = texts(&batch, "actor")?;
            for row in 0..batch.num_rows() {
                let number = match numbers.get(words.value(row)) {
                    Some(known) => *known,
                    None => {
                        let number = u32::try_from(steps.len()).unwrap_or(u32::MAX);
                        numbers.insert(words.value(row).to_owned(), number);
                        steps.push(StepWords {
                            step: words.value(row).to_owned(),
                            kind: kinds.value(row).to_owned(),
                            op: ops.value(row).to_owned(),
                            facet: text(&facets, row),
                            actor: text(&actors, row),
                        });
                        number
                    }
                };
                of_path.insert(ids.value(row), number);
            }
        }
        Ok((steps, of_path))
    }

    /// What the roots in question reached, root after root in revision order.
    fn query(&self) -> String {
        let roots = if self.from.is_some() {
            ""
        } else {
            "JOIN (SELECT cluster_id, epoch, revision, ordinal FROM roots
                WHERE root_class IN ('client', 'timer')) o
            ON o.cluster_id = r.cluster_id AND o.epoch = r.epoch
                AND o.revision = r.root_revision AND o.ordinal = r.root_ordinal"
        };
        let milestone = self.to.as_ref().and_then(|to| to.milestone.as_deref());
        let (is_milestone, milestones) = match milestone {
            None => ("true", String::new()),
            Some(milestone) => (
                "m.revision IS NOT NULL",
                format!(
                    "LEFT JOIN (SELECT DISTINCT cluster_id, epoch, root_revision, root_ordinal, revision, ordinal
                        FROM stages WHERE milestone = {}) m
                    ON m.cluster_id = r.cluster_id AND m.epoch = r.epoch
                        AND m.root_revision = r.root_revision AND m.root_ordinal = r.root_ordinal
                        AND m.revision = r.revision AND m.ordinal = r.ordinal",
                    literal(milestone)
                ),
            ),
        };
        format!(
            "SELECT r.cluster_id, r.epoch, r.root_revision, r.root_ordinal, r.revision, r.ordinal,
                r.predecessor_revision, r.predecessor_ordinal, r.since_root_ns, r.reaction_ns, r.api_ns,
                r.storage_ns, r.path_id, r.min_confidence, c.object, c.namespace, c.name,
                {is_milestone} AS is_milestone
            FROM reach r
            JOIN (SELECT cluster_id, epoch, revision, ordinal, coalesce(nullif(uid, ''), key) AS object,
                namespace, name FROM raw.changes) c
            ON c.cluster_id = r.cluster_id AND c.epoch = r.epoch
                AND c.revision = r.revision AND c.ordinal = r.ordinal
            {roots} {milestones}
            ORDER BY r.cluster_id, r.epoch, r.root_revision, r.root_ordinal, r.revision, r.ordinal"
        )
    }

    async fn answer(&self, context: &SessionContext) -> Result<Answer, Error> {
        let (steps, step_of_path) = Self::steps(context).await?;
        let fits = |end: &Option<Endpoint>| -> Vec<bool> {
            let end = end.as_ref();
            let fits = |words: &StepWords| end.is_some_and(|end| end.fits(words));
            steps.iter().map(fits).collect()
        };
        let mut cascade = Cascade::new(
            self.from.is_some().then(|| fits(&self.from)),
            self.to.is_some().then(|| fits(&self.to)),
            steps.iter().map(walk::is_side).collect(),
        );
        let mut answer = Answer {
            steps,
            ..Answer::default()
        };
        let mut batches = context.sql(&self.query()).await?.execute_stream().await?;
        let mut root = None;
        while let Some(batch) = batches.next().await.transpose()? {
            let (histories, roots) = (Histories::of(&batch)?, Keys::of(&batch, "root_")?);
            let (keys, before) = (Keys::of(&batch, "")?, Keys::of(&batch, "predecessor_")?);
            let sums = SumColumns::of(&batch)?;
            let (paths, milestones) =
                (integers(&batch, "path_id")?, flags(&batch, "is_milestone")?);
            let confidences = floats(&batch, "min_confidence")?;
            let objects = texts(&batch, "object")?;
            let (namespaces, names) = (texts(&batch, "namespace")?, texts(&batch, "name")?);
            for row in 0..batch.num_rows() {
                let Some((root_key, key)) = roots.get(row).zip(keys.get(row)) else {
                    continue;
                };
                let history = histories.at(row, answer.histories.last());
                if answer.histories.last() != Some(&history) {
                    answer.arrivals.extend(cascade.finish());
                    answer.histories.push(history);
                    root = None;
                }
                if root != Some(root_key) {
                    answer.arrivals.extend(cascade.finish());
                    root = Some(root_key);
                }
                let Some(step) = step_of_path.get(&paths.value(row)) else {
                    continue;
                };
                cascade.add(Reached {
                    history: answer.histories.len() - 1,
                    root: root_key,
                    key,
                    before: before.get(row),
                    sums: sums.at(row),
                    step: *step,
                    aspect: answer.aspect(*step),
                    object: answer.objects.number(objects.value(row)),
                    namespace: text(&namespaces, row)
                        .map(|namespace| answer.namespaces.number(&namespace)),
                    name: text(&names, row).map(|name| answer.names.number(&name)),
                    is_milestone: milestones.value(row),
                    min_confidence: confidences.value(row),
                });
            }
        }
        answer.arrivals.extend(cascade.finish());
        walk::keep_first(&mut answer.arrivals);
        Ok(answer)
    }
}

impl Answer {
    /// A number for the operation and the facet of a step.
    fn aspect(&mut self, step: u32) -> u32 {
        let words = self.steps.get(step as usize);
        let aspect = words.map_or_else(String::new, |words| {
            format!(
                "{}[{}]",
                words.op,
                words.facet.as_deref().unwrap_or_default()
            )
        });
        self.aspects.number(&aspect)
    }

    fn step(&self, number: u32) -> Option<&StepWords> {
        self.steps.get(number as usize)
    }

    /// The signatures, one number per arrival.
    fn sign(&mut self) -> Vec<u32> {
        let mut signatures = Vec::with_capacity(self.arrivals.len());
        for arrival in &self.arrivals {
            let words = arrival
                .steps
                .iter()
                .filter_map(|(step, _)| self.step(*step));
            let words: Vec<&str> = words.map(|words| words.step.as_str()).collect();
            signatures.push(words.join(" > "));
        }
        signatures
            .iter()
            .map(|signature| self.paths.number(signature))
            .collect()
    }

    fn batch(
        &self,
        schema: SchemaRef,
        arrivals: &[Arrival],
        signatures: &[u32],
    ) -> Result<RecordBatch, Error> {
        let all = || arrivals.iter();
        let histories: Vec<HistoryName> = all()
            .filter_map(|arrival| self.histories.get(arrival.history).cloned())
            .collect();
        let words = |text: &dyn Fn(&StepWords) -> Option<&str>| -> ArrayRef {
            let mut texts = StringBuilder::new();
            for arrival in all() {
                texts.append_option(self.step(arrival.step).and_then(text));
            }
            Arc::new(texts.finish())
        };
        let optional = |names: &Names, number: &dyn Fn(&Arrival) -> Option<u32>| -> ArrayRef {
            let texts = all().map(|arrival| number(arrival).map(|number| names.text(number)));
            Arc::new(StringArray::from_iter(texts))
        };
        let mut step_times = ListBuilder::new(Int64Builder::new());
        for arrival in all() {
            for (_, nanoseconds) in &arrival.steps {
                step_times.values().append_value(*nanoseconds);
            }
            step_times.append(true);
        }
        let mut columns: Vec<ArrayRef> = history_columns(histories.iter()).into();
        columns.extend(key_columns(all().map(|arrival| Some(arrival.root))));
        columns.extend(key_columns(all().map(|arrival| Some(arrival.start))));
        columns.extend(key_columns(all().map(|arrival| Some(arrival.key))));
        columns.push(words(&|words| Some(&words.kind)));
        columns.push(optional(&self.namespaces, &|arrival| arrival.namespace));
        columns.push(optional(&self.names, &|arrival| arrival.name));
        columns.push(words(&|words| Some(&words.op)));
        columns.push(words(&|words| words.actor.as_deref()));
        columns.push(Arc::new(StringArray::from_iter_values(
            signatures
                .iter()
                .map(|signature| self.paths.text(*signature)),
        )));
        columns.push(numbers(all().map(|arrival| arrival.sums.total)));
        columns.push(numbers(all().map(|arrival| arrival.sums.reaction)));
        columns.push(numbers(all().map(|arrival| arrival.sums.api)));
        columns.push(numbers(all().map(|arrival| arrival.sums.storage)));
        columns.push(Arc::new(step_times.finish()));
        columns.push(Arc::new(BooleanArray::from_iter(
            all().map(|arrival| Some(arrival.is_last)),
        )));
        columns.push(Arc::new(Float64Array::from_iter_values(
            all().map(|arrival| arrival.min_confidence),
        )));
        RecordBatch::try_new(schema, columns).map_err(|error| Error::Internal(error.to_string()))
    }
}

#[async_trait]
impl Derivation for PathsBetween {
    fn name(&self) -> &'static str {
        "paths"
    }

    fn schema(&self) -> SchemaRef {
        let mut fields: Vec<Field> = history_fields().into();
        fields.extend(key_fields("root_", false));
        fields.extend(key_fields("from_", false));
        fields.extend(key_fields("", false));
        fields.extend([
            Field::new("kind", DataType::Utf8, true),
            Field::new("namespace", DataType::Utf8, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("op", DataType::Utf8, true),
            Field::new("actor", DataType::Utf8, true),
            Field::new("path", DataType::Utf8, false),
        ]);
        for name in ["total_ns", "reaction_ns", "api_ns", "storage_ns"] {
            fields.push(Field::new(name, DataType::Int64, false));
        }
        let times = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        fields.push(Field::new("step_ns", times, false));
        fields.push(Field::new("is_last", DataType::Boolean, false));
        fields.push(Field::new("min_confidence", DataType::Float64, false));
        Arc::new(Schema::new(fields))
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let mut answer = self.answer(context).await?;
        let signatures = answer.sign();
        let batches = answer
            .arrivals
            .chunks(BATCH_ROWS)
            .zip(signatures.chunks(BATCH_ROWS))
            .map(|(arrivals, signatures)| answer.batch(self.schema(), arrivals, signatures))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(batches))
    }
}
