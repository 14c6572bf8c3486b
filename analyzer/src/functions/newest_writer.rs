//! `newest_writer(writers)`: the field manager that wrote last.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// The manager of the newest entry of `writers` in `changes`, NULL when there is none.
///
/// Entries are those that a change added or altered, so usually there is one. A write that takes
/// fields over also alters the entry of who lost them, but only the entry of who wrote gets a new
/// time. Times have 1 s resolution; among equals the last entry counts, where Kubernetes puts new ones.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NewestWriter {
    signature: Signature,
}

impl Default for NewestWriter {
    fn default() -> Self {
        Self {
            signature: Signature::new(TypeSignature::Any(1), Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for NewestWriter {
    fn name(&self) -> &str {
        "newest_writer"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        match arrays.as_slice() {
            [writers] => Ok(ColumnarValue::Array(newest_managers(writers)?)),
            _ => exec_err!("newest_writer takes one argument, the column writers"),
        }
    }
}

fn newest_managers(writers: &ArrayRef) -> Result<ArrayRef> {
    let mut managers = StringBuilder::new();
    if writers.data_type() == &DataType::Null {
        managers.append_nulls(writers.len());
        return Ok(Arc::new(managers.finish()));
    }
    let Some(lists) = writers.as_list_opt::<i32>() else {
        return exec_err!(
            "newest_writer takes the column writers, not {}",
            writers.data_type()
        );
    };
    let columns = lists.values().as_struct_opt().and_then(|entries| {
        let manager: &StringArray = entries.column_by_name("manager")?.as_string_opt()?;
        let time = entries
            .column_by_name("time")?
            .as_primitive_opt::<TimestampMicrosecondType>()?;
        Some((manager, time))
    });
    let Some((manager, time)) = columns else {
        return exec_err!(
            "newest_writer takes the column writers, not {}",
            writers.data_type()
        );
    };
    for row in 0..lists.len() {
        let range = match lists.value_offsets().get(row..row + 2) {
            Some(&[start, end]) if lists.is_valid(row) => start..end,
            _ => 0..0,
        };
        let newest = range
            .filter_map(|entry| usize::try_from(entry).ok())
            .max_by_key(|entry| time.is_valid(*entry).then(|| time.value(*entry)));
        managers.append_option(
            newest
                .filter(|entry| manager.is_valid(*entry))
                .map(|entry| manager.value(entry)),
        );
    }
    Ok(Arc::new(managers.finish()))
}
