//! The function in SQL, against a plain computation.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::AggregateUDF;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::QuantileDisc;
use crate::support::Random;

fn context() -> SessionContext {
    let context = SessionContext::new();
    context.register_udaf(AggregateUDF::from(QuantileDisc::default()));
    context
}

fn query(sql: &str) -> Result<String, String> {
    let run = async {
        let batches = context().sql(sql).await?.collect().await?;
        Ok::<_, datafusion::error::DataFusionError>(batches)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    match runtime.block_on(run) {
        Ok(batches) => {
            let table = pretty_format_batches(&batches).unwrap().to_string();
            let values: Vec<&str> = table
                .lines()
                .skip(3)
                .filter(|line| !line.starts_with('+'))
                .map(|line| line.trim_matches('|').trim())
                .collect();
            Ok(values.join(";"))
        }
        Err(error) => Err(error.strip_backtrace()),
    }
}

fn of_values(values: &str, arguments: &str) -> Result<String, String> {
    query(&format!(
        "SELECT quantile_disc({arguments}) FROM (VALUES {values}) AS t(x)"
    ))
}

#[test]
fn one_quantile_is_a_value_and_several_are_a_list() {
    let values = "(4), (NULL), (1), (3), (2)";
    assert_eq!(of_values(values, "x, 0.5").unwrap(), "2");
    assert_eq!(of_values(values, "x, [0.5, 0.99, 0]").unwrap(), "[2, 4, 1]");
    assert_eq!(of_values(values, "x, 1").unwrap(), "4");
}

#[test]
fn types_stay_as_they_are() {
    for (value, expected) in [
        ("CAST(7 AS INT)", "7"),
        ("CAST(9007199254740993 AS BIGINT)", "9007199254740993"),
        ("CAST(1.5 AS DOUBLE)", "1.5"),
        ("CAST(2.50 AS DECIMAL(10, 2))", "2.50"),
        ("DATE '2026-01-02'", "2026-01-02"),
        (
            "TIMESTAMP '2026-01-02T03:04:05.123456'",
            "2026-01-02T03:04:05.123456",
        ),
    ] {
        let found = query(&format!("SELECT quantile_disc({value}, 0.5)")).unwrap();
        assert_eq!(found, expected, "{value}");
        let kept = query(&format!(
            "SELECT arrow_typeof(quantile_disc({value}, 0.5)) = arrow_typeof({value})"
        ));
        assert_eq!(kept.unwrap(), "true", "{value}");
    }
}

#[test]
fn without_values_the_result_is_null() {
    for arguments in ["x, 0.5", "x, [0.5, 0.9]"] {
        let nothing = format!(
            "SELECT quantile_disc({arguments}) IS NULL FROM (VALUES (1)) AS t(x) WHERE x > 1"
        );
        assert_eq!(query(&nothing).unwrap(), "true");
        let only_nulls =
            format!("SELECT quantile_disc({arguments}) IS NULL FROM (VALUES (NULL)) AS t(x)");
        assert_eq!(query(&only_nulls).unwrap(), "true");
        let group = format!(
            "SELECT quantile_disc({arguments}) IS NULL FROM (VALUES (1, CAST(NULL AS INT)), (2, 5)) \
             AS t(g, x) GROUP BY g ORDER BY g"
        );
        assert_eq!(query(&group).unwrap(), "true;false");
    }
}

#[test]
fn filters_and_windows_are_heeded() {
    let filtered = "SELECT quantile_disc(x, 0.5) FILTER (WHERE x > 2) \
        FROM (VALUES (1), (2), (3), (4), (5)) AS t(x)";
    assert_eq!(query(filtered).unwrap(), "4");
    let running = "SELECT quantile_disc(x, 0.5) OVER (ORDER BY x) \
        FROM (VALUES (1), (2), (3), (4)) AS t(x) ORDER BY x";
    assert_eq!(query(running).unwrap(), "1;1;2;2");
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, expected) in [
        ("x", "takes a value and a quantile"),
        ("x, 1.5", "1.5 is not between 0 and 1"),
        ("x, -0.1", "not between 0 and 1"),
        ("x, x", "must be a constant"),
        ("x, NULL", "NULL"),
        ("x, [0.5, NULL]", "is NULL"),
        ("'text', 0.5", "takes numbers, times and durations"),
        ("DISTINCT x, 0.5", "distinct values first"),
    ] {
        let error = of_values("(1), (2)", arguments).unwrap_err();
        assert!(error.contains(expected), "{arguments}: {error}");
    }
}

