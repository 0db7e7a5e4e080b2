//! ApiVersions.

use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, api_versions_response::ApiVersion,
};

use super::{
    super::{Cluster, versions},
    Context, Reply,
};

impl Cluster {
    pub(super) fn api_versions(
        &mut self,
        _: &Context,
        _: ApiVersionsRequest,
    ) -> Reply<ApiVersionsResponse> {
        let keys = versions::advertised(self.profile).map(|(key, versions)| {
            ApiVersion::default()
                .with_api_key(key as i16)
                .with_min_version(*versions.start())
                .with_max_version(*versions.end())
        });
        Reply::Now(ApiVersionsResponse::default().with_api_keys(keys.collect()))
    }
}
