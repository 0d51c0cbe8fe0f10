//! The memory of this process and of this machine.

use std::path::Path;

/// The memory that there is, and what of it is free, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What can still be had.
    pub free: u64,
}

impl Memory {
    /// What can be had where both limits hold.
    fn within(self, other: Self) -> Self {
        Self {
            total: self.total.min(other.total),
            free: self.free.min(other.free),
        }
    }
}

/// The most bytes of this process that were in memory at once, since it began. Linux says it to within about a MB; None elsewhere.
pub(crate) fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(kib(&status, "VmHWM:")? * 1024)
}

/// The memory that this process can have: the machine's, or less where a control group limits it. None where it is not Linux.
pub(crate) fn host() -> Option<Memory> {
    of_files(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn of_files(proc: &Path, groups: &Path) -> Option<Memory> {
    let machine = std::fs::read_to_string(proc.join("meminfo")).ok()?;
    let mut memory = Memory {
        total: kib(&machine, "MemTotal:")? * 1024,
        free: kib(&machine, "MemAvailable:")? * 1024,
    };
    let own = std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let files = if controllers.is_empty() {
            &VERSION_2
        } else if controllers.split(',').any(|one| one == "memory") {
            &VERSION_1
        } else {
            continue;
        };
        let root = groups.join(files.folder);
        let path = Path::new(path.trim_start_matches('/'));
        // A limit of a group holds for all groups in it. In a container the path may be one of the host, which is not there.
        for group in path.ancestors() {
            if let Some(limit) = files.limit(&root.join(group)) {
                memory = memory.within(limit);
            }
        }
    }
    Some(memory)
}

/// What the files of a version of control groups are called.
struct GroupFiles {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The key, in `memory.stat`, of the files kept in memory that can be dropped.
    cached: &'static str,
}

const VERSION_1: GroupFiles = GroupFiles {
    folder: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: "total_inactive_file",
};
const VERSION_2: GroupFiles = GroupFiles {
    folder: "",
    limit: "memory.max",
    used: "memory.current",
    cached: "inactive_file",
};

impl GroupFiles {
    /// The limit of the group in a folder. None where it has none (`max`).
    fn limit(&self, folder: &Path) -> Option<Memory> {
        let number = |name: &str| -> Option<u64> {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let (total, used) = (number(self.limit)?, number(self.used)?);
        let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == self.cached).then(|| value.parse::<u64>().ok())?
        });
        let used = used.saturating_sub(cached.unwrap_or(0));
        Some(Memory {
            total,
            free: total.saturating_sub(used),
        })
    }
}

/// The number of KiB that a line of a file of /proc gives.
fn kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_rises_by_what_is_written_to() {
        let before = peak().unwrap();
        let size = before + (64 << 20);
        // Pages count when they are written to.
        let bytes = vec![1u8; size as usize];
        let rise = peak().unwrap() - before;
        assert_eq!(bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>(), size);
        drop(bytes);
        let after = peak().unwrap() - before;
        // Linux keeps its counters for each core and adds them up now and then.
        let about = 1 << 20;
        assert!(rise >= 60 << 20 && rise <= after + about, "{rise} {after}");
    }

    /// A machine of 1000 KiB of which 600 can be had, with files of control groups.
    fn machine(cgroup: &str, files: &[(&str, &str)]) -> Memory {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let meminfo = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:   600 kB\n";
        write("proc/meminfo", meminfo);
        write("proc/self/cgroup", cgroup);
        for (name, text) in files {
            write(&format!("groups/{name}"), text);
        }
        of_files(&folder.path().join("proc"), &folder.path().join("groups")).unwrap()
    }

    #[test]
    fn a_limit_of_a_control_group_or_of_one_around_it_holds() {
        let memory = |total: u64, free: u64| Memory {
            total: total * 1024,
            free: free * 1024,
        };
        assert_eq!(machine("0::/\n", &[]), memory(1000, 600));
        // Version 2: the group has no limit, the one around it has 500 KiB, of which 300 are used; 100 of those are files.
        let found = machine(
            "0::/job/step\n",
            &[
                ("job/step/memory.max", "max\n"),
                ("job/step/memory.current", "1024\n"),
                ("job/memory.max", "512000\n"),
                ("job/memory.current", "307200\n"),
                ("job/memory.stat", "anon 204800\ninactive_file 102400\n"),
            ],
        );
        assert_eq!(found, memory(500, 300));
        // Version 1: what is no limit is a number that nothing reaches.
        let none = "9223372036854771712\n";
        let found = machine(
            "5:cpu:/other\n4:memory:/job\n0::/\n",
            &[
                ("memory/memory.limit_in_bytes", none),
                ("memory/memory.usage_in_bytes", "4096\n"),
                ("memory/job/memory.limit_in_bytes", "409600\n"),
                ("memory/job/memory.usage_in_bytes", "512000\n"),
            ],
        );
        assert_eq!(found, memory(400, 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory() {
        let found = host().unwrap();
        assert!(found.total > 64 << 20 && found.free <= found.total);
    }
}
