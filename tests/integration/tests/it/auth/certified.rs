//! A port on this machine on which plain connections become connections over TLS, with the
//! certificate of a client: so every helper of these tests can call with one.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tenure_testkit::{Cluster, ClusterBuilder, Issued, Leaf, Pki};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

/// The way to a node with a certificate.
#[derive(Debug)]
pub(super) struct Certified {
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Certified {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Certified {
    /// To `secure`, the address of a node that speaks TLS only, for `protocol`.
    pub(super) async fn to(secure: &str, pki: &Pki, pair: &Issued, protocol: &str) -> Self {
        let connector = TlsConnector::from(Arc::new(settings(pki, pair, protocol)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let secure = secure.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((mut plain, _)) = listener.accept().await {
                let (connector, secure) = (connector.clone(), secure.clone());
                tokio::spawn(async move {
                    let stream = TcpStream::connect(&secure).await?;
                    let name = ServerName::try_from("localhost").unwrap();
                    let mut encrypted = connector.connect(name, stream).await?;
                    copy_bidirectional(&mut plain, &mut encrypted).await
                });
            }
        });
        Self { address, task }
    }

    /// For gRPC, as a client whose certificate has the common name `name`.
    pub(super) async fn named(secure: &str, pki: &Pki, name: &str) -> Self {
        let pair = pki.issue(name, &Leaf::client(name));
        Self::to(secure, pki, &pair, "h2").await
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

fn settings(pki: &Pki, pair: &Issued, protocol: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&pki.authority()) {
        roots.add(certificate).unwrap();
    }
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&pair.certificate), key)
        .unwrap();
    settings.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    settings
}

fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(file).unwrap();
    found.map(Result::unwrap).collect()
}

/// Nodes that ask clients for certificates, by which these are users.
pub(super) fn nodes(pki: &Pki, nodes: usize) -> ClusterBuilder {
    let [certificate, key] = pki.issue("node", &Leaf::node()).words();
    Cluster::builder(nodes)
        .clients_use_tls()
        .flag("--cert-file", &certificate)
        .flag("--key-file", &key)
        .flag("--trusted-ca-file", &pki.authority().display().to_string())
        .switch("--client-cert-auth")
}
