//! Rehearsals of a Switchyard gateway: fake Kafka clusters that speak the wire protocol, and what drives them.
//!
//! [`cluster`] is pure: requests and time in, responses and deadlines out. [`serve`] puts it on sockets, those
//! of the machine or simulated ones. [`cli`] and [`demo`] run in the real world; [`ask`] is how they speak to brokers.
//! [`client`] has model clients, as pure as the cluster.

pub mod ask;
pub mod assess;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod demo;
pub mod linked;
pub mod network;
pub mod oracle;
pub mod random;
pub mod rehearsal;
pub mod report;
pub mod scenario;
pub mod search;
pub mod serve;
pub mod soak;
