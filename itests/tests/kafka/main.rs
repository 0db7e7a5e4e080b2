//! The gateway between real clients and real Kafka. One binary, so that its tests share one pair of clusters.

mod addresses;
mod admin;
mod brokers;
mod cluster;
mod groups;
mod records;
mod repoint;
