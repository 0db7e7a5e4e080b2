//! Why a session ended. The label of each cause is the value of the metric's `cause` label.

/// Every reason for which the gateway ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCause {
    /// The client closed its side.
    ClientClosed,
    /// The client's connection broke (reset, keepalive or user timeout).
    ClientBroken,
    /// No complete first request before the deadline.
    FirstRequestTimeout,
    /// A request frame did not complete in time (slow-loris).
    RequestStalled,
    /// The client did not read its answers in time.
    ClientNotReading,
    /// The client opened with a TLS handshake on a plaintext port.
    TlsOnPlaintext,
    /// The client spoke HTTP.
    HttpOnKafka,
    /// A frame length below the smallest header.
    FrameTooSmall,
    /// A frame length above the limit.
    FrameTooLarge,
    /// A request that cannot be parsed.
    MalformedRequest,
    /// An API key that is never advertised.
    UnknownApi,
    /// A version that was not advertised.
    UnsupportedVersion,
    /// An answer that would pass its size limit.
    AnswerTooLarge,
    /// The route is at its connection limit.
    TooManyConnections,
    /// Upstream refused the connection.
    UpstreamRefused,
    /// Upstream's name does not resolve.
    UpstreamUnresolvable,
    /// Upstream did not accept the connection in time.
    UpstreamConnectTimeout,
    /// Upstream closed between frames.
    UpstreamClosed,
    /// Upstream closed in the middle of a frame.
    UpstreamTruncated,
    /// Upstream's connection broke.
    UpstreamBroken,
    /// Upstream does not take requests.
    UpstreamNotReading,
    /// Upstream answered with another correlation id than the oldest request's.
    CorrelationMismatch,
    /// Upstream sent a response that nobody asked for.
    UnexpectedResponse,
    /// Upstream sent a response that cannot be parsed.
    MalformedResponse,
    /// Upstream sent a response above the limit.
    ResponseTooLarge,
    /// The real broker of this endpoint became known; the client reconnects to it.
    BrokerLearned,
    /// The route points at another domain now.
    Repointed,
    /// The route was removed from the configuration.
    RouteRemoved,
    /// The gateway stops.
    Shutdown,
    /// A defect of the gateway, confined to this session.
    InternalError,
}

impl CloseCause {
    /// Every cause, in the order of the declaration.
    pub const ALL: &'static [Self] = &[
        Self::ClientClosed,
        Self::ClientBroken,
        Self::FirstRequestTimeout,
        Self::RequestStalled,
        Self::ClientNotReading,
        Self::TlsOnPlaintext,
        Self::HttpOnKafka,
        Self::FrameTooSmall,
        Self::FrameTooLarge,
        Self::MalformedRequest,
        Self::UnknownApi,
        Self::UnsupportedVersion,
        Self::AnswerTooLarge,
        Self::TooManyConnections,
        Self::UpstreamRefused,
        Self::UpstreamUnresolvable,
        Self::UpstreamConnectTimeout,
        Self::UpstreamClosed,
        Self::UpstreamTruncated,
        Self::UpstreamBroken,
        Self::UpstreamNotReading,
        Self::CorrelationMismatch,
        Self::UnexpectedResponse,
        Self::MalformedResponse,
        Self::ResponseTooLarge,
        Self::BrokerLearned,
        Self::Repointed,
        Self::RouteRemoved,
        Self::Shutdown,
        Self::InternalError,
    ];

    /// The cause as metric label and log field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ClientBroken => "client_broken",
            Self::FirstRequestTimeout => "first_request_timeout",
            Self::RequestStalled => "request_stalled",
            Self::ClientNotReading => "client_not_reading",
            Self::TlsOnPlaintext => "tls_on_plaintext",
            Self::HttpOnKafka => "http_on_kafka",
            Self::FrameTooSmall => "frame_too_small",
            Self::FrameTooLarge => "frame_too_large",
            Self::MalformedRequest => "malformed_request",
            Self::UnknownApi => "unknown_api",
            Self::UnsupportedVersion => "unsupported_version",
            Self::AnswerTooLarge => "answer_too_large",
            Self::TooManyConnections => "too_many_connections",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamUnresolvable => "upstream_unresolvable",
            Self::UpstreamConnectTimeout => "upstream_connect_timeout",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::UpstreamBroken => "upstream_broken",
            Self::UpstreamNotReading => "upstream_not_reading",
            Self::CorrelationMismatch => "correlation_mismatch",
            Self::UnexpectedResponse => "unexpected_response",
            Self::MalformedResponse => "malformed_response",
            Self::ResponseTooLarge => "response_too_large",
            Self::BrokerLearned => "broker_learned",
            Self::Repointed => "repointed",
            Self::RouteRemoved => "route_removed",
            Self::Shutdown => "shutdown",
            Self::InternalError => "internal_error",
        }
    }
}
