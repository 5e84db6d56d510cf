//! Wrong files are explained.

use std::path::PathBuf;

use bridge_transport::tls::{ClientAuth, Server, ServerSettings};

use crate::authority::{Authority, Directory};

fn refusal(settings: &ServerSettings) -> String {
    Server::load(settings.clone()).unwrap_err().to_string()
}

#[test]
fn each_mistake_names_the_file_and_what_is_wrong() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let leaf = authority.leaf("gateway.test");
    let good = directory.settings(&leaf);
    let with_cert = |file: PathBuf| ServerSettings { certificate: file.into(), ..good.clone() };
    let with_key = |file: PathBuf| ServerSettings { key: file.into(), ..good.clone() };

    let encrypted = leaf.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = leaf.cert.replace("-----END CERTIFICATE-----", "");
    let garbled = leaf.key.replacen('M', "!", 1);
    let other = authority.leaf("gateway.test").key;
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let der = leaf.parsed().0[0].to_vec();
    let cases = [
        (with_cert(directory.path().join("absent.crt")), "absent.crt", "No such file"),
        (with_cert(directory.path().to_owned()), "certificate file", "not a file"),
        (with_cert(directory.write("empty.crt", "")), "empty.crt", "the file is empty"),
        (
            with_cert(directory.write("key.crt", &leaf.key)),
            "key.crt",
            "holds a private key (are the two files swapped?)",
        ),
        (with_cert(directory.write("der.crt", der)), "der.crt", "looks like DER"),
        (with_cert(directory.write("cut.crt", cut)), "cut.crt", "no END line"),
        (
            with_cert(directory.write("odd.crt", no_certificate)),
            "odd.crt",
            "the first certificate cannot be used",
        ),
        (with_key(directory.path().join("absent.key")), "absent.key", "No such file"),
        (with_key(directory.write("cert.key", &leaf.cert)), "cert.key", "holds a certificate"),
        (with_key(directory.write("locked.key", encrypted)), "locked.key", "protected by a passphrase"),
        (with_key(directory.write("garbled.key", garbled)), "garbled.key", "not base64"),
        (
            with_key(directory.write("other.key", other)),
            "other.key",
            "does not belong to the first certificate in",
        ),
    ];
    let key_text = leaf.key.lines().nth(1).unwrap_or_default();
    for (settings, file, problem) in cases {
        let text = refusal(&settings);
        assert!(text.contains(file) && text.contains(problem), "{file}: {text}");
        assert!(!text.contains(key_text), "{text}");
    }
}

#[test]
fn client_authorities_are_needed_when_clients_are_asked() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let mut settings = directory.settings(&authority.leaf("gateway.test"));
    settings.client_auth = ClientAuth::Request;
    assert!(refusal(&settings).contains("`client_ca`"));
    settings.client_ca = Some(directory.write("ca.crt", "nothing here").into());
    let text = refusal(&settings);
    assert!(text.contains("client CA file") && text.contains("BEGIN CERTIFICATE"), "{text}");
    settings.client_auth = ClientAuth::None;
    Server::load(settings).unwrap();
}
