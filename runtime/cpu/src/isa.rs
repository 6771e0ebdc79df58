//! Which instruction sets there are, and which of them this processor has.

#[cfg(all(target_arch = "x86_64", feature = "std"))]
#[path = "isa/x86.rs"]
mod found;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
#[path = "isa/aarch64.rs"]
mod found;
#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
#[path = "isa/wasm.rs"]
mod found;
#[cfg(not(any(
    all(target_arch = "x86_64", feature = "std"),
    all(target_arch = "aarch64", target_feature = "neon"),
    all(
        target_arch = "wasm32",
        target_feature = "simd128",
        not(feature = "small")
    )
)))]
#[path = "isa/other.rs"]
mod found;

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the compiler targets.
    Portable,
    /// AVX2, F16C and FMA.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512,
    /// AVX-512 as above and AMX-INT8, whose registers the system allows.
    Amx,
    /// What every 64-bit Arm processor has.
    Neon,
    /// NEON and FEAT_DotProd: `sdot`.
    Dotprod,
    /// NEON, FEAT_DotProd and FEAT_I8MM: `smmla`, `usdot`.
    I8mm,
    /// WebAssembly's vectors of 128 bits, where the build has them: a module with them runs nowhere else.
    Simd128,
}

/// Every instruction set with its name, better ones later.
pub static ISAS: &[(&str, Isa)] = &[
    ("portable", Isa::Portable),
    ("avx2", Isa::Avx2),
    ("avx512", Isa::Avx512),
    ("amx", Isa::Amx),
    ("neon", Isa::Neon),
    ("dotprod", Isa::Dotprod),
    ("i8mm", Isa::I8mm),
    ("simd128", Isa::Simd128),
];

/// The environment's variable that forces an instruction set.
pub const VARIABLE: &str = "INKSTONE_ISA";

/// Why an instruction set cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsaError {
    /// No instruction set has this name.
    Unknown,
    /// This processor, or this build, has not got it.
    Absent(Isa),
}

impl core::fmt::Display for IsaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            IsaError::Unknown => write!(f, "no such instruction set; there are")?,
            IsaError::Absent(isa) => {
                write!(f, "this processor has no {}; it has", isa.name())?;
            }
        }
        let listed = |isa: &Isa| *self == IsaError::Unknown || isa.available();
        for (name, _) in ISAS.iter().filter(|(_, isa)| listed(isa)) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for IsaError {}

impl Isa {
    /// Its name in [`ISAS`].
    pub fn name(self) -> &'static str {
        ISAS.iter()
            .find(|(_, isa)| *isa == self)
            .map_or("?", |(name, _)| name)
    }

    /// The instruction set called `name`.
    pub fn by_name(name: &str) -> Option<Isa> {
        ISAS.iter().find(|(n, _)| *n == name).map(|(_, isa)| *isa)
    }

    /// Whether this processor has it.
    pub fn available(self) -> bool {
        found::has(self)
    }

    /// The best one this processor has.
    pub fn detect() -> Isa {
        let best = ISAS.iter().rev().find(|(_, isa)| isa.available());
        best.map_or(Isa::Portable, |(_, isa)| *isa)
    }

    /// The one that [`VARIABLE`] names, else the best one.
    ///
    /// # Errors
    /// The variable names none, or one this processor has not got.
    #[cfg(feature = "std")]
    pub fn from_env() -> Result<Isa, IsaError> {
        let Some(name) = std::env::var_os(VARIABLE) else {
            return Ok(Isa::detect());
        };
        let isa = name
            .to_str()
            .and_then(Isa::by_name)
            .ok_or(IsaError::Unknown)?;
        Ready::new(isa).map(Ready::isa)
    }
}

/// An instruction set that this processor has been found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready(Isa);

impl Ready {
    pub(crate) fn new(isa: Isa) -> Result<Ready, IsaError> {
        if isa.available() {
            Ok(Ready(isa))
        } else {
            Err(IsaError::Absent(isa))
        }
    }

    pub(crate) fn isa(self) -> Isa {
        self.0
    }
}
