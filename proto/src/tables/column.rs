//! What a column can be: the mapping between Rust values and Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBuilder, Int32Array, Int32Builder, Int64Array,
    Int64Builder, ListArray, NullBufferBuilder, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::record_batch::RecordBatch;

use super::table::ReadError;

/// Name, type and documentation of one column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Column name as in SQL.
    pub name: String,
    /// Arrow type as stored.
    pub data_type: DataType,
    /// Whether NULL can occur, meaning "not observed".
    pub nullable: bool,
    /// One sentence for people who query the table.
    pub documentation: &'static str,
}

/// A value that fills one column.
pub trait Column: Sized {
    /// Collects values of many rows.
    type Builder: Default + Send;
    /// An Arrow array of this type, ready for access by row.
    type View;

    /// Whether the value can be NULL.
    const NULLABLE: bool;

    /// Arrow type of the column.
    fn data_type() -> DataType;
    /// Adds this row's value.
    fn append(&self, builder: &mut Self::Builder);
    /// Adds a NULL; used for the children of a missing struct or an optional value.
    fn append_null(builder: &mut Self::Builder);
    /// Ends the batch.
    fn finish(builder: &mut Self::Builder) -> ArrayRef;
    /// Takes an array for reading; `None` when it has another type.
    fn view(array: &ArrayRef) -> Option<Self::View>;
    /// The value in `row`. A NULL in a column that must not have one reads as the type's empty value.
    fn get(view: &Self::View, row: usize) -> Self;
}

/// One or several columns: a [`Column`] under its own name, a [`Moment`] as two columns, or a
/// struct whose columns are laid into the table that contains it.
pub trait Columns: Sized {
    /// Collects rows.
    type Builder: Default + Send;
    /// The arrays of one batch.
    type View;

    /// Lists the columns; `name` is the field's name in the containing struct.
    fn describe(name: &str, documentation: &'static str, out: &mut Vec<ColumnDefinition>);
    /// Adds this row.
    fn push_row(&self, builder: &mut Self::Builder);
    /// Ends the batch; the arrays are in the order of `describe`.
    fn finish_columns(builder: &mut Self::Builder, out: &mut Vec<ArrayRef>);
    /// Finds the columns in a batch by name.
    ///
    /// # Errors
    /// [`ReadError`] when a column has another type, or is missing and may not be NULL.
    fn view_columns(name: &str, batch: &RecordBatch) -> Result<Self::View, ReadError>;
    /// The values in `row`.
    fn read_row(view: &Self::View, row: usize) -> Self;
}

impl<T: Column> Columns for T {
    type Builder = <T as Column>::Builder;
    type View = <T as Column>::View;

    fn describe(name: &str, documentation: &'static str, out: &mut Vec<ColumnDefinition>) {
        out.push(ColumnDefinition {
            name: name.to_owned(),
            data_type: T::data_type(),
            nullable: T::NULLABLE,
            documentation,
        });
    }

    fn push_row(&self, builder: &mut Self::Builder) {
        Column::append(self, builder);
    }

    fn finish_columns(builder: &mut Self::Builder, out: &mut Vec<ArrayRef>) {
        out.push(<T as Column>::finish(builder));
    }

    fn view_columns(name: &str, batch: &RecordBatch) -> Result<Self::View, ReadError> {
        let Some(array) = batch.column_by_name(name) else {
            // A file of an older version: columns that came later read as NULL.
            if !T::NULLABLE {
                return Err(ReadError::MissingColumn {
                    column: name.to_owned(),
                });
            }
            let nulls = arrow::array::new_null_array(&T::data_type(), batch.num_rows());
            return <T as Column>::view(&nulls).ok_or_else(|| ReadError::MissingColumn {
                column: name.to_owned(),
            });
        };
        <T as Column>::view(array).ok_or_else(|| ReadError::ColumnType {
            column: name.to_owned(),
            expected: T::data_type(),
            found: array.data_type().clone(),
        })
    }

    fn read_row(view: &Self::View, row: usize) -> Self {
        <T as Column>::get(view, row)
    }
}

macro_rules! primitive_column {
    ($rust:ty, $builder:ty, $array:ty, $data_type:expr, $to:expr, $from:expr) => {
        impl Column for $rust {
            type Builder = $builder;
            type View = $array;
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                $data_type
            }
            fn append(&self, builder: &mut Self::Builder) {
                builder.append_value($to(self));
            }
            fn append_null(builder: &mut Self::Builder) {
                builder.append_null();
            }
            fn finish(builder: &mut Self::Builder) -> ArrayRef {
                Arc::new(builder.finish())
            }
            fn view(array: &ArrayRef) -> Option<Self::View> {
                array.as_any().downcast_ref::<$array>().cloned()
            }
            fn get(view: &Self::View, row: usize) -> Self {
                $from(view.value(row))
            }
        }

        impl NullAware for $array {
            fn null_at(&self, row: usize) -> bool {
                self.is_null(row)
            }
        }
    };
}

