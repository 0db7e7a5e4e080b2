//! Admin, control and limits as written → checked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path as FilePath, PathBuf},
    time::Duration,
};

use super::{
    defaults::{self, Setting},
    findings::{Findings, Path, quoted},
    model::{Admin, Control, Limits},
    ports::{Claim, Scope},
    raw::{self, NumberOrText},
    values,
};
use crate::telemetry::catalogue;

/// Health and metrics.
pub(super) fn admin(raw: &raw::Admin, findings: &mut Findings) -> Admin {
    let path = Path::root().key("admin");
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let ip = listen_address(raw.bind_address.as_deref(), everywhere, &path, findings);
    Admin {
        address: SocketAddr::new(ip, raw.port.unwrap_or(defaults::ADMIN_PORT)),
        metrics: raw.endpoints.as_ref().and_then(|endpoints| endpoints.metrics).unwrap_or(true),
        common_tags: common_tags(raw, &path.key("commonTags"), findings),
    }
}

fn common_tags(raw: &raw::Admin, path: &Path, findings: &mut Findings) -> BTreeMap<String, String> {
    let tags = raw.common_tags.clone().unwrap_or_default();
    for tag in tags.keys() {
        let mut letters = tag.bytes();
        let starts = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let goes_on = letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        // Two underscores belong to the one who scrapes.
        if !starts || !goes_on || tag.starts_with("__") {
            let problem = format!("{} is not a label of a metric", quoted(tag));
            let remedy = "use letters, digits and `_`, with a letter first";
            findings.fault(&path.foreign_key(tag), problem, remedy);
        } else if catalogue::is_own_label(tag) {
            // Whoever scrapes refuses a metric with the same label twice, and with it all others.
            let problem = format!("{} is a label of the gateway's own metrics", quoted(tag));
            findings.fault(&path.foreign_key(tag), problem, "give the tag another name");
        }
    }
    tags
}

/// `/config` and the control calls.
pub(super) fn control(raw: &raw::Control, base: &FilePath, findings: &mut Findings) -> Control {
    let path = Path::root().key("control");
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ip = listen_address(raw.bind_address.as_deref(), loopback, &path, findings);
    let token_file = raw.token_file.as_deref().map(|file| base.join(file));
    if !ip.is_loopback() && token_file.is_none() && !findings.is_faulty(&path.key("tokenFile")) {
        let problem = format!("lets everybody who reaches {ip} repoint routes");
        let remedy = "write `tokenFile` with the path of a file that holds a token, or `127.0.0.1`";
        findings.fault(&path.key("bindAddress"), problem, remedy);
    }
    let address = SocketAddr::new(ip, raw.port.unwrap_or(defaults::CONTROL_PORT));
    Control { address, token_file }
}

/// The path of a state file, if the file names one.
pub(super) fn state_file(raw: Option<&str>, base: &FilePath) -> Option<PathBuf> {
    raw.map(|file| base.join(file))
}

/// What the gateway itself listens on, besides the routes.
pub(super) fn claims(admin: &Admin, control: &Control) -> [Claim; 2] {
    let claim = |key: &str, address: SocketAddr| Claim {
        path: Path::root().key(key).key("port"),
        owner: format!("`{key}`").into(),
        scope: Scope::of_address(address.ip()),
        port: address.port(),
        target: None,
    };
    [claim("admin", admin.address), claim("control", control.address)]
}

fn listen_address(
    text: Option<&str>,
    default: IpAddr,
    path: &Path,
    findings: &mut Findings,
) -> IpAddr {
    match text.map(values::listen_address) {
        None => default,
        Some(Ok(address)) => address,
        Some(Err(wrong)) => {
            findings.fault(&path.key("bindAddress"), wrong.problem, wrong.remedy);
            default
        }
    }
}

/// Bounds of every limit.
pub(super) fn limits(raw: &raw::Limits, findings: &mut Findings) -> Limits {
    // Kafka's lengths are signed 32-bit numbers; less than this holds no request.
    const FRAME: RangeInclusive<usize> = 1024..=0x7fff_ffff;
    let mut section = Section { path: Path::root().key("limits"), findings };
    let limits = Limits {
        connections_max: count(raw.connections_max.unwrap_or(defaults::CONNECTIONS_MAX)),
        frame_bytes_max: section.bytes(
            "frameBytesMax",
            raw.frame_bytes_max.as_ref(),
            &defaults::FRAME_BYTES,
            FRAME,
        ),
        first_frame_bytes_max: section.bytes(
            "firstFrameBytesMax",
            raw.first_frame_bytes_max.as_ref(),
            &defaults::FIRST_FRAME_BYTES,
            FRAME,
        ),
        rewrite_bytes_max: section.bytes(
            "rewriteBytesMax",
            raw.rewrite_bytes_max.as_ref(),
            &defaults::REWRITE_BYTES,
            FRAME,
        ),
        in_flight_max: count(raw.in_flight_max.unwrap_or(defaults::IN_FLIGHT_MAX)),
        first_request_timeout: section.time(
            "firstRequestTimeout",
            raw.first_request_timeout.as_deref(),
            &defaults::FIRST_REQUEST,
        ),
        connect_timeout: section.time(
            "connectTimeout",
            raw.connect_timeout.as_deref(),
            &defaults::CONNECT,
        ),
        write_stall_timeout: section.time(
            "writeStallTimeout",
            raw.write_stall_timeout.as_deref(),
            &defaults::WRITE_STALL,
        ),
        shutdown_drain: section.time(
            "shutdownDrain",
            raw.shutdown_drain.as_deref(),
            &defaults::SHUTDOWN_DRAIN,
        ),
    };
    section.within_frame(
        "firstFrameBytesMax",
        limits.first_frame_bytes_max,
        limits.frame_bytes_max,
    );
    section.within_frame("rewriteBytesMax", limits.rewrite_bytes_max, limits.frame_bytes_max);
    limits
}

/// Counts are bounded by the schema far below what any machine's `usize` holds.
fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Reads times and sizes of one section; what is at fault becomes the default, and is reported.
pub(super) struct Section<'f> {
    pub(super) path: Path,
    pub(super) findings: &'f mut Findings,
}

impl Section<'_> {
    pub(super) fn time(
        &mut self,
        key: &str,
        text: Option<&str>,
        default: &Setting<Duration>,
    ) -> Duration {
        self.value(key, text.map(values::duration), default)
    }

    pub(super) fn bytes(
        &mut self,
        key: &str,
        value: Option<&NumberOrText>,
        default: &Setting<usize>,
        allowed: RangeInclusive<usize>,
    ) -> usize {
        self.value(key, value.map(|value| values::bytes(value, allowed)), default)
    }

    fn value<T: Copy>(
        &mut self,
        key: &str,
        read: Option<Result<T, values::Wrong>>,
        default: &Setting<T>,
    ) -> T {
        match read {
            None => default.value,
            Some(Ok(value)) => value,
            Some(Err(wrong)) => {
                self.findings.fault(&self.path.key(key), wrong.problem, wrong.remedy);
                default.value
            }
        }
    }

    fn within_frame(&mut self, key: &str, bytes: usize, frame_bytes_max: usize) {
        if bytes > frame_bytes_max && !self.findings.is_faulty(&self.path) {
            let problem = format!("{bytes} bytes are more than `frameBytesMax`, {frame_bytes_max}");
            let remedy = format!("write at most {frame_bytes_max}, or raise `frameBytesMax`");
            self.findings.fault(&self.path.key(key), problem, remedy);
        }
    }
}
