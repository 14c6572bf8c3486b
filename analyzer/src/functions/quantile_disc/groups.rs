//! Collects the values of many groups, and sorts each group once at the end.

use std::fmt::Debug;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, ListArray,
    PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::scalar::ScalarValue;

use super::Quantiles;
use super::rank::Quantile;

/// The values of each group. The state that goes to disk or to another thread is a list per group.
#[derive(Debug)]
pub(super) struct QuantileGroups<T: ArrowPrimitiveType> {
    data_type: DataType,
    quantiles: Quantiles,
    groups: Vec<Vec<T::Native>>,
    /// Values in all groups, for [`GroupsAccumulator::size`], which is asked after each batch.
    held: usize,
}

impl<T: ArrowPrimitiveType> QuantileGroups<T> {
    pub(super) fn new(data_type: DataType, quantiles: Quantiles) -> Self {
        Self {
            data_type,
            quantiles,
            groups: Vec::new(),
            held: 0,
        }
    }

    fn column(values: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
        match values
            .first()
            .and_then(|array| array.as_primitive_opt::<T>())
        {
            Some(array) => Ok(array),
            None => exec_err!("quantile_disc: values are not of type {}", T::DATA_TYPE),
        }
    }

    fn add(&mut self, group: usize, values: impl Iterator<Item = T::Native>) -> Result<()> {
        let held = self
            .groups
            .get_mut(group)
            .ok_or_else(|| exec_datafusion_err!("quantile_disc: no group {group}"))?;
        let before = held.len();
        held.extend(values);
        self.held += held.len() - before;
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Vec<T::Native>> {
        let groups = emit_to.take_needed(&mut self.groups);
        self.held -= groups.iter().map(Vec::len).sum::<usize>();
        groups
    }

    fn primitive(&self, values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
        let array = PrimitiveArray::<T>::new(values.into(), nulls);
        Arc::new(array.with_data_type(self.data_type.clone()))
    }

    /// A list per group; `lengths` and `nulls` have one entry each.
    fn lists(
        &self,
        values: ArrayRef,
        lengths: impl Iterator<Item = usize>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        if i32::try_from(values.len()).is_err() {
            return exec_err!(
                "quantile_disc: more than 2^31 values at once; use --threads 1 or fewer rows"
            );
        }
        let item = Arc::new(Field::new_list_field(self.data_type.clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(item, offsets, values, nulls)?))
    }

    /// The quantiles of each group; groups are sorted on the way.
    fn results(&self, groups: &mut [Vec<T::Native>]) -> Result<ArrayRef> {
        let quantiles: &[Quantile] = match &self.quantiles {
            Quantiles::One(quantile) => std::slice::from_ref(quantile),
            Quantiles::Several(quantiles) => quantiles,
        };
        let mut picked = Vec::with_capacity(groups.len() * quantiles.len());
        let mut valid = Vec::with_capacity(groups.len());
        for group in groups {
            // Without values the quantile is NULL, and so is a list of quantiles.
            let found = if group.is_empty() {
                None
            } else {
                pick(group, quantiles)
            };
            valid.push(found.is_some());
            match (&self.quantiles, found) {
                (_, Some(values)) => picked.extend(values),
                (Quantiles::One(_), None) => picked.push(T::Native::default()),
                (Quantiles::Several(_), None) => {}
            }
        }
        let lengths: Vec<usize> = valid
            .iter()
            .map(|valid| if *valid { quantiles.len() } else { 0 })
            .collect();
        let nulls = Some(NullBuffer::from(valid));
        match &self.quantiles {
            Quantiles::One(_) => Ok(self.primitive(picked, nulls)),
            Quantiles::Several(_) => {
                let values = self.primitive(picked, None);
                self.lists(values, lengths.into_iter(), nulls)
            }
        }
    }
}

/// The values at `quantiles` of a group, which is sorted on the way.
fn pick<T: ArrowNativeTypeOp>(values: &mut [T], quantiles: &[Quantile]) -> Option<Vec<T>> {
    values.sort_unstable_by(|left, right| left.compare(*right));
    quantiles
        .iter()
        .map(|quantile| values.get(quantile.index(values.len())?).copied())
        .collect()
}

impl<T: ArrowPrimitiveType + Debug + Send> GroupsAccumulator for QuantileGroups<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = Self::column(values)?;
        self.groups.resize_with(total_num_groups, Vec::new);
        for (row, (group, value)) in group_indices.iter().zip(values).enumerate() {
            let is_taken = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let Some(value) = value
                && is_taken
            {
                self.add(*group, std::iter::once(value))?;
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        let Some(lists) = values.first().and_then(|array| array.as_list_opt::<i32>()) else {
            return exec_err!("quantile_disc: state is not a list");
        };
        self.groups.resize_with(total_num_groups, Vec::new);
        for (group, list) in group_indices.iter().zip(lists.iter()) {
            let Some(list) = list else { continue };
            let values = Self::column(std::slice::from_ref(&list))?;
            self.add(*group, values.iter().flatten())?;
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = self.take(emit_to);
        let lengths: Vec<usize> = groups.iter().map(Vec::len).collect();
        let values = self.primitive(groups.into_iter().flatten().collect(), None);
        Ok(vec![self.lists(values, lengths.into_iter(), None)?])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut groups = self.take(emit_to);
        self.results(&mut groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = Self::column(values)?;
        let taken: Vec<bool> = (0..values.len())
            .map(|row| {
                values.is_valid(row)
                    && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
            })
            .collect();
        let kept = arrow::compute::filter(values, &BooleanArray::from(taken.clone()))?;
        let lengths = taken.into_iter().map(usize::from);
        Ok(vec![self.lists(kept, lengths, None)?])
    }

    fn size(&self) -> usize {
        self.held * size_of::<T::Native>() + self.groups.capacity() * size_of::<Vec<T::Native>>()
    }
}

/// All rows as one group: queries without GROUP BY, and windows.
#[derive(Debug)]
pub(super) struct OneGroup<T: ArrowPrimitiveType> {
    groups: QuantileGroups<T>,
}

impl<T: ArrowPrimitiveType> OneGroup<T> {
    pub(super) fn new(mut groups: QuantileGroups<T>) -> Self {
        // There is a group even when there is no row.
        groups.groups.resize_with(1, Vec::new);
        Self { groups }
    }
}

fn all_in_one(values: &[ArrayRef]) -> Vec<usize> {
    vec![0; values.first().map_or(0, |array| array.len())]
}

impl<T: ArrowPrimitiveType + Debug + Send> Accumulator for OneGroup<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.groups
            .update_batch(values, &all_in_one(values), None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.groups.merge_batch(states, &all_in_one(states), 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = self.groups.state(EmitTo::All)?;
        state
            .iter()
            .map(|array| ScalarValue::try_from_array(array, 0))
            .collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Windows evaluate again after more rows, so the values stay.
        let mut values = std::mem::take(&mut self.groups.groups);
        let result = self.groups.results(&mut values);
        self.groups.groups = values;
        ScalarValue::try_from_array(&result?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.size()
    }
}
