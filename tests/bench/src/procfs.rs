//! What the kernel charges to a process: CPU time, memory, threads. Changes when accounting needs another figure.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Kernel clock ticks per second in `/proc`: `USER_HZ`, 100 on every Linux that Rust supports in its first two tiers.
const TICKS_PER_SECOND: u32 = 100;

/// A process with all its descendants, such as nginx with its workers, as they were when this was made.
pub(crate) struct Family {
    members: Vec<u32>,
}

impl Family {
    /// Finds the descendants of `root`.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // A process may end between the listing and the reading.
            if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) {
                parents.push((pid, Stat::parse(&text)?.parent));
            }
        }
        let mut members = vec![root];
        let mut next = 0;
        while let Some(&member) = members.get(next) {
            members.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
            next += 1;
        }
        Ok(Self { members })
    }

    /// This process alone, without the children it started.
    pub(crate) fn of_this_process() -> Self {
        Self { members: vec![std::process::id()] }
    }

    /// CPU time of all members so far, with their ended threads.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let (mut user, mut system) = (0, 0);
        for pid in &self.members {
            let stat = stat(*pid)?;
            user += stat.user;
            system += stat.system;
        }
        Ok(Cpu { user: ticks_to_time(user), system: ticks_to_time(system) })
    }

    /// Threads of all members.
    pub(crate) fn threads(&self) -> Result<u64> {
        self.members.iter().map(|pid| Ok(stat(*pid)?.threads)).sum()
    }

    /// Resident bytes of all members. Exact, where the counters in `stat` may lag by some hundred KiB; pages that
    /// members share are counted for each.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.members.iter().map(|pid| resident(*pid)).sum()
    }
}

/// CPU time, as far as the kernel can tell the two apart by sampling; their sum is exact to a clock tick.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    /// Both.
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

fn stat(pid: u32) -> Result<Stat> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    Stat::parse(&text)
}

fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    let kib: u64 = kib.with_context(|| format!("no Rss in {path}"))?.trim().parse()?;
    Ok(kib * 1024)
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    user: u64,
    system: u64,
    threads: u64,
}

impl Stat {
    /// Reads proc(5) `stat`. The second field is a name in parentheses that may itself hold blanks and parentheses.
    fn parse(text: &str) -> Result<Self> {
        let (_, rest) = text.rsplit_once(')').context("a stat file without a process name")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are counted from 1 in proc(5); the first one after the name is number 3.
        let number = |field: usize| -> Result<u64> {
            let text = fields.get(field - 3).with_context(|| format!("a stat file without field {field}"))?;
            text.parse().with_context(|| format!("stat field {field}: {text:?}"))
        };
        Ok(Self {
            parent: u32::try_from(number(4)?)?,
            user: number(14)?,
            system: number(15)?,
            threads: number(20)?,
        })
    }
}

/// CPU time that all cores together spent on anything but idling since boot.
pub(crate) fn machine_busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "))
        .context("no cpu line in /proc/stat")?;
    let mut busy = 0;
    // user nice system idle iowait irq softirq steal; what follows is counted in user and nice already.
    for (position, field) in line.split_ascii_whitespace().take(8).enumerate() {
        let ticks: u64 = field.parse().context("/proc/stat")?;
        busy += if matches!(position, 3 | 4) { 0 } else { ticks };
    }
    Ok(ticks_to_time(busy))
}

fn ticks_to_time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / u64::from(TICKS_PER_SECOND))
}

/// One line about the hardware and kernel under a measurement.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{cores} cores, {}, Linux {}", model.map_or("unknown CPU", |(_, model)| model), kernel.trim())
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;

    use super::*;

    #[test]
    fn a_process_name_may_look_like_fields() {
        let text = "42 (a) 1 (b) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 3 0 1000 1 1\n";
        assert_eq!(Stat::parse(text).unwrap(), Stat { parent: 7, user: 150, system: 50, threads: 3 });
        assert!(Stat::parse("42 (a) S 7").is_err());
    }

    #[test]
    fn a_family_is_charged_for_its_children() {
        let mut shell = std::process::Command::new("sh");
        let shell = shell.args(["-c", "sleep 60 & echo started; wait"]).stdout(std::process::Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let family = Family::of(child.id()).unwrap();
        assert_eq!(family.members.len(), 2, "the shell and what it started");
        let root = resident(child.id()).unwrap();
        assert!(family.resident().unwrap() > root, "both are counted");
        for pid in family.members.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        child.wait().unwrap();
        assert!(family.cpu().is_err(), "an ended member is reported, not left out of the sum");
    }

    #[test]
    fn work_is_charged() {
        let me = Family { members: vec![std::process::id()] };
        let (before, machine_before) = (me.cpu().unwrap().total(), machine_busy().unwrap());
        while me.cpu().unwrap().total() < before + Duration::from_millis(50) {
            std::hint::black_box(machine());
        }
        assert!(machine_busy().unwrap() >= machine_before + Duration::from_millis(40));
    }
}
