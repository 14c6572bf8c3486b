//! The macros that define rows, structs and enumerations of a trace once for writer and reader.

/// Declares a struct of columns: the Rust struct, its builder, view and documentation.
///
/// Each field is `name: Type`, where the type is a [`Column`](super::Column), a
/// [`Moment`](super::Moment), or another struct declared here, whose columns are laid in.
macro_rules! columns {
    (
        $(#[$attribute:meta])*
        pub struct $row:ident / $builder:ident / $view:ident {
            $( #[doc = $doc:literal] $(#[doc = $more:literal])* $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$attribute])*
        pub struct $row {
            $( #[doc = $doc] $(#[doc = $more])* pub $field: $type, )*
        }

        #[doc = concat!("Collects rows of [`", stringify!($row), "`].")]
        #[derive(Default)]
        #[allow(missing_debug_implementations)] // Arrow's builders would print megabytes
        pub struct $builder {
            $( $field: <$type as $crate::tables::Columns>::Builder, )*
        }

        #[doc = concat!("The arrays of one batch of [`", stringify!($row), "`].")]
        #[allow(missing_debug_implementations)]
        pub struct $view {
            $( $field: <$type as $crate::tables::Columns>::View, )*
        }

        impl $crate::tables::Columns for $row {
            type Builder = $builder;
            type View = $view;

            fn describe(
                _name: &str,
                _documentation: &'static str,
                out: &mut Vec<$crate::tables::ColumnDefinition>,
            ) {
                $( <$type as $crate::tables::Columns>::describe(
                    stringify!($field),
                    concat!($doc $(, "\n", $more)*),
                    out,
                ); )*
            }
            fn push_row(&self, builder: &mut Self::Builder) {
                $( $crate::tables::Columns::push_row(&self.$field, &mut builder.$field); )*
            }
            fn finish_columns(builder: &mut Self::Builder, out: &mut Vec<arrow::array::ArrayRef>) {
                $( <$type as $crate::tables::Columns>::finish_columns(&mut builder.$field, out); )*
            }
            fn view_columns(
                _name: &str,
                batch: &arrow::record_batch::RecordBatch,
            ) -> Result<Self::View, $crate::tables::ReadError> {
                Ok($view {
                    $( $field: <$type as $crate::tables::Columns>::view_columns(
                        stringify!($field), batch,
                    )?, )*
                })
            }
            fn read_row(view: &Self::View, row: usize) -> Self {
                Self { $( $field: <$type as $crate::tables::Columns>::read_row(&view.$field, row), )* }
            }
        }
    };
}

/// Declares a struct that is stored as one struct-typed column (one level deep, never extended).
macro_rules! struct_column {
    (
        $(#[$attribute:meta])*
        pub struct $row:ident / $builder:ident / $view:ident {
            $( #[doc = $doc:literal] $field:ident as $column:literal: $type:ty, )*
        }
    ) => {
        $(#[$attribute])*
        pub struct $row {
            $( #[doc = $doc] pub $field: $type, )*
        }

        #[doc = concat!("Collects values of [`", stringify!($row), "`].")]
        #[derive(Default)]
        #[allow(missing_debug_implementations)]
        pub struct $builder {
            $( $field: <$type as $crate::tables::Column>::Builder, )*
        }

        #[doc = concat!("Arrays of [`", stringify!($row), "`] values.")]
        #[allow(missing_debug_implementations)]
        pub struct $view {
            $( $field: <$type as $crate::tables::Column>::View, )*
        }

        impl $row {
            fn fields() -> arrow::datatypes::Fields {
                vec![ $( arrow::datatypes::Field::new(
                    $column, <$type as $crate::tables::Column>::data_type(), true,
                ), )* ].into()
            }
        }

        impl $crate::tables::Column for $row {
            type Builder = $builder;
            type View = $view;
            const NULLABLE: bool = false;

            fn data_type() -> arrow::datatypes::DataType {
                arrow::datatypes::DataType::Struct(Self::fields())
            }
            fn append(&self, builder: &mut Self::Builder) {
                $( $crate::tables::Column::append(&self.$field, &mut builder.$field); )*
            }
            fn append_null(builder: &mut Self::Builder) {
                // Only ever used inside lists, whose items are never NULL: all children NULL.
                $( <$type as $crate::tables::Column>::append_null(&mut builder.$field); )*
            }
            fn finish(builder: &mut Self::Builder) -> arrow::array::ArrayRef {
                let children = vec![
                    $( <$type as $crate::tables::Column>::finish(&mut builder.$field), )*
                ];
                // Children are appended together, so their lengths agree.
                std::sync::Arc::new(arrow::array::StructArray::new(Self::fields(), children, None))
            }
            fn view(array: &arrow::array::ArrayRef) -> Option<Self::View> {
                let array = array.as_any().downcast_ref::<arrow::array::StructArray>()?;
                Some($view {
                    $( $field: <$type as $crate::tables::Column>::view(
                        array.column_by_name($column)?,
                    )?, )*
                })
            }
            fn get(view: &Self::View, row: usize) -> Self {
                Self { $( $field: <$type as $crate::tables::Column>::get(&view.$field, row), )* }
            }
        }
    };
}

/// Declares an enumeration that is stored as lowercase text.
macro_rules! text_enum {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $( #[doc = $doc:literal] $variant:ident = $text:literal, )* }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $( #[doc = $doc] $variant, )* }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The text that tables hold.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }

            /// The value that `text` stands for.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $( $text => Some(Self::$variant), )* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl $crate::tables::Column for $name {
            type Builder = arrow::array::StringBuilder;
            type View = arrow::array::StringArray;
            const NULLABLE: bool = false;

            fn data_type() -> arrow::datatypes::DataType {
                arrow::datatypes::DataType::Utf8
            }
            fn append(&self, builder: &mut Self::Builder) {
                builder.append_value(self.as_str());
            }
            fn append_null(builder: &mut Self::Builder) {
                builder.append_null();
            }
            fn finish(builder: &mut Self::Builder) -> arrow::array::ArrayRef {
                std::sync::Arc::new(builder.finish())
            }
            fn view(array: &arrow::array::ArrayRef) -> Option<Self::View> {
                array.as_any().downcast_ref::<arrow::array::StringArray>().cloned()
            }
            fn get(view: &Self::View, row: usize) -> Self {
                // A text of a newer version reads as the first value; readers that must tell the
                // difference use the column itself.
                Self::parse(view.value(row)).unwrap_or(Self::ALL[0])
            }
        }
    };
}

pub(super) use {columns, struct_column, text_enum};
