//! How connections to a database are encrypted, and whom they believe.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::AddressError;

/// Who may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Whom {
    /// Whoever holds the key of the certificate that it shows (`prefer`, `require`): hidden from listeners, not from an impostor.
    #[default]
    Anybody,
    /// Whoever was certified, under any name (`verify-ca`).
    Certified,
    /// Whoever was certified under the name that we asked for (`verify-full`).
    Named,
}

/// What an address says of certificates. Files are named, in PEM; an empty name is none.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    pub whom: Whom,
    /// Who certifies; none and `system`: whom the system trusts.
    pub root: String,
    pub certificate: String,
    pub key: String,
}

/// Makes the encrypted half of connections.
pub(crate) fn connector(trust: &Trust) -> Result<MakeRustlsConnect, AddressError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust.whom {
        Whom::Anybody => Arc::new(Believing { certified: None, provider: provider.clone() }),
        Whom::Named => certified(trust, &provider)?,
        Whom::Certified => Arc::new(Believing { certified: Some(certified(trust, &provider)?), provider: provider.clone() }),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the ciphers of the protocol's versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = if trust.certificate.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain = certificates("sslcert", &trust.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&trust.key).map_err(|e| unusable("sslkey", &trust.key, &e))?;
        builder.with_client_auth_cert(chain, key).map_err(|e| unusable("sslcert", &trust.certificate, &e))?
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certified(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, AddressError> {
    let system = trust.root.is_empty() || trust.root == "system";
    let found = if system { rustls_native_certs::load_native_certs().certs } else { certificates("sslrootcert", &trust.root)? };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found);
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|e| unusable("sslrootcert", if system { "the system's list" } else { &trust.root }, &e))
}

fn certificates(parameter: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, AddressError> {
    CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|e| unusable(parameter, file, &e))
}

fn unusable(parameter: &'static str, file: &str, why: &dyn std::fmt::Display) -> AddressError {
    AddressError::Certificates { parameter, why: format!("{file}: {why}") }
}

/// Looks away from what [`Whom`] does not ask for. The other end always proves that it holds the key of its certificate.
#[derive(Debug)]
struct Believing {
    certified: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(certified) = &self.certified else { return Ok(ServerCertVerified::assertion()) };
        match certified.verify_server_cert(end, between, name, ocsp, now) {
            // The name is looked at last, when all else was found good.
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
