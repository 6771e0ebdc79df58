//! The one HTTP client: rustls, the system's certificates, the environment's proxies.

use core::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http::Response};

/// Longest answer read as JSON.
const LONGEST_ANSWER: u64 = 32 << 20;

/// A client. A token follows a redirect to the same host only; statuses are told, not errors.
pub(super) fn agent() -> Agent {
    let tls = TlsConfig::builder().root_certs(root_certificates()).build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(concat!("inkstone/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build()
        .into()
}

/// The system's certificates, which know the proxies of companies; Mozilla's where it has none.
fn root_certificates() -> RootCerts {
    let system = rustls_native_certs::load_native_certs().certs;
    if system.is_empty() {
        return RootCerts::WebPki;
    }
    system
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()).to_owned())
        .collect::<Vec<_>>()
        .as_slice()
        .iter()
        .cloned()
        .into()
}

/// Asks for `url`, from byte `start` of the file where that is not its beginning.
pub(super) fn get(
    agent: &Agent,
    url: &str,
    token: Option<&str>,
    start: u64,
) -> Result<Response<Body>, ureq::Error> {
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if start > 0 {
        request = request.header("Range", format!("bytes={start}-"));
    }
    // Lengths and ranges are of the file itself, not of a compressed form of it.
    request.header("Accept-Encoding", "identity").call()
}

/// Reads a JSON answer of limited length.
pub(super) fn get_json(agent: &Agent, url: &str, token: Option<&str>) -> anyhow::Result<Value> {
    let mut response = get(agent, url, token, 0).map_err(|e| unreachable_host(url, e))?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(refused(url, status));
    }
    let text = response
        .body_mut()
        .with_config()
        .limit(LONGEST_ANSWER)
        .read_to_string()
        .with_context(|| url.to_owned())?;
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) => bail!("{url}: the answer is not JSON ({error})"),
    }
}

/// What an HTTP status means for a pull.
pub(super) fn refused(url: &str, status: u16) -> anyhow::Error {
    let meaning = match status {
        401 | 403 => "a token is wanted, or the model's terms must be accepted on its page",
        404 => "no such repository, revision or file",
        429 => "too many requests; wait a while",
        500.. => "the server failed; try again later",
        _ => "unexpected answer",
    };
    anyhow!("{url}: HTTP {status}, {meaning}")
}

/// The server could not be talked to.
pub(super) fn unreachable_host(url: &str, error: ureq::Error) -> anyhow::Error {
    anyhow!("{url}: {error}; check the network and HTTPS_PROXY")
}
