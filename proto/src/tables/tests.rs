//! Rows survive the way through Arrow, and the schemas keep the promises of the design.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use super::*;

fn change() -> Change {
    Change {
        cluster_id: "ab12".to_owned(),
        epoch: 0,
        revision: 7,
        ordinal: 1,
        revision_size: 2,
        key: "/registry/pods/default/web".to_owned(),
        op: Op::Update,
        source: ChangeSource::Watch,
        prev_revision: Some(5),
        create_revision: Some(3),
        version: Some(2),
        lease_id: Some(0),
        seen: Some(Moment {
            unix_nano: 1_700_000_000_123_456_789,
        }),
        object: Object {
            kind: Some("Pod".to_owned()),
            finalizers: Some(Vec::new()),
            owners: Some(vec![Owner {
                kind: "ReplicaSet".to_owned(),
                controller: true,
                ..Owner::default()
            }]),
            name_refs: Some(vec![
                NameRef {
                    kind: "ConfigMap".to_owned(),
                    namespace: Some("default".to_owned()),
                    name: "c".to_owned(),
                },
                NameRef {
                    kind: "ClusterRole".to_owned(),
                    namespace: None,
                    name: "r".to_owned(),
                },
            ]),
            conditions: Some(vec![Condition {
                kind: "Ready".to_owned(),
                status: "True".to_owned(),
                reason: None,
                last_transition_time: Some(Timestamp(1_700_000_000_000_000)),
            }]),
            value_format: Some(ValueFormat::Protobuf),
            ..Object::default()
        },
        changed: Some(vec!["status".to_owned()]),
        cpid: ObjectCpid::default(),
        prev_cpid: None,
        cpid_transition: None,
        instance: "test".to_owned(),
    }
}

fn batch(rows: &[Change]) -> RecordBatch {
    let mut builder = BatchBuilder::<Change>::default();
    for row in rows {
        builder.push(row);
    }
    builder.finish().unwrap()
}

#[test]
fn rows_survive_the_way_through_arrow() {
    let mut unknown = change();
    unknown.object = Object::default();
    unknown.changed = None;
    unknown.seen = None;
    let rows = vec![change(), unknown, change()];
    assert_eq!(read_rows::<Change>(&batch(&rows)).unwrap(), rows);
}

#[test]
fn a_builder_starts_anew_after_finish() {
    let mut builder = BatchBuilder::<Change>::default();
    builder.push(&change());
    builder.finish().unwrap();
    assert!(builder.is_empty());
    builder.push(&change());
    assert_eq!(
        read_rows::<Change>(&builder.finish().unwrap()).unwrap(),
        vec![change()]
    );
}

#[test]
fn a_missing_nullable_column_reads_as_null_and_a_required_one_is_an_error() {
    let full = batch(&[change()]);
    let without = |name: &str| {
        let index = full.schema().index_of(name).unwrap();
        let keep: Vec<usize> = (0..full.num_columns()).filter(|i| *i != index).collect();
        full.project(&keep).unwrap()
    };
    assert_eq!(
        read_rows::<Change>(&without("owners")).unwrap()[0]
            .object
            .owners,
        None
    );
    let error = read_rows::<Change>(&without("revision")).unwrap_err();
    assert_eq!(error.to_string(), "column revision is missing");
}

#[test]
fn a_column_of_another_type_is_an_error_that_names_both() {
    let full = batch(&[change()]);
    let index = full.schema().index_of("revision").unwrap();
    let mut columns = full.columns().to_vec();
    columns[index] = std::sync::Arc::new(arrow::array::Int32Array::from(vec![7]));
    let fields: Vec<_> = full
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| {
            arrow::datatypes::Field::new(field.name(), column.data_type().clone(), true)
        })
        .collect();
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    let error = read_rows::<Change>(&RecordBatch::try_new(schema, columns).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column revision has type Int32, expected Int64"
    );
}

#[test]
fn a_moment_is_stored_as_time_and_as_nanoseconds() {
    let batch = batch(&[change()]);
    assert!(batch.column_by_name("seen_time").is_some());
    assert!(batch.column_by_name("seen_unix_nano").is_some());
    assert_eq!(
        Moment { unix_nano: -1 }.timestamp(),
        Timestamp(-1),
        "rounds down before 1970"
    );
}

#[test]
fn tables_keep_to_the_types_every_reader_knows() {
    fn plain(data_type: &DataType, depth: usize) -> bool {
        match data_type {
            DataType::Utf8 | DataType::Int32 | DataType::Int64 | DataType::Boolean => true,
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone) => {
                zone.as_deref() == Some("UTC")
            }
            DataType::List(item) => depth == 0 && plain(item.data_type(), 1),
            DataType::Struct(fields) => {
                depth == 1 && fields.iter().all(|field| plain(field.data_type(), 2))
            }
            _ => false,
        }
    }
    for table in raw_tables() {
        let mut names = HashSet::new();
        for column in &table.columns {
            assert!(
                plain(&column.data_type, 0),
                "{}.{} is {}",
                table.name,
                column.name,
                column.data_type
            );
            assert!(
                names.insert(column.name.clone()),
                "{}.{} twice",
                table.name,
                column.name
            );
            assert!(
                !column.documentation.trim().is_empty(),
                "{}.{} undocumented",
                table.name,
                column.name
            );
            assert!(
                !["date", "hour"].contains(&column.name.as_str()),
                "name of a partition column"
            );
        }
    }
}
