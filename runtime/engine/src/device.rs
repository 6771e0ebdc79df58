//! What models run on: a table. Nobody above matches on a device.

use inkstone_model::reference::Reference;
use inkstone_model::{Backend, Batch, Fault, Slot};

use crate::arena::Arena;
use crate::config::Plan;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

/// Something that models run on.
pub struct Device {
    /// Its name in configurations.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub doc: &'static str,
    describe: fn() -> Vec<(&'static str, String)>,
    open: fn(&Model, &Plan, isa: Option<&str>) -> Result<Running>,
}

/// Every device, the usual one first.
pub static DEVICES: &[Device] = &[Device {
    name: "reference",
    doc: "the definition of every number, run as it is written: for comparing, far too slow to use",
    describe: || Vec::new(),
    open: reference,
}];

impl Device {
    /// What this machine has of it: properties and their values.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        (self.describe)()
    }

    pub(crate) fn open(&self, model: &Model, plan: &Plan, isa: Option<&str>) -> Result<Running> {
        (self.open)(model, plan, isa)
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

/// Processors that this process may use.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// A backend of some device, made and ready.
pub(crate) struct Running(Box<dyn Backend + Send>);

impl Backend for Running {
    fn run(&mut self, batch: &Batch<'_>) -> core::result::Result<(), Fault> {
        self.0.run(batch)
    }

    fn logits(&mut self, row: usize) -> &mut [f32] {
        self.0.logits(row)
    }

    fn read(&self, slot: Slot, row: usize, out: &mut [f32]) {
        self.0.read(slot, row, out);
    }

    fn save(&self, positions: u32, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.save(positions, sink)
    }

    fn load(&mut self, positions: u32, source: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        self.0.load(positions, source)
    }
}

fn reference(model: &Model, plan: &Plan, _isa: Option<&str>) -> Result<Running> {
    let ops = plan.layout.ops(&model.view()).collect::<Vec<_>>();
    Ok(Running(Box::new(Reference::new(
        plan.layout,
        ops,
        model.bytes(),
    ))))
}
