//! The binary protocol inside TLS. Changes with the settings of its listeners.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bridge_tests::{Binary, Config, Era, Gateway, TempDir, TestServer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

/// A certificate for `localhost`, and the settings of a listener that presents it.
fn certificate() -> Result<(TempDir, CertificateDer<'static>, Value)> {
    let directory = TempDir::new("tls")?;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let cert_file = directory.write("tls.crt", &cert.pem())?;
    let key_file = directory.write("tls.key", &signing_key.serialize_pem())?;
    let settings = json!({ "enabled": true, "cert_file": cert_file, "key_file": key_file });
    Ok((directory, cert.der().clone(), settings))
}

fn lists(client: &mut Binary) -> Result<()> {
    client.negotiate()?;
    let response = client.call("tools/list", &json!({ "namespace": "k8s" }), &json!({}))?;
    ensure!(response["result"]["tools"].is_array(), "{response}");
    Ok(())
}

/// A gateway whose listener of this name is ready.
fn served(config: Config, listener: &str) -> Result<(TestServer, Gateway, SocketAddr)> {
    let fixture = TestServer::http(Era::Both)?;
    let gateway = Gateway::start(&config.http("k8s", fixture.url()))?;
    gateway.wait_backends("legacy", &["k8s"])?;
    let address = gateway.wait_listener(listener)?;
    Ok((fixture, gateway, address))
}

#[test]
fn a_further_listener_with_tls_takes_nothing_else() -> Result<()> {
    let (_directory, authority, tls) = certificate()?;
    let frontend = json!([
        { "name": "binary", "protocol": "tcp_binary", "config": { "port": 0, "tls": tls } }
    ]);
    let (_fixture, _gateway, address) = served(Config::new().set("server", "frontends", frontend), "binary")?;
    lists(&mut Binary::g_tls(address, &authority)?)?;
    let mut plain = Binary::g(address)?;
    ensure!(plain.negotiate().is_err(), "a plain client was served");
    lists(&mut Binary::g_tls(address, &authority)?)
}

#[test]
fn beside_the_main_listener_both_are_served_unless_client_certificates_count() -> Result<()> {
    let (directory, authority, tls) = certificate()?;
    let config = |tls: &Value| {
        Config::new().set("server", "protocol", "both".into()).set("server", "tls", tls.clone())
    };
    // The harness asks the main listener whether it is ready without TLS, so these gateways are started by hand.
    let start = |tls: &Value| -> Result<(bridge_tests::Process, SocketAddr)> {
        let file = directory.write("gateway.yaml", &config(tls).to_yaml())?;
        let process = Gateway::spawn(&file, &[], &[])?;
        let address = bridge_tests::gateway::wait_listening(&process, "tcp")?;
        Ok((process, address))
    };
    let (_gateway, address) = start(&tls)?;
    for client in [&mut Binary::g_tls(address, &authority)?, &mut Binary::g(address)?] {
        client.negotiate()?;
    }
    let mut required = tls.clone();
    required["client_auth"] = "require".into();
    required["ca_file"] = tls["cert_file"].clone();
    let (_gateway, address) = start(&required)?;
    for mut client in [Binary::g_tls(address, &authority)?, Binary::g(address)?] {
        ensure!(client.negotiate().is_err(), "a client without a certificate was served");
    }
    Ok(())
}
