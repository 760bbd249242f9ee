//! Proving who we are: one key, from the agent or from a file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{code, session_code};
use super::hostkey;
use super::{Login, SshError, Target};

/// Authenticates a session whose host key has been checked.
pub(super) fn log_in(session: &ssh2::Session, target: &Target, at: &str) -> Result<(), SshError> {
    match &target.login {
        Login::Agent { socket, public_key } => {
            let wanted = hostkey::fingerprint(public_key).unwrap_or_else(|| "(unreadable)".into());
            let no_agent = |error: ssh2::Error| SshError::NoAgent { detail: error.message().to_string() };
            let mut agent = session.agent().map_err(no_agent)?;
            if let Some(path) = socket {
                agent.set_identity_path(path).map_err(no_agent)?;
            }
            agent.connect().map_err(no_agent)?;
            agent.list_identities().map_err(no_agent)?;
            let blob = hostkey::blob(public_key);
            let identities = agent.identities().map_err(no_agent)?;
            let Some(identity) = identities.iter().find(|identity| blob.as_deref() == Some(identity.blob())) else {
                return Err(SshError::AgentLacksKey { fingerprint: wanted });
            };
            agent
                .userauth(&target.user, identity)
                .map_err(|error| refusal(&error, target, at, format!("the agent's key {wanted}")))
        }
        Login::KeyFile { path, passphrase } => {
            let broken = |detail: &str| SshError::KeyFile { path: path.clone(), detail: detail.into() };
            let text = std::fs::read_to_string(path).map_err(|error| broken(&format!("cannot be read: {error}")))?;
            if !text.contains("PRIVATE KEY-----") {
                return Err(broken("is not a private key in PEM or OpenSSH format"));
            }
            if is_encrypted(&text) && passphrase.is_none() {
                return Err(broken("is encrypted; give its passphrase in KUBEWRIGHT_SSH_PASSPHRASE, or use the agent"));
            }
            let phrase = passphrase.as_ref().map(|secret| secret.expose());
            session.userauth_pubkey_memory(&target.user, None, &text, phrase).map_err(|error| {
                let rejected = [code::AUTHENTICATION_FAILED, code::PUBLICKEY_UNVERIFIED].contains(&session_code(&error));
                let unreadable = !rejected && session_code(&error) == LIBSSH2_ERROR_FILE;
                match unreadable {
                    true if is_encrypted(&text) => {
                        broken("cannot be decrypted: the passphrase in KUBEWRIGHT_SSH_PASSPHRASE is wrong")
                    }
                    true => broken("cannot be decoded"),
                    false => refusal(&error, target, at, format!("the key {}", path.display())),
                }
            })
        }
    }
}

const LIBSSH2_ERROR_FILE: i32 = -16;

/// A refused key is final; a connection that ends here is not: while a machine boots, PAM turns users away.
fn refusal(error: &ssh2::Error, target: &Target, at: &str, key: String) -> SshError {
    match session_code(error) {
        code::AUTHENTICATION_FAILED | code::PUBLICKEY_UNVERIFIED => {
            SshError::Denied { at: at.into(), user: target.user.clone(), key }
        }
        code::TIMEOUT => SshError::Lost { at: at.into(), detail: "no answer to the authentication request".into() },
        _ => SshError::Lost { at: at.into(), detail: format!("during authentication: {}", error.message()) },
    }
}

/// Whether a private key needs a passphrase: PEM says so in a header, OpenSSH in the cipher name after its magic.
fn is_encrypted(text: &str) -> bool {
    if text.contains("ENCRYPTED") {
        return true;
    }
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let Ok(bytes) = STANDARD.decode(body) else { return false };
    let Some(rest) = bytes.strip_prefix(b"openssh-key-v1\0") else { return false };
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return false };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    rest.get(..length).is_some_and(|cipher| cipher != b"none")
}
