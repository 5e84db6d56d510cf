//! Which processes descend from this one, and signals to them. Changes when `/proc` or the way to signal changes.

use std::collections::HashMap;
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};

/// A process at one time: the start time tells it from a later process with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    pid: i32,
    parent: i32,
    /// Clock ticks after boot.
    started: u64,
}

/// Signals every living descendant of this process. Those that end meanwhile are passed over; returns how many got the
/// signal.
///
/// This process must be a child subreaper, else descendants whose parent has ended are not found.
pub(super) fn signal_descendants(signal: Signal) -> io::Result<usize> {
    let all = processes()?;
    let found = descendants(&all, getpid().as_raw_pid());
    Ok(found.into_iter().filter(|seen| send(*seen, signal)).count())
}

/// Signals every living child of this process but one.
pub(super) fn signal_children_but(kept: Pid, signal: Signal) -> io::Result<()> {
    let own = getpid().as_raw_pid();
    for seen in processes()? {
        if seen.parent == own && seen.pid != kept.as_raw_pid() {
            send(seen, signal);
        }
    }
    Ok(())
}

/// Signals exactly the process that was seen, never another one that got its number since.
fn send(seen: Seen, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(seen.pid) else { return false };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => same_process_now(seen) && pidfd_send_signal(pidfd, signal).is_ok(),
        // Kernels before 5.3 and some sandboxes have no pidfd; the window for a reused number is then small, not zero.
        Err(rustix::io::Errno::NOSYS) => same_process_now(seen) && kill_process(pid, signal).is_ok(),
        Err(_gone) => false,
    }
}

fn same_process_now(seen: Seen) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", seen.pid))
        .ok()
        .and_then(|stat| parse_stat(&stat))
        .is_some_and(|now| now.started == seen.started)
}

fn processes() -> io::Result<Vec<Seen>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let is_process = name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        // Processes that end while we look have no file any more.
        if is_process
            && let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", name.display()))
            && let Some(seen) = parse_stat(&stat)
        {
            all.push(seen);
        }
    }
    Ok(all)
}

/// Fields 1, 4 and 22 of `/proc/PID/stat` (`proc_pid_stat(5)`). Field 2 is the program's name in parentheses and may
/// hold anything, so the rest is counted from the last closing one.
fn parse_stat(stat: &str) -> Option<Seen> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    let parent = rest.nth(1)?.parse().ok()?;
    let started = rest.nth(17)?.parse().ok()?;
    Some(Seen { pid, parent, started })
}

/// All processes below `root`, which is not part of the answer.
fn descendants(all: &[Seen], root: i32) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
    for seen in all {
        children.entry(seen.parent).or_default().push(*seen);
    }
    let mut found = Vec::new();
    let mut to_visit = vec![root];
    while let Some(parent) = to_visit.pop() {
        // Removing keeps the walk finite even if the picture, taken while processes come and go, has a circle.
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            to_visit.push(child.pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32) -> Seen {
        Seen { pid, parent, started: 0 }
    }

    #[test]
    fn names_with_parentheses_and_spaces_do_not_shift_fields() {
        let stat = "42 (a) R 7 (x) S 41 42 42 0 -1 4194304 97 0 0 0 12 6 0 0 20 0 1 0 84106 3133440 360";
        assert_eq!(parse_stat(stat), Some(Seen { pid: 42, parent: 41, started: 84106 }));
        assert_eq!(parse_stat("42 (a"), None);
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn the_whole_tree_below_the_root_is_found_and_nothing_else() {
        let all =
            [seen(1, 0), seen(10, 1), seen(11, 10), seen(12, 11), seen(13, 10), seen(20, 1), seen(21, 20)];
        let mut found: Vec<i32> = descendants(&all, 10).iter().map(|seen| seen.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [11, 12, 13]);
    }

    #[test]
    fn a_circle_in_the_picture_ends() {
        assert_eq!(descendants(&[seen(5, 6), seen(6, 5)], 5).len(), 2);
    }

    #[test]
    fn a_reused_number_gets_no_signal() {
        let own = getpid().as_raw_pid();
        let real = processes().unwrap().into_iter().find(|seen| seen.pid == own).unwrap();
        assert!(same_process_now(real));
        let earlier = Seen { started: real.started.wrapping_sub(1), ..real };
        assert!(!same_process_now(earlier));
        // Signal 0 would do nothing, but KILL would end this test.
        assert!(!send(earlier, Signal::KILL));
    }
}
