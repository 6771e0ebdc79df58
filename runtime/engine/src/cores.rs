//! Which processors this machine has, which of them are fast, and how many of them this process may use.
//!
//! Linux tells in files under `/sys` and `/proc`; all are read below a root of the caller's choice. Where they are
//! not there, every processor that the standard library counts is a core, and none is known by number.

use std::fs;
use std::path::Path;

/// A physical core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    /// Its processors that this process may use, ascending: more than one where a core runs several threads.
    pub processors: Vec<u32>,
    /// How fast it is, in units of whatever the system tells; 0 where it does not.
    pub speed: u32,
    /// Whether it is among the fast ones.
    pub fast: bool,
}

/// The cores that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// Fast ones first; those of equal speed by number.
    pub all: Vec<Core>,
    /// Processors' worth of time that the process's control group may take, where it is limited.
    pub quota: Option<u32>,
}

/// A file of each processor that tells how fast it is.
struct Signal {
    file: &'static str,
    /// A core is fast that has this many hundredths of the fastest one's.
    fast_percent: u32,
}

/// What tells how fast processors are, the most telling first; one counts if every processor has it.
static SIGNALS: &[Signal] = &[
    // Of the instructions that the fastest core does: between little cores and middle ones lies half.
    Signal {
        file: "cpu_capacity",
        fast_percent: 50,
    },
    // Clocks alone differ less than cores do; preferred cores of one kind differ by some hundredths.
    Signal {
        file: "cpufreq/cpuinfo_max_freq",
        fast_percent: 85,
    },
];

/// The most processors that are counted.
const MOST: u32 = 1024;

impl Cores {
    /// Those of this machine.
    pub fn here() -> Cores {
        Cores::below(Path::new("/")).unwrap_or_else(|| {
            let count = std::thread::available_parallelism().map_or(1, |n| n.get());
            let core = Core {
                processors: Vec::new(),
                speed: 0,
                fast: true,
            };
            Cores {
                all: vec![core; count],
                quota: None,
            }
        })
    }

    /// Those that the files below `root` tell of, if there are such files.
    pub fn below(root: &Path) -> Option<Cores> {
        let folder = root.join("sys/devices/system/cpu");
        let online = list(&text(&folder.join("online"))?);
        let allowed = allowed(root);
        let allowed = |id: &u32| allowed.as_ref().is_none_or(|allowed| allowed.contains(id));
        let usable: Vec<u32> = online.into_iter().filter(allowed).collect();
        let speeds = speeds(&folder, &usable);
        let mut all: Vec<Core> = Vec::new();
        for (&id, &speed) in usable.iter().zip(&speeds.values) {
            let siblings = siblings(&folder, id);
            let known = all.iter_mut().find(|core| {
                core.processors
                    .first()
                    .is_some_and(|first| siblings.contains(first))
            });
            match known {
                Some(core) => core.processors.push(id),
                None => all.push(Core {
                    processors: vec![id],
                    speed,
                    fast: speed >= speeds.fast,
                }),
            }
        }
        if let Some(fast) = text(&root.join("sys/devices/cpu_core/cpus")) {
            mark(&mut all, &list(&fast));
        }
        all.sort_by_key(|core| (!core.fast, core::cmp::Reverse(core.speed)));
        (!all.is_empty()).then(|| Cores {
            all,
            quota: quota(root),
        })
    }

    /// Workers that are worth having: one a fast core, as far as the quota reaches.
    pub fn workers(&self) -> u32 {
        let fast = self.all.iter().filter(|core| core.fast).count() as u32;
        fast.min(self.quota.unwrap_or(u32::MAX)).max(1)
    }

    /// Processors that workers may be bound to, in the order of their worth: one of each core, fast cores first, then
    /// the second ones. Empty where none is known by number.
    pub fn places(&self) -> Vec<u32> {
        let most = self.all.iter().map(|core| core.processors.len()).max();
        (0..most.unwrap_or(0))
            .flat_map(|turn| {
                self.all
                    .iter()
                    .filter_map(move |core| core.processors.get(turn).copied())
            })
            .collect()
    }

    /// Processors that this process may use.
    pub fn processors(&self) -> usize {
        self.all
            .iter()
            .map(|core| core.processors.len().max(1))
            .sum()
    }
}

