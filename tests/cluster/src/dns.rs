//! Names of Services, as cluster DNS answers them. Changes when another kind of name or record is needed.
//!
//! RFC 1035 as far as resolvers of pods ask: A and SRV records of `cluster.local`; everything else does not exist.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bridge_runtime::tasks::spawn;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::namespace::DNS;
use crate::services::{Directory, belongs, is_ready};

const A: u16 = 1;
const SRV: u16 = 33;
const NO_SUCH_NAME: u8 = 3;
/// Seconds for which an answer holds.
const TTL: u32 = 1;

/// What is known of a name.
#[derive(Debug, Default, Eq, PartialEq)]
struct Records {
    addresses: Vec<Ipv4Addr>,
    /// Port and host.
    services: Vec<(u16, String)>,
}

/// Answers over UDP and TCP until the task ends.
pub(crate) async fn serve(directory: Directory) {
    let (Ok(udp), Ok(tcp)) = (UdpSocket::bind((DNS, 53)).await, TcpListener::bind((DNS, 53)).await) else {
        return;
    };
    let over_tcp = async {
        while let Ok((stream, _)) = tcp.accept().await {
            spawn("names", connection(stream, directory.clone()));
        }
    };
    let over_udp = async {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            if let Some(mut answer) = answer(&buffer[..length], |name| look_up(&directory, name)) {
                if answer.len() > 1232 {
                    // Truncated: the resolver asks again over TCP.
                    answer.truncate(12);
                    answer[2] |= 2;
                    answer[4..].fill(0);
                }
                let _ = udp.send_to(&answer, from).await;
            }
        }
    };
    tokio::join!(over_tcp, over_udp);
}

async fn connection(mut stream: TcpStream, directory: Directory) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; usize::from(length)];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        let Some(answer) = answer(&query, |name| look_up(&directory, name)) else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        if stream.write_u16(length).await.is_err() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// `SERVICE.NAMESPACE.svc.cluster.local`, with the name of an endpoint before it, or `_PORT._PROTOCOL`.
fn look_up(directory: &Directory, name: &str) -> Option<Records> {
    let path = name.strip_suffix(".svc.cluster.local")?;
    let mut labels: Vec<&str> = path.split('.').collect();
    let namespace = labels.pop()?;
    let service_name = labels.pop()?;
    let found = directory.services.find(|service| {
        service.metadata.namespace.as_deref() == Some(namespace)
            && service.metadata.name.as_deref() == Some(service_name)
    })?;
    let spec = found.spec.as_ref()?;
    let host = format!("{service_name}.{namespace}.svc.cluster.local");
    let address: Option<Ipv4Addr> = spec.cluster_ip.as_deref().and_then(|address| address.parse().ok());
    let slices = directory.slices.state_filter(|slice| belongs(slice, namespace, service_name));
    let unready = spec.publish_not_ready_addresses == Some(true);
    match labels.as_slice() {
        [] => Some(Records {
            addresses: address.map_or_else(|| endpoints(&slices, unready, None), |address| vec![address]),
            services: Vec::new(),
        }),
        [port, protocol] if port.starts_with('_') => {
            let listed = spec.ports.iter().flatten().find(|listed| {
                Some(&port[1..]) == listed.name.as_deref()
                    && protocol[1..].eq_ignore_ascii_case(listed.protocol.as_deref().unwrap_or("TCP"))
            })?;
            let number = u16::try_from(listed.port).ok()?;
            Some(Records { addresses: Vec::new(), services: vec![(number, host)] })
        }
        [endpoint] => {
            let addresses = endpoints(&slices, unready, Some(endpoint));
            (!addresses.is_empty()).then(|| Records { addresses, services: Vec::new() })
        }
        _ => None,
    }
}

fn endpoints(slices: &[Arc<EndpointSlice>], unready: bool, host: Option<&str>) -> Vec<Ipv4Addr> {
    let all = slices.iter().flat_map(|slice| &slice.endpoints);
    let fitting = all.filter(|endpoint| unready || is_ready(endpoint)).filter(|endpoint| match host {
        None => true,
        // An endpoint without a name has its address as one.
        Some(host) => {
            endpoint.hostname.as_deref() == Some(host)
                || endpoint.addresses.iter().any(|address| address.replace('.', "-") == host)
        }
    });
    fitting.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.parse().ok()).collect()
}

/// The answer to a query; nothing for what is no query.
fn answer(query: &[u8], look_up: impl Fn(&str) -> Option<Records>) -> Option<Vec<u8>> {
    let (name, end) = question_name(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let question = query.get(12..end + 4)?;
    let records = look_up(&name.to_ascii_lowercase());
    let code = if records.is_some() { 0 } else { NO_SUCH_NAME };
    let mut answers = Vec::new();
    let mut count: u16 = 0;
    let records = records.unwrap_or_default();
    let mut add = |data: &[u8]| {
        // The name is the one of the question, at offset 12.
        answers.extend([0xc0, 12]);
        answers.extend(kind.to_be_bytes());
        answers.extend([0, 1]);
        answers.extend(TTL.to_be_bytes());
        answers.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
        answers.extend(data);
        count += 1;
    };
    match kind {
        A => records.addresses.iter().for_each(|address| add(&address.octets())),
        SRV => {
            for (port, host) in &records.services {
                let [high, low] = port.to_be_bytes();
                let mut data = vec![0, 0, 0, 100, high, low];
                for label in host.split('.') {
                    data.push(u8::try_from(label.len()).ok()?);
                    data.extend(label.as_bytes());
                }
                data.push(0);
                add(&data);
            }
        }
        _ => {}
    }
    // An authoritative answer; recursion is available, for resolvers that insist on it.
    let mut out = vec![query[0], query[1], 0x84 | (query[2] & 1), 0x80 | code, 0, 1];
    out.extend(count.to_be_bytes());
    out.extend([0; 4]);
    out.extend(question);
    out.extend(answers);
    Some(out)
}

/// The name of the only question, and where its type is.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    if query.len() < 12 || query[2] & 0x80 != 0 || query[4..6] != [0, 1] {
        return None;
    }
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        if length > 63 {
            return None;
        }
        labels.push(std::str::from_utf8(query.get(at..at + length)?).ok()?);
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            out.push(u8::try_from(label.len()).unwrap_or_default());
            out.extend(label.as_bytes());
        }
        out.push(0);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out
    }

    #[test]
    fn a_name_has_its_addresses() {
        let known = |name: &str| {
            let addresses = vec![Ipv4Addr::new(10, 96, 0, 7)];
            (name == "a.b").then_some(Records { addresses, services: Vec::new() })
        };
        let found = answer(&query("A.b", A), known).unwrap_or_default();
        assert_eq!(found[..4], [7, 7, 0x85, 0x80]);
        assert_eq!(found[6..8], [0, 1]);
        assert!(found.ends_with(&[0, 4, 10, 96, 0, 7]));
        let other_kind = answer(&query("a.b", 28), known).unwrap_or_default();
        assert_eq!(
            (other_kind[3], &other_kind[6..8]),
            (0x80, &[0, 0][..]),
            "it exists, without such records"
        );
        assert_eq!(answer(&query("c", A), known).unwrap_or_default()[3], 0x83);
        for cut in 0..query("a.b", A).len() - 1 {
            assert_eq!(answer(&query("a.b", A)[..cut], known), None);
        }
    }
}
