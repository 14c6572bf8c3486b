//! `cascade schema`: what the tables of a trace hold.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, Fields, TimeUnit};
use cascade_proto::tables::{SCHEMA_VERSION, TableInfo, raw_tables};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::derive;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

/// Arguments of `cascade schema`.
#[derive(Debug, Args)]
#[command(after_help = "Example: cascade schema changes")]
pub struct SchemaArgs {
    /// Table to describe; without it all of them.
    #[arg(value_name = "TABLE")]
    table: Option<String>,

    /// How to print it.
    #[arg(long, value_enum, default_value = "text", env = "CASCADE_FORMAT")]
    format: SchemaFormat,
}

/// How a schema is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SchemaFormat {
    /// For people, on a terminal.
    Text,
    /// One JSON document.
    Json,
    /// Markdown tables.
    Markdown,
}

/// Prints the tables.
///
/// # Errors
/// [`Error::Usage`] for an unknown table, [`Error::Io`] when it cannot be printed.
pub fn run(args: &SchemaArgs) -> Result<Exit, Error> {
    let mut tables = raw_tables();
    tables.extend(derive::tables());
    if let Some(name) = &args.table {
        let known: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let known = known.join(", ");
        tables.retain(|table| table.name == name);
        if tables.is_empty() {
            return Err(Error::Usage(format!(
                "no table {name:?}; there are {known}"
            )));
        }
    }
    let text = match args.format {
        SchemaFormat::Text => text(&tables),
        SchemaFormat::Json => {
            let mut text = format!("{:#}", document(&tables));
            text.push('\n');
            text
        }
        SchemaFormat::Markdown => markdown(&tables),
    };
    Output::open(None)?.finish_with(&text)?;
    Ok(Exit::Ok)
}

/// A type as one writes it in SQL, for people.
#[must_use]
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "text".to_owned(),
        DataType::Int32 => "int32".to_owned(),
        DataType::Int64 => "int64".to_owned(),
        DataType::Float64 => "float64".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => format!("timestamp({zone})"),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => format!("struct<{}>", struct_members(fields)),
        other => other.to_string(),
    }
}

fn struct_members(fields: &Fields) -> String {
    let members: Vec<String> = fields
        .iter()
        .map(|field| format!("{} {}", field.name(), type_name(field.data_type())))
        .collect();
    members.join(", ")
}

/// Documentation as one line.
fn one_line(documentation: &str) -> String {
    documentation
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn text(tables: &[TableInfo]) -> String {
    let mut text = String::new();
    for (index, table) in tables.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}\n  {}\n",
            table.name,
            one_line(table.documentation)
        );
        for column in &table.columns {
            let nullable = if column.nullable { "" } else { " not null" };
            let _ = writeln!(
                text,
                "  {} {}{nullable}\n      {}",
                column.name,
                type_name(&column.data_type),
                one_line(column.documentation)
            );
        }
    }
    text
}

fn markdown(tables: &[TableInfo]) -> String {
    let mut text = String::new();
    for (index, table) in tables.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "## {}\n\n{}\n",
            table.name,
            one_line(table.documentation)
        );
        text.push_str("| column | type | NULL | meaning |\n|---|---|---|---|\n");
        for column in &table.columns {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                column.name,
                type_name(&column.data_type),
                if column.nullable { "yes" } else { "no" },
                one_line(column.documentation).replace('|', "\\|")
            );
        }
    }
    text
}

fn document(tables: &[TableInfo]) -> Value {
    let tables: Vec<Value> = tables
        .iter()
        .map(|table| {
            let columns: Vec<Value> = table
                .columns
                .iter()
                .map(|column| {
                    json!({
                        "name": column.name,
                        "type": type_name(&column.data_type),
                        "nullable": column.nullable,
                        "documentation": one_line(column.documentation),
                    })
                })
                .collect();
            json!({
                "name": table.name,
                "documentation": one_line(table.documentation),
                "columns": columns,
            })
        })
        .collect();
    json!({ "schema_version": SCHEMA_VERSION, "tables": tables })
}
