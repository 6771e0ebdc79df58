//! Matrices of f32 where they lie.

use core::ops::Range;

/// A matrix inside a slice: element `(r, c)` stands at `r · row_stride + c · column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// `rows × columns`, row by row.
    ///
    /// # Panics
    /// `data` is too short.
    #[must_use]
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> View<'a> {
        View::strided(data, rows, columns, columns)
    }

    /// `rows × columns`, from one row to the next `stride` elements.
    ///
    /// # Panics
    /// `data` is too short.
    #[must_use]
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> View<'a> {
        let end = match rows {
            0 => 0,
            _ => (rows - 1) * stride + columns,
        };
        assert!(end <= data.len(), "a matrix exceeds its slice");
        View {
            data,
            rows,
            columns,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> View<'a> {
        View {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// It has not as many.
    #[must_use]
    pub fn part(self, rows: Range<usize>) -> View<'a> {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "rows of a matrix"
        );
        View {
            data: self.rows_from(rows.start),
            rows: rows.len(),
            ..self
        }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// It has not as many.
    #[must_use]
    pub fn columns_of(self, columns: Range<usize>) -> View<'a> {
        self.transposed().part(columns).transposed()
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A row whose elements lie side by side.
    ///
    /// # Panics
    /// They do not, or there is no such row.
    #[must_use]
    pub fn row(self, row: usize) -> &'a [f32] {
        assert!(self.column_stride == 1, "a row that lies across");
        &self.data[row * self.row_stride..][..self.columns]
    }

    /// Elements from a row to the next, and from a column to the next.
    pub(super) fn strides(&self) -> (usize, usize) {
        (self.row_stride, self.column_stride)
    }

    /// The first element of `row` and all that follows it in the slice.
    pub(super) fn rows_from(&self, row: usize) -> &'a [f32] {
        &self.data[(row * self.row_stride).min(self.data.len())..]
    }
}
