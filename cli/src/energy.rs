//! Energy that the processors have used, where the system counts it: RAPL, as Linux shows it.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux shows what it can measure and cap.
const POWERCAP: &str = "/sys/class/powercap";

/// The counters of all processor packages.
pub(crate) struct Meter {
    packages: Vec<Package>,
}

struct Package {
    counter: PathBuf,
    /// The counter begins again at 0 behind this.
    last: u64,
}

/// What the counters showed.
pub(crate) struct Reading(Vec<u64>);

impl Meter {
    /// The machine's counters, if there are any that this process may read.
    pub(crate) fn find() -> Option<Meter> {
        Meter::below(Path::new(POWERCAP))
    }

    fn below(folder: &Path) -> Option<Meter> {
        let zones = fs::read_dir(folder).ok()?.flatten();
        // Parts of a package are zones, too, and are in its counter already.
        let packages: Vec<Package> = zones.filter_map(|zone| package(&zone.path())).collect();
        let meter = Meter { packages };
        (!meter.packages.is_empty() && meter.read().is_some()).then_some(meter)
    }

    /// What the counters show now.
    pub(crate) fn read(&self) -> Option<Reading> {
        let counters = self.packages.iter();
        counters
            .map(|package| number(&package.counter))
            .collect::<Option<_>>()
            .map(Reading)
    }

    /// Joules between two readings.
    pub(crate) fn joules(&self, before: &Reading, after: &Reading) -> f64 {
        let readings = before.0.iter().zip(&after.0).zip(&self.packages);
        let microjoules = readings.map(|((&before, &after), package)| {
            if after >= before {
                after - before
            } else {
                after + package.last.saturating_sub(before)
            }
        });
        microjoules.sum::<u64>() as f64 / 1e6
    }
}

fn package(zone: &Path) -> Option<Package> {
    let name = fs::read_to_string(zone.join("name")).ok()?;
    name.starts_with("package").then_some(())?;
    Some(Package {
        counter: zone.join("energy_uj"),
        last: number(&zone.join("max_energy_range_uj"))?,
    })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(folder: &Path, zone: &str, name: &str, microjoules: u64) {
        let zone = folder.join(zone);
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "1000000\n").unwrap();
        fs::write(zone.join("energy_uj"), format!("{microjoules}\n")).unwrap();
    }

    #[test]
    fn packages_are_added_up_and_counters_may_begin_again() {
        let folder = std::env::temp_dir().join(format!("inkstone-energy-{}", std::process::id()));
        zone(&folder, "intel-rapl:0", "package-0", 900_000);
        zone(&folder, "intel-rapl:0:0", "core", 5);
        zone(&folder, "intel-rapl:1", "package-1", 10);
        let meter = Meter::below(&folder).unwrap();
        let before = meter.read().unwrap();
        zone(&folder, "intel-rapl:0", "package-0", 400_000);
        zone(&folder, "intel-rapl:1", "package-1", 500_010);
        let after = meter.read().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(meter.joules(&before, &after), 1.0);
    }

    #[test]
    fn a_machine_without_counters_has_no_meter() {
        assert!(Meter::below(Path::new("absent")).is_none());
    }
}
