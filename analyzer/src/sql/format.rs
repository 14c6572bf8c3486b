//! How rows are printed.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::{
    EncoderOptions, JsonArray, LineDelimited, NullableEncoder, make_encoder,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_options;
use clap::ValueEnum;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tracing::warn;

use crate::error::Error;
use crate::output::Output;
use crate::printable;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A box of columns, for people.
    Table,
    /// Comma-separated with a header; NULL is empty, an empty text is "", lists and structs are JSON.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// A Markdown table.
    Markdown,
    /// A Parquet file.
    Parquet,
}

/// Formats that need all rows before the first can be printed stop here.
const MAX_HELD_ROWS: usize = 100_000;

/// Rows seen by a printer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Printed {
    /// Rows of the answer that were printed.
    pub(super) rows: usize,
    /// Whether there were more.
    pub(super) cut: bool,
}

impl Format {
    /// The name as on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Markdown => "markdown",
            Self::Parquet => "parquet",
        }
    }

    /// Whether a file of this format is the answer to one statement.
    pub(super) fn holds_one_answer(self) -> bool {
        matches!(self, Self::Json | Self::Parquet)
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// [`Error::Query`] when the rows cannot be made, [`Error::Io`] when they cannot be written.
    pub(super) async fn write(
        self,
        rows: SendableRecordBatchStream,
        output: &mut Output,
    ) -> Result<Printed, Error> {
        if rows.schema().fields().is_empty() {
            // A statement without an answer, such as CREATE VIEW; it still has to be carried out.
            return drain(rows).await;
        }
        match self {
            Self::Table | Self::Markdown => self.write_held(rows, output).await,
            Self::Csv => write_csv(rows, output).await,
            Self::Json => {
                let writer = json_builder().build::<_, JsonArray>(&mut *output);
                let printed = write_json(rows, writer).await?;
                let end = writeln!(output);
                output.check(end)?;
                Ok(printed)
            }
            Self::Ndjson => {
                let writer = json_builder().build::<_, LineDelimited>(&mut *output);
                write_json(rows, writer).await
            }
            Self::Parquet => write_parquet(rows, output).await,
        }
    }

    async fn write_held(
        self,
        mut rows: SendableRecordBatchStream,
        output: &mut Output,
    ) -> Result<Printed, Error> {
        let schema = rows.schema();
        let mut batches = Vec::new();
        let mut printed = Printed::default();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let room = MAX_HELD_ROWS - printed.rows;
            printed.cut = batch.num_rows() > room;
            let taken = batch.num_rows().min(room);
            printed.rows += taken;
            batches.push(batch.slice(0, taken));
            if printed.cut {
                break;
            }
        }
        let written = if self == Self::Markdown {
            write_markdown(&schema, &batches, output)
        } else {
            pretty_format_batches_with_options(&batches_or_header(batches, &schema), &cells())
                .map_err(io::Error::other)
                .and_then(|table| writeln!(output, "{}", printable::lines(&table.to_string())))
        };
        output.check(written)?;
        if printed.cut {
            warn!(
                rows = printed.rows,
                "not all rows are shown: add a LIMIT, or use --format csv or ndjson"
            );
        }
        Ok(printed)
    }
}

/// A table without rows still shows its columns.
fn batches_or_header(batches: Vec<RecordBatch>, schema: &SchemaRef) -> Vec<RecordBatch> {
    if batches.is_empty() {
        vec![RecordBatch::new_empty(Arc::clone(schema))]
    } else {
        batches
    }
}

/// How one value looks in a table.
fn cells() -> FormatOptions<'static> {
    FormatOptions::new().with_null("NULL")
}

async fn drain(mut rows: SendableRecordBatchStream) -> Result<Printed, Error> {
    while let Some(batch) = rows.next().await {
        batch?;
    }
    Ok(Printed::default())
}

