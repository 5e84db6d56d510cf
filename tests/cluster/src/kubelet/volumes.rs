//! The volumes of a pod as folders, and their updates. Changes when a kind of volume is added.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection,
    Volume, VolumeProjection,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;

use super::fields;
use super::payload::{self, File, Payload};
use super::sandbox::{Mount, Sandbox};
use super::token::shorten;

/// The volumes of one pod.
pub(super) struct Volumes {
    client: Client,
    dir: PathBuf,
    address: std::net::Ipv4Addr,
    host: std::net::Ipv4Addr,
    /// Tokens by volume and path, with the time of the next one.
    tokens: Mutex<BTreeMap<(String, String), (String, Timestamp)>>,
    /// How long tokens are good for, if not for as long as the pod says.
    lifetime: Mutex<Option<Duration>>,
    /// Whoever makes the files holds it.
    files: tokio::sync::Mutex<()>,
}

impl Volumes {
    pub(super) fn new(client: Client, sandbox: &Sandbox) -> Self {
        let Sandbox { address, host, .. } = *sandbox;
        Self {
            client,
            dir: sandbox.dir.join("volumes"),
            address,
            host,
            tokens: Mutex::default(),
            lifetime: Mutex::default(),
            files: tokio::sync::Mutex::default(),
        }
    }

    /// Gives the pod other tokens at once, which are good for `lifetime`, as are those that follow them.
    pub(super) async fn renew_tokens(&self, pod: &Pod, lifetime: Option<Duration>) -> Result<()> {
        *self.lifetime.lock() = lifetime;
        self.tokens.lock().clear();
        self.sync(pod).await
    }

