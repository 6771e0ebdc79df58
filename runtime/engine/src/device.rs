//! What models run on: a table. Nobody above matches on a device.

use core::ops::Range;

use inkstone_cpu::{Cpu, CpuError, ISAS, Isa, IsaError, Limit, Parallel, Team};
use inkstone_model::reference::Reference;
use inkstone_model::{Backend, Batch, Fault, Op, Slot};

use crate::arena::Arena;
use crate::config::Plan;
use crate::cores::Cores;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

/// What whoever asks for a session lends to it.
#[derive(Default)]
pub struct Lent {
    /// Memory to compute in, from a multiple of 64 on: the [`Memory::arena`](crate::Plan::memory) bytes of the plan.
    pub memory: Option<&'static mut [u8]>,
    /// Threads to compute on: as many as the configuration says.
    pub parallel: Option<Parallel>,
}

impl core::fmt::Debug for Lent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let memory = self.memory.as_ref().map(|memory| memory.len());
        let mut shown = f.debug_struct("Lent");
        shown.field("memory", &memory);
        shown.field("parallel", &self.parallel.is_some()).finish()
    }
}

/// Something that models run on.
pub struct Device {
    /// Its name in configurations.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub doc: &'static str,
    describe: fn() -> Vec<(&'static str, String)>,
    open: fn(&Model, &Plan, isa: Option<&str>, Lent) -> Result<Running>,
}

/// Every device, the usual one first.
pub static DEVICES: &[Device] = &[
    Device {
        name: "cpu",
        doc: "the processor, by the best instruction set it has",
        describe: describe_cpu,
        open: cpu,
    },
    Device {
        name: "reference",
        doc: "the definition of every number, run as it is written: for comparing, far too slow to use",
        describe: Vec::new,
        open: reference,
    },
];

impl Device {
    /// What this machine has of it: properties and their values.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        (self.describe)()
    }

    pub(crate) fn open(
        &self,
        model: &Model,
        plan: &Plan,
        isa: Option<&str>,
        lent: Lent,
    ) -> Result<Running> {
        (self.open)(model, plan, isa, lent)
    }
}

impl core::fmt::Debug for Device {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        self.name == other.name
    }
}

/// The device of a name.
///
/// # Errors
/// [`ErrorKind::Unsupported`], naming those that are there.
pub fn find(name: &str) -> Result<&'static Device> {
    DEVICES
        .iter()
        .find(|device| device.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = DEVICES.iter().map(|device| device.name).collect();
            let text = format!(
                "there is no device {name}; choose one of {}",
                names.join(", ")
            );
            Error::text(ErrorKind::Unsupported, text)
        })
}

/// A backend of some device, made and ready.
pub(crate) struct Running {
    backend: Box<dyn Backend + Send>,
    workers: Option<Limit>,
}

impl Running {
    /// Lets at most so many workers take part, where there are workers.
    pub(crate) fn limit(&self, workers: u32) {
        if let Some(limit) = &self.workers {
            limit.set(workers as usize);
        }
    }
}

impl Backend for Running {
    fn run(&mut self, batch: &Batch<'_>) -> core::result::Result<(), Fault> {
        self.backend.run(batch)
    }

    fn logits(&mut self, rows: Range<usize>) -> &mut [f32] {
        self.backend.logits(rows)
    }

    fn read(&self, slot: Slot, row: usize, out: &mut [f32]) {
        self.backend.read(slot, row, out);
    }

    fn save(&self, positions: u32, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.backend.save(positions, sink)
    }

    fn load(&mut self, positions: u32, source: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        self.backend.load(positions, source)
    }
}

fn cpu(model: &Model, plan: &Plan, isa: Option<&str>, lent: Lent) -> Result<Running> {
    let isa = match isa {
        Some(name) => Isa::by_name(name).ok_or(IsaError::Unknown),
        None => Isa::from_env(),
    };
    let isa = isa.map_err(|e| refused(e.into()))?;
    let bytes = plan.memory.arena;
    let arena = match lent.memory {
        Some(memory) => Arena::lent(memory, bytes)?,
        None => Arena::new(bytes)?,
    };
    let team = match lent.parallel {
        Some(parallel) => Team::hosted(plan.config.threads as usize, parallel),
        None => team(plan)?,
    };
    let workers = Some(team.limit());
    let cpu = Cpu::new(
        plan.layout,
        ops(model, plan),
        model.bytes(),
        arena,
        isa,
        team,
    );
    Ok(Running {
        backend: Box::new(cpu.map_err(refused)?),
        workers,
    })
}

/// The plan's workers, bound to processors where it says so.
fn team(plan: &Plan) -> Result<Team> {
    let threads = plan.config.threads as usize;
    if !plan.pin {
        return Team::new(threads).map_err(|e| {
            let text = format!("cannot start {threads} threads: {e}");
            Error::text(ErrorKind::OutOfMemory, text)
        });
    }
    let places = Cores::here().places();
    let few = || {
        let text = format!(
            "{threads} threads cannot be bound to {} processors",
            places.len()
        );
        Error::text(ErrorKind::Unsupported, text)
    };
    Team::bound(places.get(..threads).ok_or_else(few)?).map_err(|e| {
        let text = format!("cannot bind {threads} threads to processors: {e}");
        Error::text(ErrorKind::Unsupported, text)
    })
}

fn refused(error: CpuError) -> Error {
    Error::text(ErrorKind::Unsupported, error.to_string())
}

fn describe_cpu() -> Vec<(&'static str, String)> {
    let there: Vec<&str> = ISAS
        .iter()
        .filter(|(_, isa)| isa.available())
        .map(|(name, _)| *name)
        .collect();
    let used = Isa::from_env().map_or_else(|e| e.to_string(), |isa| isa.name().to_owned());
    let cores = Cores::here();
    let fast = cores.all.iter().filter(|core| core.fast).count();
    let join = |ids: Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    vec![
        ("processors", cores.processors().to_string()),
        ("cores", cores.all.len().to_string()),
        ("fast cores", fast.to_string()),
        (
            "quota",
            cores
                .quota
                .map_or("none".to_owned(), |quota| quota.to_string()),
        ),
        ("threads", cores.workers().to_string()),
        ("order of pinning", join(cores.places())),
        ("instruction sets", there.join(" ")),
        ("used", used),
    ]
}

fn reference(model: &Model, plan: &Plan, _isa: Option<&str>, _lent: Lent) -> Result<Running> {
    if model.is_streamed() {
        let text = "the reference wants all weights in memory";
        return Err(Error::text(ErrorKind::Unsupported, text));
    }
    let reference = Reference::new(plan.layout, ops(model, plan), model.bytes());
    Ok(Running {
        backend: Box::new(reference),
        workers: None,
    })
}

fn ops(model: &Model, plan: &Plan) -> Box<[Op]> {
    plan.layout.ops(&model.view()).collect()
}