/// Arrays that know which of their rows are NULL.
pub trait NullAware {
    /// Whether `row` is NULL.
    fn null_at(&self, row: usize) -> bool;
}

primitive_column!(
    i64,
    Int64Builder,
    Int64Array,
    DataType::Int64,
    |v: &i64| *v,
    |v| v
);
primitive_column!(
    i32,
    Int32Builder,
    Int32Array,
    DataType::Int32,
    |v: &i32| *v,
    |v| v
);
primitive_column!(
    bool,
    BooleanBuilder,
    BooleanArray,
    DataType::Boolean,
    |v: &bool| *v,
    |v| v
);
primitive_column!(
    String,
    StringBuilder,
    StringArray,
    DataType::Utf8,
    |v: &String| v.clone(),
    |v: &str| { v.to_owned() }
);

impl<T> Column for Option<T>
where
    T: Column,
    T::View: NullAware,
{
    type Builder = T::Builder;
    type View = T::View;
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        T::data_type()
    }
    fn append(&self, builder: &mut Self::Builder) {
        match self {
            Some(value) => value.append(builder),
            None => T::append_null(builder),
        }
    }
    fn append_null(builder: &mut Self::Builder) {
        T::append_null(builder);
    }
    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        T::finish(builder)
    }
    fn view(array: &ArrayRef) -> Option<Self::View> {
        T::view(array)
    }
    fn get(view: &Self::View, row: usize) -> Self {
        if view.null_at(row) {
            None
        } else {
            Some(T::get(view, row))
        }
    }
}

/// A moment with microsecond resolution, UTC, stored as one timestamp column. Used for times that
/// Kubernetes itself recorded; moments that Cascade measured are a [`Moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// Microseconds since the Unix epoch.
    pub i64,
);

/// UTC as DuckDB, Polars and Spark expect it in Parquet.
fn utc_microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Builds timestamp arrays that carry the time zone UTC.
#[derive(Debug)]
pub struct TimestampBuilder(TimestampMicrosecondBuilder);

impl Default for TimestampBuilder {
    fn default() -> Self {
        Self(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
    }
}

impl Column for Timestamp {
    type Builder = TimestampBuilder;
    type View = TimestampMicrosecondArray;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        utc_microseconds()
    }
    fn append(&self, builder: &mut Self::Builder) {
        builder.0.append_value(self.0);
    }
    fn append_null(builder: &mut Self::Builder) {
        builder.0.append_null();
    }
    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        Arc::new(builder.0.finish())
    }
    fn view(array: &ArrayRef) -> Option<Self::View> {
        array
            .as_any()
            .downcast_ref::<TimestampMicrosecondArray>()
            .cloned()
    }
    fn get(view: &Self::View, row: usize) -> Self {
        Self(view.value(row))
    }
}

impl NullAware for TimestampMicrosecondArray {
    fn null_at(&self, row: usize) -> bool {
        self.is_null(row)
    }
}

/// Builds list arrays over any column type.
#[derive(Debug)]
pub struct ListColumnBuilder<B> {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    values: B,
    length: i32,
}

impl<B: Default> Default for ListColumnBuilder<B> {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            values: B::default(),
            length: 0,
        }
    }
}

/// A list array with its child ready for access.
#[derive(Debug)]
pub struct ListView<V> {
    list: ListArray,
    values: V,
}

impl<V> NullAware for ListView<V> {
    fn null_at(&self, row: usize) -> bool {
        self.list.is_null(row)
    }
}

impl<T: Column> Column for Vec<T> {
    type Builder = ListColumnBuilder<T::Builder>;
    type View = ListView<T::View>;
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        // Items are declared nullable because every engine writes them so; none ever is.
        DataType::List(Arc::new(Field::new("item", T::data_type(), true)))
    }
    fn append(&self, builder: &mut Self::Builder) {
        for value in self {
            value.append(&mut builder.values);
            builder.length += 1;
        }
        builder.offsets.push(builder.length);
        builder.nulls.append_non_null();
    }
    fn append_null(builder: &mut Self::Builder) {
        builder.offsets.push(builder.length);
        builder.nulls.append_null();
    }
    fn finish(builder: &mut Self::Builder) -> ArrayRef {
        let offsets = std::mem::replace(&mut builder.offsets, vec![0]);
        builder.length = 0;
        let field = Arc::new(Field::new("item", T::data_type(), true));
        let values = T::finish(&mut builder.values);
        let nulls = builder.nulls.finish();
        // Offsets start at 0, never fall and end at the number of values: `append` counts both.
        Arc::new(ListArray::new(
            field,
            OffsetBuffer::new(offsets.into()),
            values,
            nulls,
        ))
    }
    fn view(array: &ArrayRef) -> Option<Self::View> {
        let list = array.as_any().downcast_ref::<ListArray>()?.clone();
        let values = T::view(list.values())?;
        Some(ListView { list, values })
    }
    fn get(view: &Self::View, row: usize) -> Self {
        if view.list.is_null(row) {
            return Vec::new();
        }
        let offsets = view.list.value_offsets();
        let (Some(&start), Some(&end)) = (offsets.get(row), offsets.get(row + 1)) else {
            return Vec::new();
        };
        (start..end)
            .filter_map(|index| usize::try_from(index).ok())
            .map(|index| T::get(&view.values, index))
            .collect()
    }
}

