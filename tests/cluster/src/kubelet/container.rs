//! One container: started, probed, started again, stopped. Changes when its life has another stage.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bridge_runtime::tasks::spawn;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use k8s_openapi::jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::environment;
use super::exec::Inside;
use super::pod::Shared;
use super::probe::{self, Finding, Target};
use super::sandbox::Launch;
use super::status::Slot;

/// The order to stop, with the time a program has for it.
#[derive(Debug, Default)]
pub(super) struct Stop {
    ordered: CancellationToken,
    grace: OnceLock<Duration>,
}

impl Stop {
    /// The first order counts.
    pub(super) fn order(&self, grace: Duration) {
        let _ = self.grace.set(grace);
        self.ordered.cancel();
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.ordered.is_cancelled()
    }

    /// Waits for the order.
    pub(super) async fn wait(&self) -> Duration {
        self.ordered.cancelled().await;
        self.grace.get().copied().unwrap_or_default()
    }
}

/// When a container is started again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// One container of a pod.
pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: Container,
    pub(super) slot: Slot,
    pub(super) restart: Restart,
    pub(super) stop: Arc<Stop>,
}

impl Task {
    /// Runs it until it is not started again, and says whether it ended well.
    pub(super) async fn run(self) -> bool {
        let mut failures = 0;
        for attempt in 0_u32.. {
            let begun = Instant::now();
            let ended = match self.once(attempt).await {
                Ok(code) => {
                    self.shared.change(|board| board.terminated(self.slot, code, Timestamp::now()));
                    Some(code == 0)
                }
                Err((reason, error)) => {
                    self.shared.change(|board| board.waiting(self.slot, reason, &format!("{error:#}")));
                    None
                }
            };
            match (ended, self.restart) {
                _ if self.stop.is_ordered() => return ended == Some(true),
                (Some(well), Restart::Never) => return well,
                (Some(true), Restart::OnFailure) => return true,
                _ => {}
            }
            // What ran for a while begins from the first delay again.
            failures = if begun.elapsed() > Duration::from_mins(10) { 0 } else { failures + 1 };
            let delay = self.shared.node.host.back_off(failures);
            if let Some(well) = ended {
                let reason = if well { "Completed" } else { "CrashLoopBackOff" };
                let message = format!("back-off {}s restarting failed container", delay.as_secs_f32());
                self.shared.change(|board| board.waiting(self.slot, reason, &message));
            }
            tokio::select! {
                () = sleep(delay) => {}
                _ = self.stop.wait() => return ended == Some(true),
            }
        }
        false
    }

    /// From the start of its program to its end.
    async fn once(&self, attempt: u32) -> Result<i32, (&'static str, anyhow::Error)> {
        let Shared { node, pod, sandbox, volumes, .. } = &*self.shared;
        let pod = pod.lock().clone();
        let image = self.spec.image.as_deref().unwrap_or_default();
        let program = node.host.images.find(image).with_context(|| {
            format!("no program stands for the image \"{image}\"; the harness that started this cluster names them")
        });
        let program = program
            .map_err(|error| (if attempt == 0 { "ErrImagePull" } else { "ImagePullBackOff" }, error))?;
        let broken = |error| ("CreateContainerConfigError", error);
        let command = environment::command_line(&node.client, &pod, &self.spec, program, sandbox);
        let command = command.await.map_err(broken)?;
        let mounts = volumes.mounts(&pod, &self.spec).map_err(broken)?;
        let log = self.shared.log(&self.spec.name).map_err(broken)?;
        let launch = Launch { command, mounts, log };
        let started = sandbox.start(&pod, &self.spec, program, &launch).await;
        let mut child = started.map_err(|error| ("CreateContainerError", error))?;
        let pid = child.id().unwrap_or_default();
        let inside = Inside { pid, variables: launch.command.variables, user: user(&pod, &self.spec) };
        self.shared.enter(&self.spec.name, inside.clone());
        self.shared.change(|board| {
            board.running(self.slot, format!("process://{pid}"), attempt > 0, Timestamp::now());
        });
        let status = self.attend(&pod, &mut child, inside).await;
        self.shared.leave(&self.spec.name);
        // What it left behind in its group ends with it.
        signal(pid, Signal::KILL, true);
        let status = status.map_err(|error| ("RunContainerError", error))?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
    }

    /// Watches a running program until it has ended.
    async fn attend(&self, pod: &Pod, child: &mut Child, inside: Inside) -> Result<ExitStatus> {
        let pid = inside.pid;
        let address = self.shared.sandbox.address;
        let target = Target { container: self.spec.clone(), address, inside };
        let (findings, mut found) = mpsc::channel(4);
        let probes = AbortOnDropHandle::new(spawn("probes", probe::watch(target.clone(), findings)));
        let (mut started, mut ready, mut probing) = (false, false, true);
        let ordered = loop {
            tokio::select! {
                status = child.wait() => return Ok(status?),
                grace = self.stop.wait() => break grace,
                finding = found.recv(), if probing => {
                    match finding {
                        Some(Finding::Started) => started = true,
                        Some(Finding::Ready(now)) => ready = now,
                        Some(Finding::Dead) => break grace(pod),
                        None => probing = false,
                    }
                    self.shared.change(|board| board.health(self.slot, started, ready));
                }
            }
        };
        drop(probes);
        let deadline = Instant::now() + ordered;
        let hooks = self.spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        if let Some(hook) = hooks {
            tokio::select! {
                status = child.wait() => return Ok(status?),
                // A hook that fails or takes too long does not keep the program.
                _ = timeout(ordered, pre_stop(&target, hook)) => {}
            }
        }
        signal(pid, Signal::TERM, false);
        tokio::select! {
            status = child.wait() => Ok(status?),
            () = sleep_until(deadline) => {
                signal(pid, Signal::KILL, true);
                Ok(child.wait().await?)
            }
        }
    }
}

/// How long the pod's programs have to end.
pub(super) fn grace(pod: &Pod) -> Duration {
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let seconds =
        deletion.or_else(|| pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds));
    Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30))
}

async fn pre_stop(target: &Target, hook: &LifecycleHandler) -> Result<()> {
    if let Some(pause) = &hook.sleep {
        sleep(Duration::from_secs(u64::try_from(pause.seconds)?)).await;
    }
    if let Some(exec) = &hook.exec {
        probe::run(&target.inside, exec).await?;
    }
    if let Some(get) = &hook.http_get {
        probe::http_get(target, get).await?;
    }
    Ok(())
}

/// User and group of a container that is not root's.
fn user(pod: &Pod, container: &Container) -> Option<(i64, i64)> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let user = own.and_then(|own| own.run_as_user).or_else(|| of_pod.and_then(|pod| pod.run_as_user))?;
    let group = own.and_then(|own| own.run_as_group).or_else(|| of_pod.and_then(|pod| pod.run_as_group));
    Some((user, group.unwrap_or(0)))
}

/// Errors mean that it has ended, which is what is wanted.
fn signal(pid: u32, signal: Signal, group: bool) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = if group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}
