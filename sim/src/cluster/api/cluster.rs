//! DescribeCluster.

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeClusterRequest, DescribeClusterResponse,
        describe_cluster_response::DescribeClusterBroker,
    },
    protocol::StrBytes,
};

use super::{super::Cluster, Context, Reply, metadata::CLUSTER_OPERATIONS};

/// Endpoints of brokers, which is what this listener has.
const BROKERS: i8 = 1;
/// Endpoints of controllers.
const CONTROLLERS: i8 = 2;

impl Cluster {
    pub(super) fn describe_cluster(
        &mut self,
        _: &Context,
        request: DescribeClusterRequest,
    ) -> Reply<DescribeClusterResponse> {
        let refuse = |error: ResponseError, text: String| {
            let response = DescribeClusterResponse::default()
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(text)))
                .with_controller_id(BrokerId(-1));
            Reply::Now(response)
        };
        match request.endpoint_type {
            BROKERS => {}
            CONTROLLERS => {
                let text = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
                return refuse(ResponseError::MismatchedEndpointType, text.to_owned());
            }
            other => {
                let text = format!("Unsupported endpoint type {other}");
                return refuse(ResponseError::UnsupportedEndpointType, text);
            }
        }
        let shown = self
            .brokers
            .values()
            .filter(|broker| broker.is_listed() || request.include_fenced_brokers);
        let brokers = shown.map(|broker| {
            DescribeClusterBroker::default()
                .with_broker_id(broker.id)
                .with_host(StrBytes::from_string(broker.host.clone()))
                .with_port(i32::from(broker.port))
                .with_rack(broker.rack.clone().map(StrBytes::from_string))
                .with_is_fenced(!broker.is_listed())
        });
        let operations = if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        };
        Reply::Now(
            DescribeClusterResponse::default()
                .with_error_message(None)
                .with_cluster_id(self.cluster_id.clone())
                .with_controller_id(self.controller().unwrap_or(BrokerId(-1)))
                .with_brokers(brokers.collect())
                .with_cluster_authorized_operations(operations),
        )
    }
}
