//! What a cluster is made of, as a caller asks for it.

use std::{collections::BTreeMap, fmt};

use super::{settings::Settings, versions::Profile};

/// A cluster to be.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Name in logs and reports; also what random numbers are derived from.
    pub name: String,
    /// Whatever the cluster draws is drawn from this.
    pub seed: u64,
    /// Brokers, in any order, ids unique.
    pub brokers: Vec<BrokerSpec>,
    /// Whose versions it offers.
    pub profile: Profile,
    /// Broker settings by Kafka's own names; what is absent has Kafka's default.
    pub settings: BTreeMap<String, String>,
    /// With it, clients must authenticate.
    pub sasl: Option<SaslSpec>,
    /// Bytes of records that all logs together keep. Beyond, the oldest batches go.
    pub log_bytes_max: usize,
}

/// One broker.
#[derive(Clone, Debug)]
pub struct BrokerSpec {
    /// Node id.
    pub id: i32,
    /// Host that it tells clients.
    pub host: String,
    /// Port that it tells clients.
    pub port: u16,
    /// Rack, where one is set.
    pub rack: Option<String>,
}

/// Who may connect.
#[derive(Clone, Default)]
pub struct SaslSpec {
    /// Passwords by user.
    pub users: BTreeMap<String, String>,
}

impl fmt::Debug for SaslSpec {
    /// Names only: passwords are nobody's business.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SaslSpec").field("users", &self.users.keys()).finish()
    }
}

/// A setting that brokers do not know, or a value that they would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(String);

impl ClusterSpec {
    /// Checks the settings.
    ///
    /// # Errors
    /// With the first that is wrong, in Kafka's words.
    pub fn check_settings(&self) -> Result<(), InvalidSetting> {
        Settings::check_given(&self.settings)
            .map_err(|refusal| InvalidSetting(refusal.message.unwrap_or_default()))
    }

    /// A cluster of `brokers` brokers with ids from 1 on, at successive ports of one host.
    pub fn new(name: &str, seed: u64, host: &str, ports: impl IntoIterator<Item = u16>) -> Self {
        let brokers = (1..)
            .zip(ports)
            .map(|(id, port)| BrokerSpec { id, host: host.to_owned(), port, rack: None })
            .collect();
        Self {
            name: name.to_owned(),
            seed,
            brokers,
            profile: Profile::Kafka41,
            settings: BTreeMap::new(),
            sasl: None,
            log_bytes_max: 256 << 20,
        }
    }
}
