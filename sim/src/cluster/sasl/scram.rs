//! SCRAM, the server's side (RFC 5802): the password itself never travels.
//!
//! ```text
//!  client  n,,n=user,r=nonce                 ─▶
//!          ◀─ r=nonce+ours,s=salt,i=iterations  server
//!  client  c=biws,r=nonce+ours,p=proof       ─▶
//!          ◀─ v=signature                       server
//! ```
//! Channel binding is not offered, extensions are ignored, and names are taken as they are: Kafka normalises none.

use std::mem;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{Refusal, Step, Users};

/// Rounds of hashing: the least that Kafka allows, and its default.
pub(super) const ITERATIONS: u32 = 4096;

/// The hash of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    pub(super) fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        const ANY_KEY: &str = "HMAC takes a key of any length";
        match self {
            Self::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_KEY);
                mac.chain_update(data).finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                let mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_KEY);
                mac.chain_update(data).finalize().into_bytes().to_vec()
            }
        }
    }

    /// The function `Hi` of the RFC: a password made slow to guess.
    pub(super) fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut round = self.hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
        let mut sum = round.clone();
        for _ in 1..iterations {
            round = self.hmac(password.as_bytes(), &round);
            xor(&mut sum, &round);
        }
        sum
    }
}

/// What a server keeps in place of a password.
pub(super) struct Credential {
    salt: [u8; 16],
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Credential {
    pub(super) fn new(hash: Hash, password: &str, salt: [u8; 16]) -> Self {
        let salted = hash.salted(password, &salt, ITERATIONS);
        let client_key = hash.hmac(&salted, b"Client Key");
        Self {
            salt,
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(&salted, b"Server Key"),
        }
    }
}

/// One run.
pub(super) struct Scram {
    hash: Hash,
    server_nonce: String,
    state: State,
}

enum State {
    Started,
    Challenged {
        user: String,
        gs2_header: String,
        nonce: String,
        messages: String,
    },
    /// It has ended, well or not.
    Over,
}

impl Scram {
    pub(super) fn new(hash: Hash, server_nonce: String) -> Self {
        Self { hash, server_nonce, state: State::Started }
    }

    pub(super) fn handle_token(
        &mut self,
        users: &mut Users,
        token: &[u8],
    ) -> Result<Step, Refusal> {
        let text = str::from_utf8(token).map_err(|_| Refusal::Unsaid)?;
        match mem::replace(&mut self.state, State::Over) {
            State::Started => self.challenge(users, text),
            State::Challenged { user, gs2_header, nonce, messages } => {
                let last = ClientFinal::parse(text).ok_or(Refusal::Unsaid)?;
                // librdkafka 2.0.2 puts its own nonce before the whole one once more, and Kafka lets it pass.
                if !last.nonce.ends_with(&nonce) || last.channel != BASE64.encode(gs2_header) {
                    return Err(Refusal::Unsaid);
                }
                let credential = users.credential(self.hash, &user).ok_or(Refusal::Unsaid)?;
                let messages = format!("{messages},{}", last.without_proof);
                let signature = self.verify(credential, &messages, last.proof)?;
                Ok(Step::Done { user, token: signature })
            }
            State::Over => Err(Refusal::Unsaid),
        }
    }

    fn challenge(&mut self, users: &mut Users, text: &str) -> Result<Step, Refusal> {
        let first = ClientFirst::parse(text).ok_or(Refusal::Unsaid)?;
        let credential = users.credential(self.hash, &first.user).ok_or(Refusal::Unsaid)?;
        if first.acts_for.is_some_and(|acts_for| acts_for != first.user) {
            return Err(Refusal::Said("Authentication failed: nobody may act for another user"));
        }
        let nonce = format!("{}{}", first.nonce, self.server_nonce);
        let challenge = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(credential.salt));
        self.state = State::Challenged {
            messages: format!("{},{challenge}", first.bare),
            user: first.user,
            gs2_header: first.gs2_header.to_owned(),
            nonce,
        };
        Ok(Step::Challenge(challenge.into()))
    }

    /// Gives the server's last message.
    fn verify(
        &self,
        credential: &Credential,
        messages: &str,
        proof: &str,
    ) -> Result<Bytes, Refusal> {
        let proof = BASE64.decode(proof).map_err(|_| Refusal::Unsaid)?;
        let mut client_key = self.hash.hmac(&credential.stored_key, messages.as_bytes());
        if proof.len() != client_key.len() {
            return Err(Refusal::Unsaid);
        }
        xor(&mut client_key, &proof);
        let stored_key = self.hash.digest(&client_key);
        if !bool::from(stored_key.ct_eq(&credential.stored_key)) {
            return Err(Refusal::Unsaid);
        }
        let signature = self.hash.hmac(&credential.server_key, messages.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into())
    }
}

struct ClientFirst<'a> {
    gs2_header: &'a str,
    acts_for: Option<String>,
    /// The message behind the header, which the proof covers.
    bare: &'a str,
    user: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (acts_for, _) = text.strip_prefix("n,")?.split_once(',')?;
        let header_bytes = "n,".len() + acts_for.len() + ",".len();
        let (gs2_header, bare) = text.split_at(header_bytes);
        let acts_for = match acts_for {
            "" => None,
            name => Some(sasl_name(name.strip_prefix("a=")?)?),
        };
        let mut fields = bare.split(',').peekable();
        // A mandatory extension that nobody knows; Kafka passes over it.
        fields.next_if(|field| field.starts_with("m="));
        let user = sasl_name(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=").filter(|nonce| is_printable(nonce))?;
        Some(Self { gs2_header, acts_for, bare, user, nonce })
    }
}

struct ClientFinal<'a> {
    channel: &'a str,
    nonce: &'a str,
    proof: &'a str,
    without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let channel = fields.next()?.strip_prefix("c=")?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        Some(Self { channel, nonce, proof, without_proof })
    }
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A name in which commas and equals signs are escaped.
fn sasl_name(text: &str) -> Option<String> {
    let rest = text.replace("=2C", "").replace("=3D", "");
    let is_name = !text.is_empty() && !rest.contains('=');
    is_name.then(|| text.replace("=2C", ",").replace("=3D", "="))
}

fn xor(into: &mut [u8], with: &[u8]) {
    for (byte, other) in into.iter_mut().zip(with) {
        *byte ^= other;
    }
}