/// ⌈n·p⌉ for a percentage, as ClusterLoader2 computes it.
fn expected(values: &[i64], percent: usize) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// Runs a grouped query over many small batches on several threads, in little memory if asked, so
/// that partial states are made, merged and spilled.
fn grouped(
    rows: &[(i64, Option<i64>)],
    percent: usize,
    memory: Option<usize>,
) -> BTreeMap<i64, Option<i64>> {
    let batches: Vec<RecordBatch> = rows
        .chunks(7)
        .map(|rows| {
            let groups: Int64Array = rows.iter().map(|(group, _)| Some(*group)).collect();
            let values: Int64Array = rows.iter().map(|(_, value)| *value).collect();
            let columns: Vec<(&str, ArrayRef)> =
                vec![("g", Arc::new(groups)), ("x", Arc::new(values))];
            RecordBatch::try_from_iter_with_nullable(
                columns.into_iter().map(|(name, array)| (name, array, true)),
            )
            .unwrap()
        })
        .collect();
    let Some(schema) = batches.first().map(RecordBatch::schema) else {
        return BTreeMap::new();
    };
    let mut partitions = vec![Vec::new(), Vec::new(), Vec::new()];
    for (index, batch) in batches.into_iter().enumerate() {
        partitions[index % 3].push(batch);
    }
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(memory) = memory {
        runtime = runtime.with_memory_limit(memory, 1.0);
    }
    let config = SessionConfig::new()
        .with_target_partitions(3)
        .with_batch_size(16);
    let context = SessionContext::new_with_config_rt(config, runtime.build_arc().unwrap());
    context.register_udaf(AggregateUDF::from(QuantileDisc::default()));
    context
        .register_table(
            "t",
            Arc::new(MemTable::try_new(schema, partitions).unwrap()),
        )
        .unwrap();
    let sql = format!(
        "SELECT g, quantile_disc(x, {}) AS q, quantile_disc(x, [0.5, {}]) AS l FROM t GROUP BY g",
        percent as f64 / 100.0,
        percent as f64 / 100.0
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime
        .block_on(async { context.sql(&sql).await?.collect().await })
        .unwrap();
    let mut results = BTreeMap::new();
    for batch in answer {
        let column = |index: usize| {
            batch
                .column(index)
                .as_any()
                .downcast_ref::<Int64Array>()
                .unwrap()
                .clone()
        };
        let lists = batch
            .column(2)
            .as_any()
            .downcast_ref::<arrow::array::ListArray>()
            .unwrap();
        for row in 0..batch.num_rows() {
            let value = column(1).iter().nth(row).unwrap();
            let list = lists
                .iter()
                .nth(row)
                .unwrap()
                .map(|list| list.as_any().downcast_ref::<Int64Array>().unwrap().value(1));
            assert_eq!(value, list, "the list's value is the same");
            results.insert(column(0).value(row), value);
        }
    }
    results
}

fn naive(rows: &[(i64, Option<i64>)], percent: usize) -> BTreeMap<i64, Option<i64>> {
    let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (group, value) in rows {
        groups.entry(*group).or_default().extend(value);
    }
    groups
        .into_iter()
        .map(|(group, values)| (group, expected(&values, percent)))
        .collect()
}

#[test]
fn groups_agree_with_a_plain_computation() {
    let mut random = Random::new(7);
    for _ in 0..48 {
        let rows: Vec<(i64, Option<i64>)> = (0..random.below(200))
            .map(|_| {
                let group = random.below(5) as i64;
                let value = match random.below(4) {
                    0 => None,
                    1 => Some(random.next() as i64),
                    _ => Some(random.below(10) as i64 - 5),
                };
                (group, value)
            })
            .collect();
        let percent = random.below(101) as usize;
        assert_eq!(
            grouped(&rows, percent, None),
            naive(&rows, percent),
            "{percent} {rows:?}"
        );
    }
}

#[test]
fn groups_that_spill_agree_too() {
    let rows: Vec<(i64, Option<i64>)> = (0..60_000_i64)
        .map(|n| (n * 7919 % 3001, Some(n * 104_729 % 65_537)))
        .collect();
    assert_eq!(grouped(&rows, 90, Some(2 << 20)), naive(&rows, 90));
}