    /// Makes the folders, and replaces the files whose sources changed.
    ///
    /// # Errors
    /// When an object is missing that is not optional, or a kind of volume is not known here.
    pub(super) async fn sync(&self, pod: &Pod) -> Result<()> {
        let _files = self.files.lock().await;
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            self.one(pod, volume)
                .await
                .with_context(|| format!("MountVolume.SetUp failed for volume \"{}\"", volume.name))?;
        }
        Ok(())
    }

    /// What a container mounts. Changes of a `subPath` do not reach it, as in any cluster.
    pub(super) fn mounts(&self, pod: &Pod, container: &Container) -> Result<Vec<Mount>> {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let mut mounts = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = volumes.iter().find(|volume| volume.name == mount.name).context("no such volume")?;
            let mut source = self.dir.join(&volume.name);
            if let Some(host) = &volume.host_path {
                source = PathBuf::from(&host.path);
            }
            if mount.sub_path_expr.is_some() {
                bail!("subPathExpr is not known to this kubelet");
            }
            if let Some(path) = &mount.sub_path {
                source.push(path);
                if volume.empty_dir.is_some() {
                    fs::create_dir_all(&source)?;
                }
                source = source.canonicalize().with_context(|| source.display().to_string())?;
            }
            let read_only =
                mount.read_only == Some(true) || (volume.empty_dir.is_none() && volume.host_path.is_none());
            mounts.push(Mount { source, target: PathBuf::from(&mount.mount_path), read_only });
        }
        Ok(mounts)
    }

    async fn one(&self, pod: &Pod, volume: &Volume) -> Result<()> {
        let dir = self.dir.join(&volume.name);
        let group = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.security_context.as_ref())
            .and_then(|context| context.fs_group)
            .map(u32::try_from)
            .transpose()?;
        if volume.empty_dir.is_some() {
            return empty(&dir, group);
        }
        if volume.host_path.is_some() {
            return Ok(());
        }
        let mut payload = Payload::new();
        let mode;
        if let Some(source) = &volume.config_map {
            mode = source.default_mode;
            let data = self.config_map(pod, &source.name, source.optional).await?;
            payload::select(&mut payload, data, source.items.as_deref(), source.optional)?;
        } else if let Some(source) = &volume.secret {
            mode = source.default_mode;
            let name = source.secret_name.as_deref().unwrap_or_default();
            let data = self.secret(pod, name, source.optional).await?;
            payload::select(&mut payload, data, source.items.as_deref(), source.optional)?;
        } else if let Some(source) = &volume.downward_api {
            mode = source.default_mode;
            self.downward(pod, source.items.as_deref().unwrap_or_default(), &mut payload)?;
        } else if let Some(source) = &volume.projected {
            mode = source.default_mode;
            for part in source.sources.iter().flatten() {
                self.projection(pod, &volume.name, part, &mut payload).await?;
            }
        } else {
            bail!("its kind is not known to this kubelet");
        }
        payload::write(&dir, &payload, u32::try_from(mode.unwrap_or(0o644))?, group)
    }

    async fn projection(
        &self,
        pod: &Pod,
        volume: &str,
        part: &VolumeProjection,
        payload: &mut Payload,
    ) -> Result<()> {
        if let Some(source) = &part.config_map {
            let data = self.config_map(pod, &source.name, source.optional).await?;
            payload::select(payload, data, source.items.as_deref(), source.optional)
        } else if let Some(source) = &part.secret {
            let data = self.secret(pod, &source.name, source.optional).await?;
            payload::select(payload, data, source.items.as_deref(), source.optional)
        } else if let Some(source) = &part.downward_api {
            self.downward(pod, source.items.as_deref().unwrap_or_default(), payload)
        } else if let Some(source) = &part.service_account_token {
            let token = self.token(pod, volume, source).await?;
            payload.insert(source.path.clone(), File { bytes: token.into_bytes(), mode: None });
            Ok(())
        } else {
            bail!("a projection is not known to this kubelet")
        }
    }

    /// A token for the pod's service account, renewed when 80 % of its time are over.
    async fn token(&self, pod: &Pod, volume: &str, source: &ServiceAccountTokenProjection) -> Result<String> {
        let key = (volume.to_owned(), source.path.clone());
        let now = Timestamp::now();
        if let Some((token, renewal)) = self.tokens.lock().get(&key)
            && now < *renewal
        {
            return Ok(token.clone());
        }
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: source.audience.iter().cloned().collect(),
                expiration_seconds: source.expiration_seconds,
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            },
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace(pod));
        let issued: TokenRequest =
            api.create_subresource("token", account, &PostParams::default(), &request).await?;
        let status = issued.status.context("a token without a token")?;
        let (mut token, mut lasts) = (status.token, status.expiration_timestamp.0.duration_since(now));
        if let Some(lifetime) = *self.lifetime.lock() {
            token = shorten(&token, lifetime, now)?;
            lasts = SignedDuration::try_from(lifetime)?;
        }
        let renewal = now + SignedDuration::from_secs(lasts.as_secs() * 4 / 5);
        self.tokens.lock().insert(key, (token.clone(), renewal));
        Ok(token)
    }

    async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
        optional: Option<bool>,
    ) -> Result<BTreeMap<String, Vec<u8>>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace(pod));
        let Some(found) = api.get_opt(name).await? else { return missing("configmap", name, optional) };
        let text = found.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
        Ok(text.chain(found.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0))).collect())
    }

    async fn secret(
        &self,
        pod: &Pod,
        name: &str,
        optional: Option<bool>,
    ) -> Result<BTreeMap<String, Vec<u8>>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace(pod));
        let Some(found) = api.get_opt(name).await? else { return missing("secret", name, optional) };
        Ok(found.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect())
    }

    fn downward(&self, pod: &Pod, items: &[DownwardAPIVolumeFile], payload: &mut Payload) -> Result<()> {
        for item in items {
            let value = if let Some(reference) = &item.field_ref {
                fields::field(pod, &reference.field_path, self.address, self.host)?
            } else if let Some(selector) = &item.resource_field_ref {
                fields::resource(pod, None, selector)?
            } else {
                bail!("{} refers to nothing", item.path);
            };
            payload.insert(item.path.clone(), File { bytes: value.into_bytes(), mode: item.mode });
        }
        Ok(())
    }
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn missing(kind: &str, name: &str, optional: Option<bool>) -> Result<BTreeMap<String, Vec<u8>>> {
    if optional == Some(true) {
        return Ok(BTreeMap::new());
    }
    bail!("{kind} \"{name}\" not found")
}

fn empty(dir: &Path, group: Option<u32>) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    chown(dir, None, group)?;
    // New files belong to the group, too.
    fs::set_permissions(dir, Permissions::from_mode(if group.is_some() { 0o2777 } else { 0o777 }))?;
    Ok(())
}
