//! What training needs of a processor: products of matrices in f32, bf16 or integers, and what is done to rows between them.
//!
//! Every element of a product is one sum over ascending inputs, whatever rows are computed beside it, so that the number
//! of threads changes no bit. Sums over rows have sixteen interleaved partial sums, as everywhere.

mod bf16;
mod int8;
mod lines;
mod product;
pub mod rows;
mod view;

pub use bf16::{Packed, Part, Space, narrow, widen};
pub use int8::{Columns, Group, Integers};
pub use lines::{Lines, Word};
pub use product::{Form, Left, Precision, Right, To, multiply};
pub use view::View;
