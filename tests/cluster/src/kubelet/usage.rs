//! What containers use of CPU and memory, from `/proc`. Changes when another resource is measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::pod::Shared;

/// Clock ticks in a second and bytes in a page, as Linux has them on every machine that we build for.
const TICKS: f64 = 100.0;
const PAGE: u64 = 4096;

/// What the processes of a container use together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Seconds since they started.
    pub(crate) cpu: f64,
    /// Resident bytes.
    pub(crate) memory: u64,
}

/// One container of one pod.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) node: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) container: String,
    pub(crate) usage: Usage,
}

/// What all containers of these pods use.
pub(super) fn measure(pods: &[Arc<Shared>]) -> Result<Vec<Sample>> {
    let groups = groups()?;
    let mut samples = Vec::new();
    for shared in pods {
        let pod = shared.pod.lock().clone();
        for (container, pid) in shared.containers() {
            samples.push(Sample {
                namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                pod: pod.metadata.name.clone().unwrap_or_default(),
                node: shared.node.name.clone(),
                labels: pod.metadata.labels.clone().unwrap_or_default(),
                container,
                usage: groups.get(&pid).copied().unwrap_or_default(),
            });
        }
    }
    Ok(samples)
}

/// `/metrics/resource` of a kubelet.
pub(super) fn exposition(pods: &[Arc<Shared>]) -> Result<String> {
    let samples = measure(pods)?;
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, value: fn(&Usage) -> String| {
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for Sample { namespace, pod, container, usage, .. } in &samples {
            let value = value(usage);
            let _ = writeln!(
                out,
                "{name}{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\"}} {value}"
            );
        }
    };
    family("container_cpu_usage_seconds_total", "counter", |usage| usage.cpu.to_string());
    family("container_memory_working_set_bytes", "gauge", |usage| usage.memory.to_string());
    out.push_str("# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n");
    Ok(out)
}

/// Use by process group.
fn groups() -> Result<BTreeMap<u32, Usage>> {
    let mut groups: BTreeMap<u32, Usage> = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("listing processes")? {
        // A process may end between the listing and the look at it.
        let Ok(line) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        if let Some((group, usage)) = parse(&line) {
            let sum = groups.entry(group).or_default();
            sum.cpu += usage.cpu;
            sum.memory += usage.memory;
        }
    }
    Ok(groups)
}

/// Process group and use out of a line of `/proc/PID/stat` (proc(5)).
fn parse(line: &str) -> Option<(u32, Usage)> {
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = u32::try_from(number(14)? + number(15)? + number(16)? + number(17)?).ok()?;
    let usage = Usage { cpu: f64::from(ticks) / TICKS, memory: number(24)? * PAGE };
    Some((u32::try_from(number(5)?).ok()?, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = "42 (a ) b) S 1 40 40 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 1 0 100 1000 3 0";
        assert_eq!(parse(line), Some((40, Usage { cpu: 2.0, memory: 3 * PAGE })));
        assert_eq!(parse("42 (a"), None);
    }
}
