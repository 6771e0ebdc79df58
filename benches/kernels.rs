//! Every kernel alone: bytes of weights a second with one row of activations, operations a second with many.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inkstone_cpu::kernels::{Job, KERNELS, Kernel, PANELS, Panel, Rows};
use inkstone_quant::activation::groups;
use inkstone_quant::{Encoding, FORMATS, Format, GROUP, PANEL};

/// Inputs of the matrices: two panels of them fit into a second-level cache.
const INPUTS: usize = 4032;

/// Rows of activations of a prompt.
const MANY: usize = 128;

criterion_group!(kernels, every_kernel);
criterion_main!(kernels);

fn every_kernel(criterion: &mut Criterion) {
    for kernel in KERNELS.iter().filter(|kernel| kernel.isa.available()) {
        // A kernel that no format uses would be one that tests have not seen either.
        for format in FORMATS.iter().filter(|format| runs(kernel, format)) {
            measure(criterion, kernel, format);
        }
    }
}

fn runs(kernel: &Kernel, format: &Format) -> bool {
    Kernel::find(format, kernel.isa).is_some_and(|found| core::ptr::eq(found, kernel))
}

fn measure(criterion: &mut Criterion, kernel: &Kernel, format: &Format) {
    let panels = Panels::new(kernel, format);
    let bytes = PANELS * panels.bytes.len();
    let operations = 2 * PANELS * PANEL * INPUTS;
    let loads = [
        (1, Throughput::Bytes(bytes as u64)),
        (MANY, Throughput::Elements((MANY * operations) as u64)),
    ];
    let mut group = criterion.benchmark_group(format!("{}/{}", kernel.isa.name(), format.name));
    for (rows, throughput) in loads {
        let acts = Acts::new(rows);
        let mut out = vec![[0.0; PANEL]; rows * PANELS];
        group.throughput(throughput);
        group.bench_function(BenchmarkId::new("rows", rows), |bencher| {
            bencher.iter(|| {
                let panels = [panels.panel(); PANELS];
                let job = Job {
                    panels: &panels,
                    tiles: INPUTS / GROUP,
                    rows: acts.rows(),
                };
                kernel.multiply(&job, &mut out);
            });
        });
    }
    group.finish();
}

/// A panel of some codes; its scales are numbers already.
struct Panels {
    bytes: Vec<u8>,
    scales: Vec<[f32; PANEL]>,
    minimum: bool,
}

impl Panels {
    fn new(kernel: &Kernel, format: &Format) -> Panels {
        let length = INPUTS / GROUP * kernel.codes.tile_bytes(PANEL);
        let minimum = matches!(&format.encoding, Encoding::Blocks(_, scales) if scales.minimum);
        Panels {
            bytes: (0..length).map(|index| (index * 167) as u8).collect(),
            scales: vec![[0.01; PANEL]; INPUTS / kernel.group],
            minimum,
        }
    }

    fn panel(&self) -> Panel<'_> {
        Panel {
            tiles: &self.bytes,
            scales: &self.scales,
            minima: self.minimum.then_some(&self.scales),
            next: &[],
        }
    }
}

/// Rounded activations.
struct Acts {
    count: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Acts {
    fn new(count: usize) -> Acts {
        let codes: Vec<i8> = (0..count * INPUTS)
            .map(|index| (index * 31 % 255) as u8 as i8)
            .collect();
        let sums = codes.chunks_exact(GROUP / 2);
        Acts {
            count,
            scales: vec![0.1; count * groups(INPUTS)],
            sums: sums
                .map(|half| half.iter().copied().map(i32::from).sum())
                .collect(),
            codes,
        }
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(self.count, INPUTS, &self.codes, &self.scales, &self.sums)
    }
}
