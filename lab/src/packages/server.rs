//! Serves the apt repositories over https, with a certificate of an authority that nodes trust as they would trust a
//! company's. Authority and key live in memory, as long as the supervisor.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use anyhow::{Context, Result};
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::NAME;
use crate::hub;
use crate::state::Lab;

/// Begins to serve; from now on new nodes trust the lab's authority. Call it before the first node starts.
pub async fn serve(lab: &Lab) -> Result<()> {
    let (config, authority) = credentials()?;
    trust(lab, &authority).context("adding the lab's authority to those that nodes trust")?;
    let listener = TcpListener::bind((hub::PACKAGES, 443)).await.context("binding the apt repository")?;
    let (acceptor, root) = (TlsAcceptor::from(Arc::new(config)), lab.packages());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, root) = (acceptor.clone(), root.clone());
            tokio::spawn(async move {
                // a client that does not trust the authority says so itself
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request| std::future::ready(answer(&root, &request)));
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    Ok(())
}

/// What the server shows, and its authority's certificate.
fn credentials() -> Result<(ServerConfig, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "kubewright lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate()?;
    let mut params = CertificateParams::new([NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&own, &issuer)?;
    let private = PrivateKeyDer::try_from(own.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)?;
    Ok((config, authority))
}

/// As `update-ca-certificates` would, so that one that runs later in a node changes nothing.
fn trust(lab: &Lab, authority: &str) -> Result<()> {
    let bundle = "etc/ssl/certs/ca-certificates.crt";
    let debian = fs::read_to_string(lab.base_image().join(bundle)).context("reading Debian's authorities")?;
    let files = [("usr/local/share/ca-certificates/lab.crt", authority), (bundle, &format!("{debian}{authority}"))];
    for (path, text) in files {
        let path = lab.layer().join(path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, text)?;
    }
    fs::write(lab.run().join("ca.crt"), authority)?;
    Ok(())
}

type Answer = Response<Either<Full<Bytes>, Chunks>>;

fn answer<B>(root: &Path, request: &Request<B>) -> Result<Answer, std::convert::Infallible> {
    let path = request.uri().path();
    let found = [Method::GET, Method::HEAD].contains(request.method()).then(|| open(root, path)).flatten();
    let (status, body) = match found {
        Some(chunks) if request.method() == Method::GET => (StatusCode::OK, Either::Right(chunks)),
        Some(_) => (StatusCode::OK, Either::Left(Full::default())),
        None => (StatusCode::NOT_FOUND, Either::Left(Full::new(Bytes::from_static(b"not in the lab's apt repositories\n")))),
    };
    tracing::info!("apt repository: {} {path}: {status}", request.method());
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    Ok(answer)
}

/// A file below `root`, never one beside it.
fn open(root: &Path, path: &str) -> Option<Chunks> {
    let decoded = percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
    let inside = PathBuf::from(decoded.as_ref());
    let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    let file = plain.then(|| File::open(root.join(inside)).ok()).flatten()?;
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(Chunks { file, left: metadata.len() })
}

/// A file, piece by piece: packages are large, and many nodes ask at once.
struct Chunks {
    file: File,
    left: u64,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        let mut chunk = vec![0; self.left.min(1 << 17) as usize];
        if chunk.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(self.file.read_exact(&mut chunk).map(|()| {
            self.left -= chunk.len() as u64;
            Frame::data(chunk.into())
        })))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_root_are_served() {
        let folder = std::env::temp_dir().join(format!("kubewright-served-{}", std::process::id()));
        fs::create_dir_all(folder.join("root/core:/deb")).unwrap();
        fs::write(folder.join("root/core:/deb/a+b.deb"), "bytes").unwrap();
        fs::write(folder.join("secret"), "secret").unwrap();
        let root = folder.join("root");
        let there = |path: &str| open(&root, path).map(|chunks| chunks.left);
        assert_eq!(there("/core:/deb/a%2bb.deb"), Some(5));
        assert_eq!(there("/core%3A/deb/a+b.deb"), Some(5));
        for path in ["/core:/deb", "/../secret", "/%2e%2e/secret", "//etc/passwd", "/core:/deb/none"] {
            assert_eq!(there(path), None, "{path}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
