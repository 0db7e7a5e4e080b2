//! ApiVersions.

use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse,
        api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey},
    },
    protocol::StrBytes,
};

use super::{
    super::{
        Cluster,
        connection::Ticket,
        versions::{self, Feature},
    },
    Context, Reply,
};

/// From this version on a client says what it is.
const NAMES_SOFTWARE: i16 = 3;
/// From this version on a client knows that a feature's range may begin at 0.
const KNOWS_ZERO: i16 = 4;

impl Cluster {
    pub(super) fn api_versions(
        &mut self,
        context: &Context,
        request: ApiVersionsRequest,
    ) -> Reply<ApiVersionsResponse> {
        let version = context.version();
        let named = is_software(&request.client_software_name)
            && is_software(&request.client_software_version);
        if version >= NAMES_SOFTWARE && !named {
            let error = ResponseError::InvalidRequest.code();
            return Reply::Now(ApiVersionsResponse::default().with_error_code(error));
        }
        let keys = versions::advertised(self.profile).map(|(key, versions)| {
            ApiVersion::default()
                .with_api_key(key as i16)
                .with_min_version(*versions.start())
                .with_max_version(*versions.end())
        });
        let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
        if version < NAMES_SOFTWARE {
            return Reply::Now(response);
        }
        let features = versions::features(self.profile);
        let supported = features
            .iter()
            .filter(|feature| version >= KNOWS_ZERO || feature.min > 0)
            .map(supported);
        Reply::Now(
            response
                .with_supported_features(supported.collect())
                // Where in the controller's log the features were finalised.
                .with_finalized_features_epoch(1)
                .with_finalized_features(features.iter().filter_map(finalized).collect()),
        )
    }

    /// Answers a version that nobody knows as Kafka does: in the oldest shape, with the versions of ApiVersions.
    pub(in super::super) fn answer_too_new(&mut self, ticket: Ticket) {
        let rows =
            versions::advertised(self.profile).filter(|(key, _)| *key == ApiKey::ApiVersions);
        let keys = rows.map(|(key, versions)| {
            ApiVersion::default()
                .with_api_key(key as i16)
                .with_min_version(*versions.start())
                .with_max_version(*versions.end())
        });
        let response = ApiVersionsResponse::default()
            .with_error_code(ResponseError::UnsupportedVersion.code())
            .with_api_keys(keys.collect());
        self.answer(Ticket { api_version: 0, ..ticket }, &response);
    }
}

fn supported(feature: &Feature) -> SupportedFeatureKey {
    SupportedFeatureKey::default()
        .with_name(StrBytes::from_static_str(feature.name))
        .with_min_version(feature.min)
        .with_max_version(feature.max)
}

fn finalized(feature: &Feature) -> Option<FinalizedFeatureKey> {
    let level = feature.finalized?;
    Some(
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_max_version_level(level)
            .with_min_version_level(level),
    )
}

/// Letters, digits, `-` and `.`, the first and last a letter or digit.
fn is_software(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || [b'-', b'.'].contains(byte);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}
