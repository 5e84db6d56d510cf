//! What a pod's containers are doing, and the status that follows from it. Changes when a condition is added.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Which list of a pod a container is in, and its place there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    /// Of `initContainers`.
    Init(usize),
    /// Of `containers`.
    Main(usize),
}

/// The state of all containers of a pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    init: Vec<ContainerStatus>,
    main: Vec<ContainerStatus>,
    started: Option<Time>,
    /// All init containers have done their work.
    pub(super) initialized: bool,
    /// No container will run again, and whether all ended well.
    pub(super) ended: Option<bool>,
    /// Of the pod, once it has one.
    pub(super) address: Option<Ipv4Addr>,
}

impl Board {
    /// Nothing has started.
    pub(super) fn new(pod: &Pod, now: Timestamp) -> Self {
        let spec = pod.spec.as_ref();
        let list = |containers: &[Container]| containers.iter().map(fresh).collect();
        Self {
            init: list(spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()),
            main: list(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default()),
            started: Some(Time(now)),
            ..Self::default()
        }
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut ContainerStatus> {
        match slot {
            Slot::Init(index) => self.init.get_mut(index),
            Slot::Main(index) => self.main.get_mut(index),
        }
    }

    /// Whether a container runs, and its startup probe has succeeded.
    pub(super) fn is_started(&mut self, slot: Slot) -> bool {
        self.entry(slot).is_some_and(|entry| entry.started == Some(true))
    }

    /// A container cannot run yet, or not again yet.
    pub(super) fn waiting(&mut self, slot: Slot, reason: &str, message: &str) {
        let Some(entry) = self.entry(slot) else { return };
        if let Some(before) = entry.state.take()
            && before.terminated.is_some()
        {
            entry.last_state = Some(before);
        }
        entry.state = Some(ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()).filter(|message| !message.is_empty()),
            }),
            ..ContainerState::default()
        });
    }

    /// All containers wait for the same.
    pub(super) fn all_waiting(&mut self, reason: &str, message: &str) {
        for index in 0..self.main.len() {
            self.waiting(Slot::Main(index), reason, message);
        }
    }

    /// A container's program has started, again when it has before.
    pub(super) fn running(&mut self, slot: Slot, id: String, again: bool, now: Timestamp) {
        let Some(entry) = self.entry(slot) else { return };
        entry.restart_count += i32::from(again);
        entry.container_id = Some(id);
        entry.image_id = format!("process://{}", entry.image);
        entry.state = Some(ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(now)) }),
            ..ContainerState::default()
        });
    }

    /// Its startup and readiness.
    pub(super) fn health(&mut self, slot: Slot, started: bool, ready: bool) {
        if let Some(entry) = self.entry(slot) {
            entry.started = Some(started);
            entry.ready = ready;
        }
    }

    /// A container's program has ended with an exit code, or 128 and the number of a signal.
    pub(super) fn terminated(&mut self, slot: Slot, code: i32, now: Timestamp) {
        let Some(entry) = self.entry(slot) else { return };
        let running = entry.state.take().and_then(|state| state.running);
        entry.started = Some(false);
        entry.ready = matches!(slot, Slot::Init(_)) && code == 0;
        entry.state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: code,
                reason: Some(if code == 0 { "Completed" } else { "Error" }.to_owned()),
                container_id: entry.container_id.clone(),
                started_at: running.and_then(|running| running.started_at),
                finished_at: Some(Time(now)),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        });
    }

    /// The status of the pod. `previous` is the one before, for the times of conditions that stay.
    pub(super) fn status(
        &self,
        pod: &Pod,
        host: Ipv4Addr,
        previous: &PodStatus,
        now: Timestamp,
    ) -> PodStatus {
        let phase = match self.ended {
            Some(true) => "Succeeded",
            Some(false) => "Failed",
            None if self.initialized && self.main.iter().any(was_started) => "Running",
            None => "Pending",
        };
        let ready = self.ended.is_none() && self.initialized && self.main.iter().all(|entry| entry.ready);
        let given = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
        let open = gates.iter().all(|gate| {
            given.iter().any(|condition| condition.type_ == gate.condition_type && condition.status == "True")
        });
        let unready = if self.ended.is_some() { "PodCompleted" } else { "ContainersNotReady" };
        let conditions = [
            ("PodReadyToStartContainers", self.address.is_some() && self.ended.is_none(), None),
            ("Initialized", self.initialized, Some("ContainersNotInitialized")),
            ("ContainersReady", ready, Some(unready)),
            ("Ready", ready && open, Some(if ready { "ReadinessGatesNotReady" } else { unready })),
            ("PodScheduled", true, None),
        ];
        let conditions = conditions.map(|(type_, holds, reason)| {
            let status = if holds { "True" } else { "False" };
            let before = previous.conditions.iter().flatten().chain(given);
            let same = before.into_iter().find(|old| old.type_ == type_ && old.status == status);
            PodCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.filter(|_| !holds).map(str::to_owned),
                last_transition_time: same
                    .and_then(|old| old.last_transition_time.clone())
                    .or(Some(Time(now))),
                ..PodCondition::default()
            }
        });
        let address = self.address.map(|address| address.to_string());
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(conditions.into()),
            container_statuses: Some(self.main.clone()),
            init_container_statuses: Some(self.init.clone()).filter(|init| !init.is_empty()),
            host_ip: Some(host.to_string()),
            host_ips: Some(vec![HostIP { ip: host.to_string() }]),
            pod_ips: address.clone().map(|ip| vec![PodIP { ip }]),
            pod_ip: address,
            start_time: self.started.clone(),
            ..PodStatus::default()
        }
    }
}

