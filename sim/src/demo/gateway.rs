//! The gateway's configuration file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use switchyard::config::Source;

use super::{EAST, Plan, ROUTE, WEST};

/// The file, beside which the gateway keeps its state.
pub(super) fn configuration(directory: &Path) -> PathBuf {
    directory.join("gateway.yaml")
}

pub(super) fn write_configuration(plan: Plan, directory: &Path) -> io::Result<Source> {
    let file = configuration(directory);
    fs::write(&file, text(plan))?;
    Ok(Source::File(file))
}

pub(super) fn text(plan: Plan) -> String {
    let domain = |name: &str| {
        let brokers: Vec<_> = plan.ports(name).map(|port| format!("127.0.0.1:{port}")).collect();
        format!(
            "  - name: {name}\n    kafkaCluster:\n      bootstrapServers:\n        \
             - {{id: brokers, endpoint: \"{}\"}}\n      \
             nodeIdRanges:\n        - {{name: brokers, start: 1, end: {}}}\n",
            brokers.join(","),
            brokers.len(),
        )
    };
    let Plan { port_base, control_port, admin_port, .. } = plan;
    format!(
        "# The gateway of `switchyard-sim demo`. It is watched: what you save is applied.\n\
         gateway:\n  name: demo\n  streamingDomains:\n{}{}\
         {indent}routes:\n  - name: {ROUTE}\n    endpoint: \"127.0.0.1:{port_base}\"\n    \
         streamingDomain: {{name: {EAST}, bootstrapServerId: brokers}}\n    \
         fence: {{scope: NONE, mode: hold, holdTimeMax: 60s}}\n\
         {indent}control: {{bindAddress: 127.0.0.1, port: {control_port}}}\n\
         {indent}admin: {{bindAddress: 127.0.0.1, port: {admin_port}}}\n",
        domain(EAST),
        domain(WEST),
        indent = "  ",
    )
}
