//! Integer products of panels with rounded activations: one file for each code width, in it one module for each
//! instruction set.
//!
//! Groups ascend in every row's accumulator; inside a group sums are integers, so that any order gives the same bits.

use inkstone_quant::activation::groups;
use inkstone_quant::{Codes, Encoding, Format, GROUP, PANEL};

use crate::isa::{Isa, Ready};

#[cfg(all(target_arch = "x86_64", feature = "std"))]
pub(crate) mod amx;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod arm;
pub(crate) mod ask;
#[cfg(any(
    all(target_arch = "x86_64", feature = "std"),
    all(target_arch = "aarch64", target_feature = "neon"),
    all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(feature = "small")
    )
))]
mod at;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod dotprod;
mod eight;
mod five;
mod four;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod i8mm;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
#[path = "kernels/aarch64.rs"]
mod list;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
#[path = "kernels/wasm.rs"]
mod list;
#[cfg(not(any(
    all(target_arch = "x86_64", feature = "std"),
    all(target_arch = "aarch64", target_feature = "neon"),
    all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(feature = "small")
    )
)))]
#[path = "kernels/other.rs"]
mod list;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
#[path = "kernels/x86.rs"]
mod list;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod portable;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
mod simd128;
mod six;
#[cfg_attr(not(feature = "small"), allow(dead_code))]
mod small;

pub(crate) use portable::Levels;

pub use list::KERNELS;

/// Panels that a kernel takes at once, at most.
pub const PANELS: usize = 2;

/// Products of one row of activations with one panel.
pub type Products = [f32; PANEL];

/// Multiplies panels of some codes by rounded activations.
#[derive(Debug)]
pub struct Kernel {
    /// How weights are packed.
    pub codes: &'static Codes,
    /// Inputs that share a weight scale: 16 or 32.
    pub group: usize,
    /// The instructions it needs.
    pub isa: Isa,
    run: Run,
}

/// Needs the kernel's instructions, and a [`Job`] that [`Job::fits`].
type Run = unsafe fn(&Job<'_>, &mut [Products]);

/// Some panels of sixteen rows against some rows of activations.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// 1 to [`PANELS`] of them.
    pub panels: &'a [Panel<'a>],
    /// Tiles of 32 inputs in a panel.
    pub tiles: usize,
    /// Rounded activations.
    pub rows: Rows<'a>,
}

/// A panel of sixteen rows with its scales as numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Panel<'a> {
    /// The tiles.
    pub tiles: &'a [u8],
    /// The scale of each group and row.
    pub scales: &'a [[f32; PANEL]],
    /// The minimum of each group and row, where there are minima.
    pub minima: Option<&'a [[f32; PANEL]]>,
    /// What is read after this panel, which a kernel may ask memory for while it multiplies.
    pub next: &'a [u8],
}

/// Rows of rounded activations, each padded with zero codes to `groups` groups.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// How many rows.
    pub count: usize,
    /// From one row to the next.
    pub groups: usize,
    /// `count × 32·groups` codes.
    pub codes: &'a [i8],
    /// `count × groups` scales.
    pub scales: &'a [f32],
    /// `count × 2·groups` sums of 16 codes.
    pub sums: &'a [i32],
}

impl Kernel {
    /// The kernel for a format on an instruction set; `None` for formats whose products are not integers.
    pub fn find(format: &Format, isa: Isa) -> Option<&'static Kernel> {
        let Encoding::Blocks(codes, scales) = &format.encoding else {
            return None;
        };
        let fits =
            |k: &&Kernel| core::ptr::eq(k.codes, *codes) && k.group == scales.group && k.isa == isa;
        KERNELS.iter().find(fits)
    }

    /// Writes the products of activation row `t` with panel `p` of `n` to `out[t · n + p]`.
    ///
    /// # Panics
    /// The processor has not got the kernel's instructions, a slice is too short, or there are no or too many panels.
    #[inline]
    pub fn multiply(&self, job: &Job<'_>, out: &mut [Products]) {
        self.multiply_on(
            Ready::new(self.isa).expect("the processor has the instructions"),
            job,
            out,
        );
    }

    /// As [`Self::multiply`] on an instruction set that is there: the kernel's.
    #[allow(unsafe_code)]
    pub(crate) fn multiply_on(&self, isa: Ready, job: &Job<'_>, out: &mut [Products]) {
        assert!(isa.isa() == self.isa, "a kernel of another instruction set");
        assert!(
            job.fits(self) && out.len() / job.panels.len() >= job.rows.count,
            "a job as long as it claims"
        );
        // SAFETY: the instructions are there, and the slices are as long as the kernel will read and write.
        unsafe { (self.run)(job, out) }
    }
}

impl Job<'_> {
    /// Whether every slice is as long as the counts say.
    fn fits(&self, kernel: &Kernel) -> bool {
        let scales = self.tiles * (GROUP / kernel.group);
        let panel = |p: &Panel<'_>| {
            p.tiles.len() >= self.tiles * kernel.codes.tile_bytes(PANEL)
                && p.scales.len() >= scales
                && p.minima.is_none_or(|m| m.len() >= scales)
        };
        let Rows {
            count,
            groups,
            codes,
            scales,
            sums,
        } = self.rows;
        let Some(cells) = count.checked_mul(groups) else {
            return false;
        };
        (1..=PANELS).contains(&self.panels.len())
            && self.panels.iter().all(panel)
            && self
                .panels
                .iter()
                .all(|p| p.minima.is_some() == self.panels[0].minima.is_some())
            && groups >= self.tiles
            && codes.len() >= cells * GROUP
            && scales.len() >= cells
            && sums.len() >= cells * 2
    }
}

impl<'a> Rows<'a> {
    /// `count` rows of `inputs` activations.
    pub fn new(
        count: usize,
        inputs: usize,
        codes: &'a [i8],
        scales: &'a [f32],
        sums: &'a [i32],
    ) -> Rows<'a> {
        Rows {
            count,
            groups: groups(inputs),
            codes,
            scales,
            sums,
        }
    }
}

/// The levels of a tile of sixteen rows, `[quad][row][input of the quad]`.
pub(crate) fn levels(codes: &'static Codes, tile: &[u8]) -> Levels {
    let mut levels = [[0; portable::QUAD]; portable::QUADS];
    match UNPACK.iter().find(|(c, _)| core::ptr::eq(*c, codes)) {
        Some((_, unpack)) => unpack(tile, &mut levels),
        None => portable::unpack_any(codes, tile, &mut levels),
    }
    levels
}

/// Faster ways than [`Codes::get`] to unpack a tile.
static UNPACK: &[(&Codes, portable::Unpacker)] = if cfg!(feature = "small") {
    &[]
} else {
    &[
        portable::unpacker::<eight::portable::Bytes>(),
        portable::unpacker::<four::portable::Signed>(),
        portable::unpacker::<four::portable::Unsigned>(),
        portable::unpacker::<four::portable::Table>(),
        portable::unpacker::<five::portable::Signed>(),
        portable::unpacker::<five::portable::Unsigned>(),
        portable::unpacker::<six::portable::Signed>(),
    ]
};