/// A moment that Cascade measured or was told with nanoseconds: stored as two columns,
/// `<name>_time` and `<name>_unix_nano`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch, UTC.
    pub unix_nano: i64,
}

impl Moment {
    /// The moment as a timestamp, rounded down to microseconds.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp(self.unix_nano.div_euclid(1_000))
    }
}

/// A moment without a name of its own, stored as the columns `time` and `unix_nano`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentMoment(
    /// The moment.
    pub Moment,
);

/// Collects the two columns of a moment.
#[derive(Debug, Default)]
pub struct MomentBuilder {
    time: TimestampBuilder,
    unix_nano: Int64Builder,
}

impl MomentBuilder {
    fn append(&mut self, moment: Option<Moment>) {
        moment.map(Moment::timestamp).append(&mut self.time);
        self.unix_nano
            .append_option(moment.map(|moment| moment.unix_nano));
    }

    fn finish(&mut self, out: &mut Vec<ArrayRef>) {
        out.push(Timestamp::finish(&mut self.time));
        out.push(Arc::new(self.unix_nano.finish()));
    }
}

fn describe_moment(
    prefix: &str,
    nullable: bool,
    documentation: &'static str,
    out: &mut Vec<ColumnDefinition>,
) {
    out.push(ColumnDefinition {
        name: format!("{prefix}time"),
        data_type: utc_microseconds(),
        nullable,
        documentation,
    });
    out.push(ColumnDefinition {
        name: format!("{prefix}unix_nano"),
        data_type: DataType::Int64,
        nullable,
        documentation: "the same moment in nanoseconds since the Unix epoch",
    });
}

impl Columns for Option<Moment> {
    type Builder = MomentBuilder;
    type View = Int64Array;

    fn describe(name: &str, documentation: &'static str, out: &mut Vec<ColumnDefinition>) {
        describe_moment(&format!("{name}_"), true, documentation, out);
    }
    fn push_row(&self, builder: &mut Self::Builder) {
        builder.append(*self);
    }
    fn finish_columns(builder: &mut Self::Builder, out: &mut Vec<ArrayRef>) {
        builder.finish(out);
    }
    fn view_columns(name: &str, batch: &RecordBatch) -> Result<Self::View, ReadError> {
        <Option<i64> as Columns>::view_columns(&format!("{name}_unix_nano"), batch)
    }
    fn read_row(view: &Self::View, row: usize) -> Self {
        <Option<i64> as Columns>::read_row(view, row).map(|unix_nano| Moment { unix_nano })
    }
}

impl Columns for Moment {
    type Builder = MomentBuilder;
    type View = Int64Array;

    fn describe(name: &str, documentation: &'static str, out: &mut Vec<ColumnDefinition>) {
        describe_moment(&format!("{name}_"), false, documentation, out);
    }
    fn push_row(&self, builder: &mut Self::Builder) {
        builder.append(Some(*self));
    }
    fn finish_columns(builder: &mut Self::Builder, out: &mut Vec<ArrayRef>) {
        builder.finish(out);
    }
    fn view_columns(name: &str, batch: &RecordBatch) -> Result<Self::View, ReadError> {
        <i64 as Columns>::view_columns(&format!("{name}_unix_nano"), batch)
    }
    fn read_row(view: &Self::View, row: usize) -> Self {
        Self {
            unix_nano: <i64 as Columns>::read_row(view, row),
        }
    }
}

impl Columns for Option<SentMoment> {
    type Builder = MomentBuilder;
    type View = Int64Array;

    fn describe(_name: &str, documentation: &'static str, out: &mut Vec<ColumnDefinition>) {
        describe_moment("", true, documentation, out);
    }
    fn push_row(&self, builder: &mut Self::Builder) {
        builder.append(self.map(|sent| sent.0));
    }
    fn finish_columns(builder: &mut Self::Builder, out: &mut Vec<ArrayRef>) {
        builder.finish(out);
    }
    fn view_columns(_name: &str, batch: &RecordBatch) -> Result<Self::View, ReadError> {
        <Option<i64> as Columns>::view_columns("unix_nano", batch)
    }
    fn read_row(view: &Self::View, row: usize) -> Self {
        <Option<i64> as Columns>::read_row(view, row)
            .map(|unix_nano| SentMoment(Moment { unix_nano }))
    }
}
