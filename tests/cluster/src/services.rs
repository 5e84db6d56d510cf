//! Services without a packet filter: a proxy listens on the address of each. Changes when Services balance otherwise.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use bridge_runtime::tasks::spawn;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::partitions::{Partitions, Path};

/// All Services with their endpoints, kept up to date.
#[derive(Clone)]
pub(crate) struct Directory {
    pub(crate) services: Store<Service>,
    pub(crate) slices: Store<EndpointSlice>,
    changed: watch::Receiver<()>,
    _watches: Arc<[AbortOnDropHandle<()>; 2]>,
}

impl Directory {
    /// Lists again whenever `anew` changes.
    pub(crate) fn watch(client: &Client, anew: &watch::Sender<()>) -> Self {
        let (sender, changed) = watch::channel(());
        let (services, service_writer) = store();
        let (slices, slice_writer) = store();
        let of_services =
            keep(Api::<Service>::all(client.clone()), service_writer, sender.clone(), anew.subscribe());
        let of_slices =
            keep(Api::<EndpointSlice>::all(client.clone()), slice_writer, sender, anew.subscribe());
        let watches = [spawn("services", of_services), spawn("endpoints", of_slices)];
        Self { services, slices, changed, _watches: Arc::new(watches.map(AbortOnDropHandle::new)) }
    }

    /// Where a port of a Service leads: ready endpoints, else those that still serve while they end.
    pub(crate) fn endpoints(&self, service: &Key) -> Vec<SocketAddr> {
        let slices = self.slices.state_filter(|slice| belongs(slice, &service.namespace, &service.name));
        let of = |fits: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
            let of_slice = |slice: &Arc<EndpointSlice>| addresses(slice, &service.port, fits);
            slices.iter().flat_map(of_slice).collect()
        };
        let ready = of(is_ready);
        if ready.is_empty() { of(still_serves) } else { ready }
    }
}

/// Keeps a store up to date.
async fn keep<K>(api: Api<K>, mut store: Writer<K>, changed: watch::Sender<()>, mut anew: watch::Receiver<()>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let watch = || watcher(api.clone(), watcher::Config::default()).default_backoff().boxed();
    let mut events = watch();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    store.apply_watcher_event(&event);
                    changed.send_replace(());
                }
                // It goes on by itself.
                Some(Err(_)) => {}
                None => return,
            },
            Ok(()) = anew.changed() => events = watch(),
        }
    }
}

/// One port of a Service.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Its name; empty when it has none.
    pub(crate) port: String,
    /// Whether a client comes back to the same endpoint.
    sticky: bool,
}

/// Whether a slice is of a Service.
pub(crate) fn belongs(slice: &EndpointSlice, namespace: &str, service: &str) -> bool {
    let labels = slice.metadata.labels.as_ref();
    slice.metadata.namespace.as_deref() == Some(namespace)
        && labels
            .and_then(|labels| labels.get("kubernetes.io/service-name"))
            .is_some_and(|name| name == service)
}

pub(crate) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn still_serves(endpoint: &Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .is_some_and(|conditions| conditions.serving == Some(true) && conditions.terminating == Some(true))
}

fn addresses(slice: &EndpointSlice, port: &str, fits: fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
    let mut ports = slice.ports.iter().flatten();
    let number = ports
        .find(|listed| listed.name.as_deref().unwrap_or_default() == port)
        .and_then(|listed| listed.port)
        .and_then(|number| u16::try_from(number).ok());
    let Some(number) = number else { return Vec::new() };
    let fitting = slice.endpoints.iter().filter(|endpoint| fits(endpoint));
    let all = fitting.flat_map(|endpoint| &endpoint.addresses);
    all.filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, number))).collect()
}

/// Listens on every port of every Service that has an address, for as long as it has it.
pub(crate) async fn proxy(mut directory: Directory, partitions: Partitions) {
    let mut listeners: BTreeMap<(Ipv4Addr, u16), (Key, AbortOnDropHandle<()>)> = BTreeMap::new();
    loop {
        directory.changed.borrow_and_update();
        let wanted = ports(&directory.services.state());
        listeners.retain(|address, (key, _)| wanted.get(address) == Some(key));
        for (address, key) in wanted {
            if listeners.contains_key(&address) {
                continue;
            }
            // An address of which the listener has just been dropped may still be taken: the next change tries again.
            if let Ok(listener) = TcpListener::bind(address).await {
                let serving = serve(listener, directory.clone(), partitions.clone(), key.clone());
                listeners.insert(address, (key, AbortOnDropHandle::new(spawn("listener", serving))));
            }
        }
        if directory.changed.changed().await.is_err() {
            return;
        }
    }
}

/// TCP ports by address.
fn ports(services: &[Arc<Service>]) -> BTreeMap<(Ipv4Addr, u16), Key> {
    let mut found = BTreeMap::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let address = spec.cluster_ip.as_deref().and_then(|address| address.parse().ok());
        // Names are answered there, not proxied.
        let Some(address) = address.filter(|address| *address != crate::namespace::DNS) else { continue };
        for port in spec.ports.iter().flatten() {
            let tcp = port.protocol.as_deref().unwrap_or("TCP") == "TCP";
            let Some(number) = u16::try_from(port.port).ok().filter(|_| tcp) else { continue };
            let key = Key {
                namespace: service.metadata.namespace.clone().unwrap_or_default(),
                name: service.metadata.name.clone().unwrap_or_default(),
                port: port.name.clone().unwrap_or_default(),
                sticky: spec.session_affinity.as_deref() == Some("ClientIP"),
            };
            found.insert((address, number), key);
        }
    }
    found
}

async fn serve(listener: TcpListener, directory: Directory, partitions: Partitions, key: Key) {
    let turn = AtomicUsize::new(0);
    let sticky: Mutex<HashMap<IpAddr, SocketAddr>> = Mutex::default();
    while let Ok((client, from)) = listener.accept().await {
        let endpoints = directory.endpoints(&key);
        let last =
            sticky.lock().get(&from.ip()).copied().filter(|last| key.sticky && endpoints.contains(last));
        let next = || endpoints.get(turn.fetch_add(1, Ordering::Relaxed) % endpoints.len().max(1)).copied();
        let chosen = last.or_else(next);
        if let Some(chosen) = chosen.filter(|_| key.sticky) {
            sticky.lock().insert(from.ip(), chosen);
        }
        let path = partitions.path(from.ip(), (&key.namespace, &key.name));
        // Connections outlive the Service, as they do with a packet filter.
        spawn("relay", async move {
            // Without an endpoint the client is reset, as by a packet filter that rejects.
            let Some(endpoint) = chosen else { return drop(client.set_zero_linger()) };
            let _ = relay(client, endpoint, path).await;
        });
    }
}

async fn relay(mut client: TcpStream, endpoint: SocketAddr, mut path: Path) -> Result<()> {
    path.pass().await;
    let mut server = match TcpStream::connect(endpoint).await {
        Ok(server) => server,
        Err(error) => {
            client.set_zero_linger()?;
            return Err(error).context("connecting to an endpoint");
        }
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = carry(&mut from_client, &mut to_server, path.clone());
    let back = carry(&mut from_server, &mut to_client, path);
    tokio::try_join!(there, back)?;
    Ok(())
}

/// One direction, its end included.
async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut path: Path,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        path.pass().await;
        match read? {
            0 => return to.shutdown().await,
            length => to.write_all(&buffer[..length]).await?,
        }
    }
}
