//! The SQL function `condition_status(conditions, type)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// `condition_status(conditions, type)`: the status of the condition of that type in a column such
/// as `changes.conditions`; NULL when there is no such condition, or no conditions at all.
///
/// SQL without lambdas would have to unnest the list and join it back for every such question.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConditionStatus {
    signature: Signature,
}

impl ConditionStatus {
    /// The function's definition.
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for ConditionStatus {
    fn name(&self) -> &str {
        "condition_status"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::List(item) | DataType::LargeList(item), _]
                if matches!(item.data_type(), DataType::Struct(_)) =>
            {
                Ok(DataType::Utf8)
            }
            [DataType::Null, _] => Ok(DataType::Utf8),
            _ => plan_err!(
                "condition_status takes a list of conditions and the type of one, such as \
                 condition_status(conditions, 'Ready')"
            ),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [conditions, wanted] = arguments.args.as_slice() else {
            return exec_err!("condition_status takes two arguments");
        };
        let ColumnarValue::Scalar(wanted) = wanted else {
            return exec_err!("the second argument of condition_status must be a constant");
        };
        let Some(Some(wanted)) = wanted.try_as_str() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
        };
        let conditions = conditions.to_array(arguments.number_rows)?;
        Ok(ColumnarValue::Array(statuses(&conditions, wanted)?))
    }
}

fn statuses(conditions: &ArrayRef, wanted: &str) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    let Some(lists) = conditions.as_list_opt::<i32>() else {
        // The type was checked when the query was planned: all NULL, or long lists.
        if let DataType::LargeList(item) = conditions.data_type() {
            let lists = cast(conditions, &DataType::List(Arc::clone(item)))?;
            return statuses(&lists, wanted);
        }
        (0..conditions.len()).for_each(|_| out.append_null());
        return Ok(Arc::new(out.finish()));
    };
    let (types, states) = (
        field(lists.values(), "type")?,
        field(lists.values(), "status")?,
    );
    for (row, window) in lists.value_offsets().windows(2).enumerate() {
        let &[start, end] = window else { continue };
        let found = (start..end)
            .filter_map(|position| usize::try_from(position).ok())
            .find(|&position| !types.is_null(position) && types.value(position) == wanted);
        match found {
            Some(position) if lists.is_valid(row) && states.is_valid(position) => {
                out.append_value(states.value(position));
            }
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// A text field of the conditions, whatever kind of text the file reader made of it.
fn field(conditions: &ArrayRef, name: &str) -> Result<StringArray> {
    let Some(column) = conditions
        .as_struct_opt()
        .and_then(|conditions| conditions.column_by_name(name))
    else {
        return exec_err!("condition_status: the conditions have no field {name}");
    };
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}
