//! What the tests need of this machine: a Docker engine, a Kafka image, and to be the only run of them.
//!
//! Addresses and ports are fixed, so a lock keeps a second run waiting; runs in different slots
//! (`SWITCHYARD_ITESTS_SLOT`) do not meet. Containers of a run that was interrupted are
//! found by their label and removed by the next one; those of this run are removed by a child process that
//! notices when the run ends, however it ends.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use crate::{Result, version::Version};

/// Every container of the tests carries it, with the slot as its value.
pub const LABEL: &str = "switchyard.itests";

/// Slots that there are for runs of the tests.
const SLOTS: u8 = 10;

/// What was found, once for each process.
struct Machine {
    image: (String, String),
    _lock: File,
    // Held, not used: the child ends, and cleans up, when the pipe to it closes with this process.
    _reaper: Child,
}

static SLOT: LazyLock<Result<u8, String>> = LazyLock::new(|| {
    let Ok(text) = std::env::var("SWITCHYARD_ITESTS_SLOT") else { return Ok(0) };
    let slot = text.parse().ok().filter(|slot| *slot < 2 * SLOTS);
    slot.ok_or_else(|| {
        format!("SWITCHYARD_ITESTS_SLOT={text}: it is a number from 0 to {}", SLOTS - 1)
    })
});

static MACHINE: LazyLock<Result<Machine, String>> = LazyLock::new(Machine::prepare);

/// Whether tests on containers can run; if not, one line that says what is missing and how to get it.
pub fn ready() -> Result<(), String> {
    MACHINE.as_ref().map(drop).map_err(Clone::clone)
}

/// Name and tag of the Kafka image.
pub(crate) fn image() -> Result<(String, String), String> {
    MACHINE.as_ref().map(|machine| machine.image.clone()).map_err(Clone::clone)
}

/// Which of the runs that share this machine this one is: the third byte of its loopback addresses, and part of the names of
/// its containers. `SWITCHYARD_ITESTS_SLOT`, 0 unless set.
pub fn slot() -> u8 {
    // A bad one is told by `ready`, without which nothing starts.
    SLOT.as_ref().copied().unwrap_or_default()
}

/// The slot of a run that is part of this one, to show what becomes of runs. No other run has it.
pub fn slot_within() -> u8 {
    slot() % SLOTS + SLOTS
}

/// A loopback address of this run, such as `127.21.0.3` for subnet 21 and host 3.
pub fn address(subnet: u8, host: u8) -> String {
    format!("127.{subnet}.{}.{host}", slot())
}

/// Name of the network of all containers of this run, and start of their names.
pub(crate) fn network() -> String {
    format!("switchyard-itests-{}", slot())
}

/// Name and tag of the image of another version than the one under test.
pub fn image_of(version: Version) -> Result<(String, String), String> {
    let name = |place: &str| format!("{place}/kafka:{version}");
    find_image(&[name("apache"), name("switchyard")])
}

/// Runs `docker` and gives what it printed.
pub(crate) fn docker(arguments: &[&str]) -> Result<String, String> {
    let said = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("docker: {error}"))?;
    if said.status.success() {
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    } else {
        Err(format!(
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&said.stderr).trim()
        ))
    }
}

impl Machine {
    fn prepare() -> Result<Self, String> {
        let slot = SLOT.clone()?;
        docker(&["version", "--format", "{{.Server.Version}}"])
            .map_err(|error| format!("no Docker engine answers ({error}): run ci/setup"))?;
        let image = image_under_test()?;
        let path = std::env::temp_dir().join(format!("switchyard-itests-{slot}.lock"));
        let lock = File::create(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| format!("cannot lock {}: {error}", path.display()))?;
        Command::new("sh")
            .args(["-c", &clean_up()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("cannot remove containers of an earlier run: {error}"))?;
        // Of a process group of its own, so that an interrupt from the terminal does not end it as well.
        // It holds the lock as well, by its output: the next run would otherwise lose containers to the clean-up of this one.
        let held = lock.try_clone().map_err(|error| format!("cannot share the lock: {error}"))?;
        let reaper = Command::new("sh")
            .args(["-c", &format!("cat; {}", clean_up())])
            .stdin(Stdio::piped())
            .stdout(held)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start the process that cleans up: {error}"))?;
        Ok(Self { image, _lock: lock, _reaper: reaper })
    }
}

/// The image of the version under test.
fn image_under_test() -> Result<(String, String), String> {
    match std::env::var("SWITCHYARD_KAFKA_IMAGE") {
        Ok(image) => find_image(&[image]),
        Err(_) => image_of(Version::under_test()?),
    }
}

/// Name and tag of the first of some images that is there.
fn find_image(candidates: &[String]) -> Result<(String, String), String> {
    candidates
        .iter()
        .find(|image| docker(&["image", "inspect", "--format", "{{.Id}}", image]).is_ok())
        .and_then(|image| image.rsplit_once(':'))
        .map(|(name, tag)| (name.to_owned(), tag.to_owned()))
        .ok_or_else(|| format!("no image {}: run ci/setup", candidates.join(" or ")))
}

/// Shell commands that remove every container and network of the tests.
fn clean_up() -> String {
    let (slot, network) = (slot(), network());
    format!(
        "for _ in 1 2 3 4 5; do \
           ids=$(docker ps --all --quiet --filter label={LABEL}={slot}); \
           [ -n \"$ids\" ] || break; \
           docker rm --force --volumes $ids >/dev/null 2>&1; \
           sleep 0.2; \
         done; \
         docker network ls --quiet --filter name=^{network}$ | \
         xargs --no-run-if-empty docker network rm >/dev/null 2>&1; true"
    )
}
