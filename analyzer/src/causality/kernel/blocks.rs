//! Rows in blocks: what those of one block look up is fetched together.

use std::ops::Range;

/// Rows of a block: more than a processor waits for at a time, few enough for what they look up to stay in its cache.
pub(crate) const BLOCK_ROWS: usize = 128;

/// The block that begins at a row, of so many rows.
pub(crate) fn block_at(row: usize, rows: usize) -> Option<Range<usize>> {
    let is_begin = row < rows && row.is_multiple_of(BLOCK_ROWS);
    is_begin.then(|| row..rows.min(row + BLOCK_ROWS))
}

/// The blocks of so many rows.
pub(crate) fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(BLOCK_ROWS)
        .filter_map(move |row| block_at(row, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_block() {
        for rows in [0, 1, BLOCK_ROWS, BLOCK_ROWS + 1, 1000] {
            let found: Vec<usize> = blocks(rows).flatten().collect();
            assert!(found.into_iter().eq(0..rows), "{rows}");
            let begun = (0..rows).filter_map(|row| block_at(row, rows));
            assert!(begun.eq(blocks(rows)), "{rows}");
        }
        assert_eq!(block_at(BLOCK_ROWS, BLOCK_ROWS), None);
    }
}