fn write_markdown(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    output: &mut Output,
) -> io::Result<()> {
    let escape = |text: &str| text.replace('|', "\\|").replace('\n', "<br>");
    let mut line = String::from("|");
    let mut rule = String::from("|");
    for field in schema.fields() {
        line.push_str(&format!(" {} |", escape(field.name())));
        rule.push_str(if field.data_type().is_numeric() {
            "---:|"
        } else {
            "---|"
        });
    }
    writeln!(output, "{line}\n{rule}")?;
    let options = cells();
    for batch in batches {
        let formatters: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        for row in 0..batch.num_rows() {
            line.clear();
            line.push('|');
            for formatter in &formatters {
                let value = formatter
                    .value(row)
                    .try_to_string()
                    .map_err(io::Error::other)?;
                line.push_str(&format!(" {} |", escape(&value)));
            }
            writeln!(output, "{line}")?;
        }
    }
    Ok(())
}

fn json_builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

/// Distinguishes a failure to write from one to convert.
fn arrow_error(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::io("cannot write the answer", source),
        other => Error::Query(other.into()),
    }
}

async fn write_json<F: arrow::json::writer::JsonFormat>(
    mut rows: SendableRecordBatchStream,
    mut writer: arrow::json::Writer<&mut Output, F>,
) -> Result<Printed, Error> {
    let mut printed = Printed::default();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        printed.rows += batch.num_rows();
        writer.write(&batch).map_err(arrow_error)?;
    }
    writer.finish().map_err(arrow_error)?;
    Ok(printed)
}

async fn write_parquet(
    mut rows: SendableRecordBatchStream,
    output: &mut Output,
) -> Result<Printed, Error> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let parquet_error = |error: parquet::errors::ParquetError| Error::Query(error.into());
    let mut writer = ArrowWriter::try_new(&mut *output, rows.schema(), Some(properties))
        .map_err(parquet_error)?;
    let mut printed = Printed::default();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        printed.rows += batch.num_rows();
        writer.write(&batch).map_err(parquet_error)?;
    }
    writer.close().map_err(parquet_error)?;
    Ok(printed)
}

async fn write_csv(
    mut rows: SendableRecordBatchStream,
    output: &mut Output,
) -> Result<Printed, Error> {
    let schema = rows.schema();
    let mut line = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        quote(field.name().as_bytes(), &mut line);
    }
    line.push(b'\n');
    let header = output.write_all(&line);
    output.check(header)?;
    let mut printed = Printed::default();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        printed.rows += batch.num_rows();
        let lines = csv_lines(&schema, &batch).map_err(arrow_error)?;
        let written = output.write_all(&lines);
        output.check(written)?;
    }
    Ok(printed)
}

/// One column while it is written as CSV.
enum CsvColumn<'a> {
    Plain(ArrayFormatter<'a>),
    Nested(NullableEncoder<'a>),
}

impl<'a> CsvColumn<'a> {
    fn new(
        field: &'a FieldRef,
        array: &'a dyn Array,
        text: &'a FormatOptions<'a>,
        json: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        if is_nested(field.data_type()) {
            return make_encoder(field, array, json).map(Self::Nested);
        }
        ArrayFormatter::try_new(array, text).map(Self::Plain)
    }
}

fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested() && !matches!(data_type, DataType::Union(..))
}

/// Arrow's own CSV writer refuses lists and writes NULL and the empty text alike.
fn csv_lines(schema: &SchemaRef, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let text = FormatOptions::new();
    let json = EncoderOptions::default().with_explicit_nulls(true);
    let mut columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| CsvColumn::new(field, column.as_ref(), &text, &json))
        .collect::<Result<Vec<_>, _>>()?;
    let mut lines = Vec::new();
    let mut value = Vec::new();
    for row in 0..batch.num_rows() {
        for (index, (column, array)) in columns.iter_mut().zip(batch.columns()).enumerate() {
            if index > 0 {
                lines.push(b',');
            }
            if array.is_null(row) {
                continue;
            }
            value.clear();
            match column {
                CsvColumn::Plain(formatter) => {
                    value.extend(formatter.value(row).try_to_string()?.into_bytes());
                }
                CsvColumn::Nested(encoder) => encoder.encode(row, &mut value),
            }
            quote(&value, &mut lines);
        }
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Quotes as RFC 4180 says, and the empty text, which otherwise reads as NULL.
fn quote(value: &[u8], line: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !value.is_empty() && !value.iter().any(special) {
        line.extend_from_slice(value);
        return;
    }
    line.push(b'"');
    for byte in value {
        if *byte == b'"' {
            line.push(b'"');
        }
        line.push(*byte);
    }
    line.push(b'"');
}
