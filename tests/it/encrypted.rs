//! Connections to PostgreSQL over TLS, to a real server that speaks it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use jari_event_store::{Address, Database, PoolSettings};
use jari_postgres::{Access, DataFolder, PrivatePostgres, Settings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use uuid::Uuid;

use crate::{
    harness::eventually,
    processes::free_address,
    serving::{Serving, order},
};

/// A server on a port of 127.0.0.1.
pub struct Networked {
    folder: PathBuf,
    port: u16,
    access: Access,
    server: Child,
}

impl Networked {
    /// Made by the program, then started again as no private server ever is: on the network, with these settings, after `prepare` was at its folder and
    /// its data.
    pub async fn start(settings: &[&str], prepare: impl FnOnce(&Path, &Path)) -> Self {
        let folder = std::env::temp_dir().join(format!("jari-networked-{}", Uuid::now_v7().simple()));
        let made = PrivatePostgres::start(Settings::new(DataFolder::new(&folder))).await.unwrap();
        let process = PathBuf::from(format!("/proc/{}", made.pid().unwrap()));
        let (program, data) = (fs::read_link(process.join("exe")).unwrap(), fs::read_link(process.join("cwd")).unwrap());
        let access = made.access().clone();
        made.stop();
        prepare(&folder, &data);
        let port = free_address().parse::<std::net::SocketAddr>().unwrap().port();
        let owner = fs::metadata(&data).unwrap();
        let mut command = Command::new(program);
        command.arg("-D").arg(&data).current_dir(&data).stdout(Stdio::null()).stderr(Stdio::null());
        for setting in ["listen_addresses=127.0.0.1", &format!("port={port}"), "unix_socket_directories="].iter().chain(settings) {
            command.args(["-c", setting]);
        }
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let server = command.spawn().unwrap();
        let started = Self { folder, port, access, server };
        eventually("the server answers", || async { started.try_as("sslmode=prefer").await.is_ok() }).await;
        started
    }

    /// Its certificate is for `localhost` and signed by `ca.pem`.
    async fn encrypted() -> Self {
        Self::start(&["ssl=on"], certify).await
    }

    pub fn url(&self, role: &str, host: &str, parameters: &str) -> String {
        let config = if role == "jari" { &self.access.server } else { &self.access.owner };
        let password = std::str::from_utf8(config.get_password().unwrap()).unwrap();
        format!("postgresql://{role}:{password}@{host}:{}/jari?{parameters}", self.port)
    }

    async fn try_at(&self, host: &str, parameters: &str) -> Result<bool, String> {
        let address: Address = self.url("jari", host, parameters).parse().unwrap();
        let database = Database::new(address, PoolSettings::patient()).unwrap();
        let client = database.dedicated().await.map_err(|error| error.to_string())?;
        Ok(client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap().get(0))
    }

    async fn try_as(&self, parameters: &str) -> Result<bool, String> {
        self.try_at("localhost", parameters).await
    }

    fn root(&self, name: &str) -> String {
        format!("sslrootcert={}", self.folder.join(name).display())
    }
}

impl Drop for Networked {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A certificate authority, another one that signed nothing, and the server's certificate where the server looks for it.
fn certify(folder: &Path, data: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (key, other_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    fs::write(folder.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("other.pem"), authority.self_signed(&other_key).unwrap().pem()).unwrap();
    let server = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&server, &Issuer::new(authority, key)).unwrap();
    let owner = fs::metadata(data).unwrap();
    for (name, text) in [("server.crt", certificate.pem()), ("server.key", server.serialize_pem())] {
        let file = data.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_go_over_tls_to_a_server_whose_certificate_was_checked() {
    let server = Networked::encrypted().await;
    let checked = format!("sslmode=verify-full&{}", server.root("ca.pem"));
    let database = |role: &str| Database::new(server.url(role, "localhost", &checked).parse::<Address>().unwrap(), PoolSettings::patient()).unwrap();
    jari_event_store::migrate(&database("jari_owner"), Some("jari")).await.unwrap();
    let shop = Serving::on(database("jari"), |_| {}).await;
    shop.on_sale("poster", 10).await;
    shop.orders().place_order(order(&[("poster", 2)])).await.unwrap();
    let plain = "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE datname = 'jari' AND usename = 'jari' AND NOT ssl";
    let client = shop.database.connection().await.unwrap();
    assert_eq!(client.query_one(plain, &[]).await.unwrap().get::<_, i64>(0), 0, "append, tail, views and reads");
    drop(client);
    shop.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_of_encryption_believes_whom_libpq_would_believe() {
    let server = Networked::encrypted().await;
    let (ca, other) = (server.root("ca.pem"), server.root("other.pem"));
    for (host, parameters, expected) in [
        ("localhost", "sslmode=disable".to_owned(), Some(false)),
        ("localhost", String::new(), Some(true)),
        ("127.0.0.1", "sslmode=require".to_owned(), Some(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&{ca}"), Some(true)),
        ("localhost", format!("sslmode=verify-full&{ca}"), Some(true)),
        ("127.0.0.1", format!("sslmode=verify-full&{ca}"), None),
        ("localhost", format!("sslmode=verify-ca&{other}"), None),
        ("localhost", format!("sslmode=require&{other}"), None),
        ("localhost", "sslmode=verify-full".to_owned(), None),
        ("localhost", "sslrootcert=system".to_owned(), None),
    ] {
        let found = server.try_at(host, &parameters).await;
        assert_eq!(found.clone().ok(), expected, "{host} {parameters}: {found:?}");
        if let Err(why) = found {
            assert!(why.contains("certificate"), "it says what to mend: {why}");
        }
    }
}

/// Answers one connection at a port of 127.0.0.1: shows this certificate, and signs with this key, whether or not it is the certificate's.
fn shows(certificate: CertificateDer<'static>, key: &KeyPair, version: &'static SupportedProtocolVersion) -> u16 {
    let signer = ring::sign::any_supported_type(&PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], signer));
    let builder = ServerConfig::builder_with_provider(ring::default_provider().into()).with_protocol_versions(&[version]).unwrap();
    let config = Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(shown)));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"S").unwrap();
        let mut tls = ServerConnection::new(config).unwrap();
        // ends when the two agree, or when the other hangs up
        while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_a_certificate_whose_key_it_does_not_hold_is_refused_in_each_mode() {
    let folder = tempfile::tempdir().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca, own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = folder.path().join("ca.pem");
    fs::write(&root, authority.self_signed(&ca).unwrap().pem()).unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&own, &Issuer::new(authority, ca)).unwrap();
    for version in [&TLS12, &TLS13] {
        for mode in ["sslmode=require".to_owned(), format!("sslmode=verify-ca&sslrootcert={}", root.display())] {
            for (key, is_refused) in [(&own, false), (&other, true)] {
                let port = shows(certificate.der().clone(), key, version);
                let address: Address = format!("postgresql://jari@127.0.0.1:{port}/jari?{mode}").parse().unwrap();
                let why = Database::new(address, PoolSettings::patient()).unwrap().dedicated().await.unwrap_err().to_string();
                assert_eq!(why.contains("BadSignature"), is_refused, "{version:?} {mode}: {why}");
            }
        }
    }
}
