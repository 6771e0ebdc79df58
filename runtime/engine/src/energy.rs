//! Energy that the processors have drawn, where the system tells: RAPL under Linux.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Counts joules of all processor packages of the machine, whoever used them. Reading allocates nothing.
#[derive(Debug)]
pub struct Meter {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    file: File,
    /// Microjoules at which the counter begins again, where that is told.
    range: Option<u64>,
    last: u64,
    /// Microjoules since the meter was made.
    total: u64,
}

impl Meter {
    /// That of this machine; `None` where it does not tell, or not to this user.
    pub fn here() -> Option<Meter> {
        Meter::below(Path::new("/"))
    }

    /// One that reads the files below `root`.
    pub fn below(root: &Path) -> Option<Meter> {
        let zones = fs::read_dir(root.join("sys/class/powercap")).ok()?;
        // A package's zone has one number; those of its parts, which it includes, have two.
        let is_package = |name: &str| name.matches(':').count() == 1;
        let packages: Vec<Package> = zones
            .filter_map(|zone| {
                let zone = zone.ok()?;
                is_package(zone.file_name().to_str()?)
                    .then(|| Package::open(&zone.path()))
                    .flatten()
            })
            .collect();
        (!packages.is_empty()).then_some(Meter { packages })
    }

    /// Joules since it was made; `None` where the system has ceased to tell.
    pub fn joules(&mut self) -> Option<f64> {
        let mut total = 0;
        for package in &mut self.packages {
            total += package.read()?;
        }
        Some(total as f64 / 1e6)
    }
}

impl Package {
    fn open(zone: &Path) -> Option<Package> {
        let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
        // The whole platform's zone includes the packages'.
        if name.trim() == "psys" {
            return None;
        }
        let range = fs::read_to_string(zone.join("max_energy_range_uj")).ok();
        let mut file = File::open(zone.join("energy_uj")).ok()?;
        let last = counter(&mut file)?;
        Some(Package {
            file,
            range: range.and_then(|range| range.trim().parse().ok()),
            last,
            total: 0,
        })
    }

    fn read(&mut self) -> Option<u64> {
        let now = counter(&mut self.file)?;
        // It begins again after hours at most; who reads seldom may miss that.
        let drawn = match self.range {
            Some(range) if now < self.last => range.saturating_sub(self.last).saturating_add(now),
            _ => now.saturating_sub(self.last),
        };
        self.last = now;
        self.total += drawn;
        Some(self.total)
    }
}

fn counter(file: &mut File) -> Option<u64> {
    let mut bytes = [0; 24];
    file.seek(SeekFrom::Start(0)).ok()?;
    let count = file.read(&mut bytes).ok()?;
    core::str::from_utf8(&bytes[..count])
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these zones: name of the folder, name of the zone.
    fn machine(zones: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (zone, name) in zones {
            let path = folder.path().join("sys/class/powercap").join(zone);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("name"), format!("{name}\n")).unwrap();
            fs::write(path.join("max_energy_range_uj"), "10000000\n").unwrap();
        }
        folder
    }

    fn set(folder: &tempfile::TempDir, zone: &str, microjoules: u64) {
        let path = folder.path().join("sys/class/powercap").join(zone);
        fs::write(path.join("energy_uj"), format!("{microjoules}\n")).unwrap();
    }

    #[test]
    fn packages_are_added_up_and_their_parts_are_not() {
        let zones = [
            ("intel-rapl", ""),
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:2", "psys"),
        ];
        let folder = machine(&zones);
        zones[1..].iter().for_each(|zone| set(&folder, zone.0, 500));
        let mut meter = Meter::below(folder.path()).unwrap();
        assert_eq!(meter.joules(), Some(0.0));
        zones[1..]
            .iter()
            .for_each(|zone| set(&folder, zone.0, 1_500_500));
        assert_eq!(meter.joules(), Some(3.0));
        assert_eq!(meter.joules(), Some(3.0));
    }

    #[test]
    fn a_counter_that_begins_again_goes_on() {
        let folder = machine(&[("intel-rapl:0", "package-0")]);
        set(&folder, "intel-rapl:0", 9_000_000);
        let mut meter = Meter::below(folder.path()).unwrap();
        set(&folder, "intel-rapl:0", 1_000_000);
        assert_eq!(meter.joules(), Some(2.0));
        set(&folder, "intel-rapl:0", 1_500_000);
        assert_eq!(meter.joules(), Some(2.5));
    }

    #[test]
    fn what_the_system_does_not_tell_is_not_known() {
        assert!(Meter::below(Path::new("nowhere")).is_none());
        assert!(Meter::below(machine(&[("intel-rapl:0", "package-0")]).path()).is_none());
        let folder = machine(&[("intel-rapl:0", "package-0")]);
        set(&folder, "intel-rapl:0", 1);
        let mut meter = Meter::below(folder.path()).unwrap();
        let path = folder
            .path()
            .join("sys/class/powercap/intel-rapl:0/energy_uj");
        fs::write(path, "nonsense").unwrap();
        assert_eq!(meter.joules(), None);
    }
}
