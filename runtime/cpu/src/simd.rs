//! Sixteen numbers side by side on every instruction set: what all but the integer kernels are written in.

#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod avx512;
mod group;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod portable;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
#[path = "simd/x86.rs"]
mod run;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
#[path = "simd/aarch64.rs"]
mod run;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
#[path = "simd/wasm.rs"]
mod run;
#[cfg(not(any(
    all(target_arch = "x86_64", feature = "std"),
    all(target_arch = "aarch64", target_feature = "neon"),
    all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(feature = "small")
    )
)))]
#[path = "simd/other.rs"]
mod run;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
mod simd128;
#[cfg(test)]
mod tests;

#[cfg(all(target_arch = "x86_64", feature = "std"))]
pub(crate) use avx2::Avx2;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
pub(crate) use avx512::Avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
pub(crate) use run::run;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
pub(crate) use simd128::Simd128;

use inkstone_quant::GROUP;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Arithmetic over sixteen lanes. A value of the type proves that the processor has the instructions.
///
/// Every operation gives the bits of the scalar one in each lane.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Accumulators of sixteen lanes that stay in registers beside what they are fed with.
    const ACCUMULATORS: usize;
    /// Whether it gains where memory is asked for what will be read.
    const ASKS: bool = false;
    /// Whether a single f16 is so dear that vectors of them are turned to numbers first.
    const DEAR_F16: bool = false;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn load_f16(self, x: &[u16; LANES]) -> Self::F;
    /// Little-endian f16 as they lie in a file.
    fn load_f16_bytes(self, x: &[[u8; 2]; LANES]) -> Self::F;
    fn load_i8(self, x: &[i8; LANES]) -> Self::F;
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    /// Rounds as [`inkstone_quant::math::f16_bits`].
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `sum + a · b` where the product is exact: fused where the processor can, with the same bits.
    fn add_exact(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F;

    fn zero(self) -> Self::I;
    /// Adds to each lane the products of its four bytes of `k` with `q`; no byte is −128.
    fn dot(self, sum: Self::I, k: &[[i8; 4]; LANES], q: [i8; 4]) -> Self::I;
    fn to_f32(self, x: Self::I) -> Self::F;

    /// Rounds as [`inkstone_quant::activation::quantize_group`]; gives the scale, and the sums of both halves' codes.
    #[inline(always)]
    fn round(self, x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, [i32; 2]) {
        group::round(x, codes)
    }
}

/// Work written once for all instruction sets. `run` and all it calls must be `#[inline(always)]`, so that it is
/// compiled within a function that has the instructions enabled.
pub(crate) trait Task {
    type Out;
    fn run<S: Simd>(self, simd: S) -> Self::Out;
}