fn fresh(container: &Container) -> ContainerStatus {
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        state: Some(ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some("ContainerCreating".to_owned()),
                message: None,
            }),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    }
}

fn was_started(entry: &ContainerStatus) -> bool {
    entry.state.iter().any(|state| state.waiting.is_none()) || entry.last_state.is_some()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodReadinessGate, PodSpec};

    use super::*;

    fn pod() -> Pod {
        let container = Container { name: "main".to_owned(), ..Container::default() };
        Pod { spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }), ..Pod::default() }
    }

    fn condition(status: &PodStatus, type_: &str) -> String {
        let mut found = status.conditions.iter().flatten();
        found.find(|condition| condition.type_ == type_).map(|found| found.status.clone()).unwrap_or_default()
    }

    #[test]
    fn a_pod_is_ready_when_its_containers_and_gates_are() {
        let (mut pod, now, host) = (pod(), Timestamp::UNIX_EPOCH, Ipv4Addr::LOCALHOST);
        let mut board = Board::new(&pod, now);
        let pending = board.status(&pod, host, &PodStatus::default(), now);
        assert_eq!(pending.phase.as_deref(), Some("Pending"));
        board.initialized = true;
        board.running(Slot::Main(0), "process://1".to_owned(), false, now);
        let running = board.status(&pod, host, &pending, now);
        assert_eq!((running.phase.as_deref(), &*condition(&running, "Ready")), (Some("Running"), "False"));
        board.health(Slot::Main(0), true, true);
        assert_eq!(condition(&board.status(&pod, host, &running, now), "Ready"), "True");
        if let Some(spec) = &mut pod.spec {
            spec.readiness_gates = Some(vec![PodReadinessGate { condition_type: "open".to_owned() }]);
        }
        let gated = board.status(&pod, host, &running, now);
        assert_eq!((&*condition(&gated, "ContainersReady"), &*condition(&gated, "Ready")), ("True", "False"));
    }

    #[test]
    fn a_restart_keeps_the_last_end_and_the_phase() {
        let (pod, now) = (pod(), Timestamp::UNIX_EPOCH);
        let mut board = Board::new(&pod, now);
        board.initialized = true;
        board.running(Slot::Main(0), "process://1".to_owned(), false, now);
        board.terminated(Slot::Main(0), 3, now);
        board.waiting(Slot::Main(0), "CrashLoopBackOff", "");
        let status = board.status(&pod, Ipv4Addr::LOCALHOST, &PodStatus::default(), now);
        assert_eq!(status.phase.as_deref(), Some("Running"));
        board.running(Slot::Main(0), "process://2".to_owned(), true, now);
        let entry = &board.main[0];
        let last = entry.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        assert_eq!((entry.restart_count, last.map(|last| last.exit_code)), (1, Some(3)));
    }
}
