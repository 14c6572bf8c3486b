//! Recorded traces with something else in them: the same files, with other texts or numbers.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StructArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

/// Copies a trace with all texts changed by `change`.
pub fn rewrite(from: &Path, to: &Path, change: &dyn Fn(&str) -> String) {
    rewrite_columns(from, to, &|_, _, array| changed(array, change));
}

/// Copies a trace with columns changed by `change`, which gets the table, the column's name and its values.
pub fn rewrite_columns(from: &Path, to: &Path, change: &dyn Fn(&str, &str, &ArrayRef) -> ArrayRef) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let target = to.join(name);
        if path.is_dir() && name.starts_with('.') {
            // What only a running interceptor needs.
        } else if path.is_dir() {
            copy(name, &path, &target, change);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

fn copy(table: &str, from: &Path, to: &Path, change: &dyn Fn(&str, &str, &ArrayRef) -> ArrayRef) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(table, &path, &target, change);
        } else {
            copy_file(table, &path, &target, change);
        }
    }
}

fn copy_file(
    table: &str,
    from: &Path,
    to: &Path,
    change: &dyn Fn(&str, &str, &ArrayRef) -> ArrayRef,
) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(metadata.cloned())
        .build();
    let schema = Arc::clone(reader.schema());
    let file = File::create(to).unwrap();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| change(table, field.name(), column));
        let changed = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
        writer.write(&changed).unwrap();
    }
    writer.close().unwrap();
}

/// The values with all texts in them changed.
fn changed(array: &ArrayRef, change: &dyn Fn(&str) -> String) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>().iter();
            Arc::new(StringArray::from_iter(texts.map(|text| text.map(change))))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            Arc::new(ListArray::new(
                Arc::clone(field),
                list.offsets().clone(),
                changed(list.values(), change),
                list.nulls().cloned(),
            ))
        }
        DataType::Struct(fields) => {
            let entries = array.as_struct();
            let columns = entries.columns().iter();
            Arc::new(StructArray::new(
                fields.clone(),
                columns.map(|column| changed(column, change)).collect(),
                entries.nulls().cloned(),
            ))
        }
        _ => Arc::clone(array),
    }
}
