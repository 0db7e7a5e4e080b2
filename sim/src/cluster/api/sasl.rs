//! SaslHandshake, SaslAuthenticate, and what a client may ask for before it is known.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    protocol::StrBytes,
};
use switchyard::wire::header::LENGTH_BYTES;

use super::{
    super::{
        Cluster, Output,
        connection::{CloseCause, ConnectionId},
        sasl::{Authentication, Exchange, Mechanism, Refusal, Session, Step},
        time::{Time, millis},
    },
    Context, Reply,
};

/// Characters of the server's part of a nonce: 26 of 36 are more than 128 bits.
const NONCE_CHARS: usize = 26;

impl Cluster {
    /// Whether a request may be served at this stage of its connection; otherwise the connection is to be closed.
    pub(in super::super) fn is_admitted(
        &mut self,
        now: Time,
        connection: ConnectionId,
        key: ApiKey,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&connection) else { return false };
        match &mut connection.authentication {
            Authentication::NotNeeded => true,
            Authentication::Done(session) => {
                // Whether a SaslHandshake comes in time is its own handler's question.
                key == ApiKey::SaslHandshake || !session.has_ended(now)
            }
            Authentication::Started { versions_known } => match key {
                ApiKey::ApiVersions => !std::mem::replace(versions_known, true),
                key => key == ApiKey::SaslHandshake,
            },
            // Kafka answers others with an error of their own and closes then; here they are only closed.
            Authentication::Exchanging { .. } => {
                matches!(key, ApiKey::SaslAuthenticate | ApiKey::SaslHandshake)
            }
        }
    }

    pub(super) fn sasl_handshake(
        &mut self,
        context: &Context,
        request: SaslHandshakeRequest,
    ) -> Reply<SaslHandshakeResponse> {
        const AUTHENTICATION: CloseCause = CloseCause::Authentication;
        let response = SaslHandshakeResponse::default();
        let illegal = response.clone().with_error_code(ResponseError::IllegalSaslState.code());
        let enabled = Mechanism::listed(self.settings.text("sasl.enabled.mechanisms"));
        let response = response.with_mechanisms(enabled.iter().map(|it| it.wire_name()).collect());
        let nonce = self.server_nonce(context);
        let id = context.ticket.connection;
        let Some(connection) = self.connections.get_mut(&id) else { return Reply::None };
        let mut before = None;
        match &mut connection.authentication {
            Authentication::Started { .. } => {}
            Authentication::Exchanging { .. } => {
                self.answer(context.ticket, &illegal);
                return Reply::Close(AUTHENTICATION);
            }
            Authentication::Done(session) if session.may_reauthenticate(context.now) => {
                before = Some(Session {
                    user: std::mem::take(&mut session.user),
                    reauthentication: Some(context.now),
                    ..*session
                });
            }
            Authentication::Done(session) if session.has_ended(context.now) => {
                return Reply::Close(AUTHENTICATION);
            }
            Authentication::NotNeeded | Authentication::Done(_) => return Reply::Now(illegal),
        }
        let asked = enabled.into_iter().find(|known| known.name() == request.mechanism.as_str());
        let Some(mechanism) = asked else {
            let refusal = response.with_error_code(ResponseError::UnsupportedSaslMechanism.code());
            self.answer(context.ticket, &refusal);
            return Reply::Close(AUTHENTICATION);
        };
        connection.authentication = Authentication::Exchanging {
            exchange: Exchange::new(mechanism, nonce),
            is_raw: context.version() == 0,
            before,
        };
        Reply::Now(response)
    }

    pub(super) fn sasl_authenticate(
        &mut self,
        context: &Context,
        request: SaslAuthenticateRequest,
    ) -> Reply<SaslAuthenticateResponse> {
        let response = SaslAuthenticateResponse::default();
        match self.handle_token(context.now, context.ticket.connection, &request.auth_bytes) {
            Ok(Progress { token, lifetime_ms }) => {
                // v0 has no place for it; the session ends all the same.
                let lifetime_ms = if context.version() >= 1 { lifetime_ms } else { 0 };
                Reply::Now(response.with_auth_bytes(token).with_session_lifetime_ms(lifetime_ms))
            }
            Err(Failure::OutOfPlace) => Reply::Now(
                response
                    .with_error_code(ResponseError::IllegalSaslState.code())
                    .with_error_message(Some(StrBytes::from_static_str(
                        "no authentication is under way",
                    ))),
            ),
            Err(Failure::Refused(text)) => {
                let response = response
                    .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                    .with_error_message(Some(StrBytes::from_string(text)));
                self.answer(context.ticket, &response);
                Reply::Close(CloseCause::Authentication)
            }
        }
    }

    /// A token without a request around it. Its answer is one too; a refusal is told by closing alone.
    pub(in super::super) fn sasl_raw_token(
        &mut self,
        now: Time,
        connection: ConnectionId,
        token: &Bytes,
    ) {
        let Ok(Progress { token, .. }) = self.handle_token(now, connection, token) else {
            return self.close_connection(connection, CloseCause::Authentication);
        };
        let mut frame = BytesMut::with_capacity(LENGTH_BYTES + token.len());
        frame.put_u32(u32::try_from(token.len()).expect("tokens are short"));
        frame.put_slice(&token);
        self.outputs.push_back(Output::Send { connection, frame: frame.freeze() });
    }

    fn handle_token(
        &mut self,
        now: Time,
        connection: ConnectionId,
        token: &[u8],
    ) -> Result<Progress, Failure> {
        let lifetime_ms = self.settings.int("connections.max.reauth.ms").max(0);
        let connection = self.connections.get_mut(&connection).ok_or(Failure::OutOfPlace)?;
        let users = self.users.as_mut().ok_or(Failure::OutOfPlace)?;
        let authentication = &mut connection.authentication;
        let Authentication::Exchanging { exchange, before, .. } = authentication else {
            return Err(Failure::OutOfPlace);
        };
        let mechanism = exchange.mechanism();
        // Kafka too waits for the first token before it says so.
        if let Some(before) = before.as_ref().filter(|before| before.mechanism != mechanism) {
            return Err(Failure::Refused(format!(
                "a client that authenticated by {} cannot authenticate again by {}",
                before.mechanism.name(),
                mechanism.name(),
            )));
        }
        let step = exchange.handle_token(users, token).map_err(|refusal| {
            Failure::Refused(match refusal {
                Refusal::Said(text) => text.to_owned(),
                Refusal::Unsaid => {
                    format!(
                        "Authentication by {} failed: the credentials are not valid",
                        mechanism.name()
                    )
                }
            })
        })?;
        match step {
            Step::Challenge(token) => Ok(Progress { token, lifetime_ms: 0 }),
            Step::Done { user, token } => {
                if before.as_ref().is_some_and(|before| before.user != user) {
                    let text = "another user cannot take over the connection";
                    return Err(Failure::Refused(text.to_owned()));
                }
                let reauthentication = before.as_ref().and_then(|before| before.reauthentication);
                let ends = (lifetime_ms > 0).then(|| now + millis(lifetime_ms));
                *authentication =
                    Authentication::Done(Session { user, mechanism, ends, reauthentication });
                Ok(Progress { token, lifetime_ms })
            }
        }
    }

    /// The server's part of a nonce; no two are alike.
    fn server_nonce(&self, context: &Context) -> String {
        let name = format!("{}/{}", self.name, context.ticket.number);
        let mut random = crate::random::stream(self.seed, "scram-nonce", &name);
        (0..NONCE_CHARS).map(|_| random.char('a'..='z')).collect()
    }
}

/// What a token has led to.
struct Progress {
    token: Bytes,
    /// 0 as long as the session has not begun, or if it does not end.
    lifetime_ms: i64,
}

enum Failure {
    /// Nobody asked for a token.
    OutOfPlace,
    /// The client is turned away, and told this.
    Refused(String),
}