/// How fast each processor is, and from where on one is fast.
struct Speeds {
    values: Vec<u32>,
    fast: u32,
}

fn speeds(folder: &Path, usable: &[u32]) -> Speeds {
    let by = |signal: &Signal| {
        let of = |id: &u32| number(&folder.join(format!("cpu{id}/{}", signal.file)));
        let values = usable.iter().map(of).collect::<Option<Vec<u32>>>()?;
        let fastest = u64::from(values.iter().copied().max()?);
        let fast = (fastest * u64::from(signal.fast_percent)).div_ceil(100) as u32;
        Some(Speeds { values, fast })
    };
    SIGNALS.iter().find_map(by).unwrap_or(Speeds {
        values: vec![0; usable.len()],
        fast: 0,
    })
}

/// Where the system itself tells which cores are the fast ones, as it does of x86 with two kinds.
fn mark(all: &mut [Core], fast: &[u32]) {
    let is_fast = |core: &Core| core.processors.iter().any(|id| fast.contains(id));
    if all.iter().any(is_fast) {
        all.iter_mut().for_each(|core| core.fast = is_fast(core));
    }
}

/// The processors that share a core with this one.
fn siblings(folder: &Path, id: u32) -> Vec<u32> {
    ["core_cpus_list", "thread_siblings_list"]
        .iter()
        .find_map(|file| text(&folder.join(format!("cpu{id}/topology/{file}"))))
        .map_or_else(|| vec![id], |text| list(&text))
}

/// The processors that the process's mask allows.
fn allowed(root: &Path) -> Option<Vec<u32>> {
    let status = text(&root.join("proc/self/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list(line))
}

/// Whole processors' worth of time that the process's control groups leave it, at least one.
fn quota(root: &Path) -> Option<u32> {
    let groups = text(&root.join("proc/self/cgroup"))?;
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() {
            return up(&root.join("sys/fs/cgroup"), group, of_version_two);
        }
        let is_cpu = controllers.split(',').any(|name| name == "cpu");
        let folder = root.join("sys/fs/cgroup");
        is_cpu
            .then(|| {
                let own = up(&folder.join(controllers), group, of_version_one);
                own.or_else(|| up(&folder.join("cpu"), group, of_version_one))
            })
            .flatten()
    });
    let least = limits.fold(None, |least: Option<f64>, limit| {
        Some(least.map_or(limit, |least| least.min(limit)))
    })?;
    Some((least as u32).max(1))
}

/// The least limit of a group and those above it.
fn up(mount: &Path, group: &str, limit: fn(&Path) -> Option<f64>) -> Option<f64> {
    let folder = mount.join(group.trim_start_matches('/'));
    folder
        .ancestors()
        .take_while(|folder| folder.starts_with(mount))
        .filter_map(limit)
        .reduce(f64::min)
}

fn of_version_two(folder: &Path) -> Option<f64> {
    let text = text(&folder.join("cpu.max"))?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn of_version_one(folder: &Path) -> Option<f64> {
    let quota = text(&folder.join("cpu.cfs_quota_us"))?;
    let period = text(&folder.join("cpu.cfs_period_us"))?;
    ratio(&quota, &period)
}

/// `None` where there is no limit: `max`, −1.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// The numbers of a list such as `0-3,8`.
fn list(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u32>().ok()?..=last.trim().parse::<u32>().ok()?.min(MOST))
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn number(path: &Path) -> Option<u32> {
    text(path)?.trim().parse().ok()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// Files of a machine that is not there.
    struct Fake(TempDir);

    impl Fake {
        fn new(online: &str) -> Fake {
            let fake = Fake(tempfile::tempdir().unwrap());
            fake.put("sys/devices/system/cpu/online", online)
        }

        fn put(self, name: &str, text: &str) -> Fake {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
            self
        }

        fn each(
            self,
            ids: core::ops::Range<u32>,
            file: &str,
            text: impl Fn(u32) -> String,
        ) -> Fake {
            ids.fold(self, |fake, id| {
                fake.put(&format!("sys/devices/system/cpu/cpu{id}/{file}"), &text(id))
            })
        }

        fn cores(&self) -> Cores {
            Cores::below(self.0.path()).unwrap()
        }
    }

    #[test]
    fn of_big_and_little_cores_the_big_ones_count() {
        let fake = Fake::new("0-7")
            .each(0..8, "topology/core_cpus_list", |id| id.to_string())
            .each(0..4, "cpu_capacity", |_| "325".into())
            .each(4..8, "cpu_capacity", |id| {
                if id == 7 { "1024" } else { "870" }.into()
            });
        let cores = fake.cores();
        assert_eq!((cores.workers(), cores.processors()), (4, 8));
        assert_eq!(cores.places(), [7, 4, 5, 6, 0, 1, 2, 3]);
    }

    #[test]
    fn processors_that_share_a_core_count_once() {
        let fake = Fake::new("0-7").each(0..8, "topology/thread_siblings_list", |id| {
            format!("{},{}", id % 4, id % 4 + 4)
        });
        let cores = fake.cores();
        assert_eq!((cores.workers(), cores.processors()), (4, 8));
        assert_eq!(cores.places(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(cores.all[1].processors, [1, 5]);
    }

    #[test]
    fn a_quota_of_the_group_or_of_one_above_it_counts() {
        let fake = Fake::new("0-15").put("proc/self/cgroup", "0::/a/b");
        assert_eq!(fake.cores().workers(), 16);
        let fake = fake.put("sys/fs/cgroup/a/b/cpu.max", "max 100000");
        assert_eq!(fake.cores().quota, None);
        let fake = fake.put("sys/fs/cgroup/a/cpu.max", "350000 100000");
        assert_eq!((fake.cores().quota, fake.cores().workers()), (Some(3), 3));
        let fake = fake.put("sys/fs/cgroup/cpu.max", "50000 100000");
        assert_eq!(fake.cores().workers(), 1);
    }

    #[test]
    fn a_quota_of_the_older_kind_counts() {
        let fake = Fake::new("0-7")
            .put("proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/x\n0::/")
            .put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "200000")
            .put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000");
        assert_eq!(fake.cores().workers(), 2);
        let fake = fake.put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1");
        assert_eq!(fake.cores().workers(), 8);
    }

    #[test]
    fn what_the_mask_forbids_does_not_count() {
        let fake = Fake::new("0-7")
            .each(0..8, "topology/core_cpus_list", |id| {
                format!("{}-{}", id / 2 * 2, id / 2 * 2 + 1)
            })
            .put("proc/self/status", "Name:\tx\nCpus_allowed_list:\t1-3,6");
        let cores = fake.cores();
        assert_eq!((cores.workers(), cores.processors()), (3, 4));
        assert_eq!(cores.places(), [1, 2, 6, 3]);
    }

    #[test]
    fn clocks_tell_where_capacities_do_not() {
        let fake = Fake::new("0-5")
            .each(0..2, "cpufreq/cpuinfo_max_freq", |id| {
                (5_200_000 + 200_000 * id).to_string()
            })
            .each(2..6, "cpufreq/cpuinfo_max_freq", |_| "3900000".into())
            // One that only some have tells nothing.
            .each(0..1, "cpu_capacity", |_| "1024".into());
        let cores = fake.cores();
        assert_eq!(cores.workers(), 2);
        assert_eq!(cores.places(), [1, 0, 2, 3, 4, 5]);
    }

    #[test]
    fn two_kinds_of_x86_cores_are_told_apart_by_name() {
        let fake = Fake::new("0-5")
            .each(0..6, "cpufreq/cpuinfo_max_freq", |_| "4000000".into())
            .put("sys/devices/cpu_core/cpus", "0-1");
        assert_eq!(fake.cores().workers(), 2);
        // A process that is kept to the slow ones uses them all.
        let fake = fake.put("proc/self/status", "Cpus_allowed_list:\t2-5");
        assert_eq!(fake.cores().workers(), 4);
    }

    #[test]
    fn this_machine_has_a_worker_and_garbage_does_no_harm() {
        let here = Cores::here();
        assert!(here.workers() >= 1 && here.processors() >= here.workers() as usize);
        assert_eq!(Cores::below(Path::new("nowhere")), None);
        let fake = Fake::new("a-b,3-1,,5").put("proc/self/cgroup", "::::\nx");
        assert_eq!(fake.cores().places(), [5]);
        assert_eq!(Cores::below(Fake::new("4-").0.path()), None);
    }
}
