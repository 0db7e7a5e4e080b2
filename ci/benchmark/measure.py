#!/usr/bin/env python3
"""Compares no proxy, HAProxy in TCP mode and the gateway on one Kafka broker; started by ci/bench.

Every round takes each step for each system in turn, so that what else happens on the machine falls on all of them;
ratios are taken within a round, and their median is shown. A first round warms up and is not counted.

  produce   kafka-producer-perf-test at full speed: 1 KiB records, acks=1, batches of 64 KiB, no compression
  consume   kafka-consumer-perf-test of one topic, the same bytes for every system
  latency   Latency.java: records at a fixed rate, from the moment each was due to its acknowledgement and to a consumer
  setup     one after the other: TCP connection, ApiVersions, Metadata, close
  memory    in a fresh process: resident at start, and with idle connections that have done ApiVersions and Metadata

CPU is that of the proxy's process alone (/proc/PID/stat), per 1e9 bytes of payload. Client, proxy and broker share the
machine, and the client costs ten times what a proxy does: CPU is what to go by, throughput says little on few cores.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")
PARTITIONS = 4
RECORD_BYTES = 1024
WARM_SECONDS = 4
STEPS = ("produce", "consume", "latency", "setup", "memory")
BROKER_JVM = ["-Xms1g", "-Xmx1g", "-XX:+UseG1GC"]
CLIENT_JVM = ["-Xms512m", "-Xmx512m", "-XX:+UseG1GC"]

# Row of the table: step, value, name, unit, digits, target as ratio to HAProxy (at most, or at least where negative) or
# as a bound of its own.
ROWS = [
    ("produce", "cpu_s_per_gb", "produce: proxy CPU", "s/GB", 2, ("<=", 1.0)),
    ("consume", "cpu_s_per_gb", "consume: proxy CPU", "s/GB", 2, ("<=", 1.0)),
    ("produce", "mb_per_s", "produce: throughput", "MB/s", 0, (">=", 0.95)),
    ("consume", "mb_per_s", "consume: throughput", "MB/s", 0, (">=", 0.95)),
    ("latency", "ack_p50", "acknowledged, p50", "µs", 0, ("<=", 1.1)),
    ("latency", "ack_p99", "acknowledged, p99", "µs", 0, ("<=", 1.1)),
    ("latency", "e2e_p50", "consumed, p50", "µs", 0, ("<=", 1.1)),
    ("latency", "e2e_p99", "consumed, p99", "µs", 0, ("<=", 1.1)),
    ("latency", "cpu_percent", "proxy CPU meanwhile", "% of a core", 1, None),
    ("setup", "cpu_us", "connection set-up: proxy CPU", "µs", 0, ("<=", 1.5)),
    ("setup", "p50_us", "connection set-up: time, p50", "µs", 0, None),
    ("memory", "start_mib", "resident at start", "MiB", 1, ("bound", 16)),
    ("memory", "idle_kib", "resident per idle connection", "KiB", 1, ("bound", 8)),
]


def arguments():
    parser = argparse.ArgumentParser(
        prog="ci/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="counted rounds (%(default)s)")
    add("--mib", type=int, default=512, help="MiB of a produce or consume step (%(default)s)")
    add("--rate", type=int, default=2000, help="records a second of the latency step (%(default)s)")
    add("--seconds", type=int, default=8, help="seconds of the latency step that count (%(default)s)")
    add("--setups", type=int, default=2000, help="connections of the set-up step (%(default)s)")
    add("--idle", type=int, default=1000, help="idle connections of the memory step (%(default)s)")
    add("--steps", default=",".join(STEPS), help="comma-separated (%(default)s)")
    add("--no-warm-up", action="store_true", help="leave the uncounted round out")
    add(
        "--gateway", action="append", default=[], metavar="NAME[:VIEW]=[VARIABLE=VALUE …] BINARY",
        help="a build or setting of the gateway; repeatable (switchyard:native=the release binary)",
    )
    add("--without", default="", help="comma-separated systems to leave out: direct, haproxy")
    add("--profile", metavar="NAME", help="record this gateway with perf during produce and consume steps")
    for name in ("--jars", "--binary", "--directory"):
        add(name, help=argparse.SUPPRESS)
    return parser.parse_args()


# ------------------------------------------------------------------------------------------------- processes


class Processes:
    """Those that were started here, and no others."""

    def __init__(self, directory):
        self.directory = directory
        self.running = []

    def start(self, name, command, environment=None):
        log = open(f"{self.directory}/{name}.log", "w")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        self.running.append(process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.remove(process)

    def stop_all(self):
        for process in reversed(self.running[:]):
            self.stop(process)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_kib(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(rf"{what}:\s+(\d+)", status.read())[1])


def machine_busy():
    with open("/proc/stat") as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def free_ports(count):
    """A run of free ports outside the range from which connections take theirs."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        limit = int(file.read().split()[0])
    for base in range(21000, limit - count, 100):
        sockets = []
        try:
            for port in range(base, base + count):
                sockets.append(socket.create_server(("127.0.0.1", port)))
            return base
        except OSError:
            continue
        finally:
            for taken in sockets:
                taken.close()
    sys.exit("bench: no free ports")


# ------------------------------------------------------------------------- Kafka's protocol, as far as needed


def text(value):
    value = value.encode()
    return struct.pack(">h", len(value)) + value


def call(connection, key, version, body=b""):
    frame = struct.pack(">hhi", key, version, 7) + text("bench") + body
    connection.sendall(struct.pack(">i", len(frame)) + frame)
    (length,) = struct.unpack(">i", receive(connection, 4))
    return receive(connection, length)[4:]


def receive(connection, count):
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("closed")
        parts += part
    return parts


def set_up(port, topic="latency"):
    """A connection as clients begin it, and the first broker's port in what they are told."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if call(connection, 18, 0)[:2] != b"\0\0":
        raise ConnectionError("ApiVersions refused")
    answer = call(connection, 3, 1, struct.pack(">i", 1) + text(topic))
    brokers, _, length = struct.unpack(">iih", answer[:10])
    if brokers < 1:
        raise ConnectionError("no brokers yet")
    return connection, struct.unpack(">i", answer[10 + length : 14 + length])[0]


def create_topic(port, name, settings):
    body = struct.pack(">i", 1) + text(name) + struct.pack(">ihi", PARTITIONS, 1, 0)
    body += struct.pack(">i", len(settings)) + b"".join(text(k) + text(v) for k, v in settings.items())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = call(connection, 19, 2, body + struct.pack(">i?", 10_000, False))
    error = struct.unpack(">h", answer[10 + len(name) : 12 + len(name)])[0]
    if error:
        sys.exit(f"bench: topic {name}: error {error}")


# --------------------------------------------------------------------------------------------------- systems


@dataclass
class System:
    name: str
    port: int  # that clients bootstrap from
    config: str = ""
    command: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    process: subprocess.Popen = None

    def start(self, processes):
        if not self.command:
            return
        path = f"{processes.directory}/{self.name}.yaml"
        with open(path, "w") as file:
            file.write(self.config)
        self.process = processes.start(self.name, [part.format(config=path) for part in self.command], self.environment)
        end = time.monotonic() + 30
        while True:
            try:
                connection, told = set_up(self.port)
                connection.close()
                break
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"bench: {self.name} is not ready: {error}; see {processes.directory}/{self.name}.log")
                time.sleep(0.05)
        if told not in range(self.port, self.port + 10):
            sys.exit(f"bench: {self.name} would be passed by: clients are sent to port {told}")


HAPROXY = """global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen kafka
  bind 127.0.0.1:{port}
  server broker 127.0.0.1:{upstream}
"""

GATEWAY = """gateway:
  name: bench
  admin: {{bindAddress: 127.0.0.1, port: {admin}}}
  control: {{bindAddress: 127.0.0.1, port: {control}}}
  streamingDomains:
    - name: kafka
      kafkaCluster:
        bootstrapServers: [{{id: plain, endpoint: "127.0.0.1:{upstream}"}}]
        nodeIdRanges: [{{name: brokers, start: 1, end: 1}}]
  routes:
    - name: bench
      endpoint: "127.0.0.1:{port}"
      streamingDomain: {{name: kafka}}
      clientView: {view}
"""


def systems(options, base):
    """Ports: base the controller, base+1 the broker, base+2 the broker for HAProxy, then ten for each proxy."""
    found = [System("direct", base + 1)]
    port = base + 10
    found.append(
        System("haproxy", port, HAPROXY.format(port=port, upstream=base + 2), ["haproxy", "-db", "-f", "{config}"])
    )
    for gateway in options.gateway or [f"switchyard={options.binary}"]:
        label, command = gateway.split("=", 1)
        name, _, view = label.partition(":")
        words = shlex.split(command)
        environment = {}
        while "=" in words[0]:
            key, value = words.pop(0).split("=", 1)
            environment[key] = value
        port += 10
        config = GATEWAY.format(
            admin=port + 8, control=port + 9, port=port, upstream=base + 1, view=view or "native"
        )
        found.append(System(name, port, config, [*words, "run", "{config}"], environment))
    without = options.without.split(",")
    return [system for system in found if system.name not in without]


def start_broker(bench, base, advertised):
    config = f"{bench.directory}/broker.properties"
    data = f"{bench.data}/broker"
    with open(config, "w") as file:
        file.write(
            f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{base}
controller.listener.names=CONTROLLER
inter.broker.listener.name=DIRECT
listeners=CONTROLLER://127.0.0.1:{base},DIRECT://127.0.0.1:{base + 1},HAPROXY://127.0.0.1:{base + 2}
advertised.listeners=DIRECT://127.0.0.1:{base + 1},HAPROXY://127.0.0.1:{advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,HAPROXY:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
log.retention.check.interval.ms=2000
log.initial.task.delay.ms=1000
log.segment.delete.delay.ms=1000
"""
        )
    format_storage = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", config]
    subprocess.run(bench.java([], *format_storage), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    broker = bench.processes.start("broker", bench.java(BROKER_JVM, "kafka.Kafka", config))
    end = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", base + 1), timeout=5) as connection:
                call(connection, 18, 0)
            break
        except OSError:
            if broker.poll() is not None or time.monotonic() > end:
                sys.exit(f"bench: the broker does not start; see {bench.directory}/broker.log")
            time.sleep(0.1)
    passing = {"segment.bytes": str(64 << 20), "retention.bytes": str(128 << 20)}
    for name, settings in (("produce", passing), ("latency", passing), ("consume", {"retention.ms": "-1"})):
        create_topic(base + 1, name, settings)
    return broker


# ----------------------------------------------------------------------------------------------------- steps


class Bench:
    def __init__(self, options):
        self.options = options
        self.directory = options.directory
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        # The broker's disk must not be what is measured.
        self.data = f"/dev/shm/switchyard-bench-{os.getpid()}" if os.access("/dev/shm", os.W_OK) else self.directory
        self.processes = Processes(self.directory)
        self.rows = []
        self.broker = None
        self.client_cpu = 0.0

    def java(self, jvm, *command):
        return ["java", *jvm, "-cp", f"{self.options.jars}/*:{self.directory}", *command]

    def client(self, *command):
        """Runs a client to its end and returns what it printed."""
        process = subprocess.Popen(
            self.java(CLIENT_JVM, *command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        self.processes.running.append(process)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.processes.running.remove(process)
        self.client_cpu += usage.ru_utime + usage.ru_stime
        if process.returncode:
            raise RuntimeError(f"{command[0]} failed: {output[-400:]}")
        return output

    def produce(self, system, topic="produce", mib=None):
        records = (mib or self.options.mib) * (1 << 20) // RECORD_BYTES
        output = self.client(
            "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", str(records),
            "--record-size", str(RECORD_BYTES), "--throughput", "-1", "--producer-props",
            f"bootstrap.servers=127.0.0.1:{system.port}", "acks=1", "enable.idempotence=false", "batch.size=65536",
            "linger.ms=5", "compression.type=none", "buffer.memory=67108864",
        )
        rate = re.search(rf"^{records} records sent, ([\d.]+) records/sec", output, re.MULTILINE)
        if not rate:
            raise RuntimeError(f"records were lost: {output[-400:]}")
        return {"mb_per_s": float(rate[1]) * RECORD_BYTES / 1e6}, records * RECORD_BYTES

    def consume(self, system):
        records = self.options.mib * (1 << 20) // RECORD_BYTES
        output = self.client(
            "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", f"127.0.0.1:{system.port}", "--topic",
            "consume", "--messages", str(records), "--hide-header", "--timeout", "20000",
        )
        fields = [part.strip() for part in output.strip().splitlines()[-1].split(",")]
        if int(fields[4]) < records:
            raise RuntimeError(f"too few records: {output[-400:]}")
        return {"mb_per_s": float(fields[8]) * (1 << 20) / 1e6}, int(fields[4]) * RECORD_BYTES

    def latency(self, system):
        options = self.options
        output = self.client(
            "Latency", f"127.0.0.1:{system.port}", "latency", str(options.rate), str(WARM_SECONDS),
            str(options.seconds), str(RECORD_BYTES),
        )
        found = json.loads(output.strip().splitlines()[-1])
        if found["ack"]["missing"] or found["e2e"]["missing"]:
            raise RuntimeError(f"records are missing: {output}")
        return {f"{kind}_{part}": value for kind, all in found.items() for part, value in all.items()}, 0

    def setup(self, system):
        times = []
        for _ in range(self.options.setups):
            start = time.perf_counter()
            set_up(system.port)[0].close()
            times.append((time.perf_counter() - start) * 1e6)
        return {"p50_us": statistics.median(times), "p99_us": sorted(times)[len(times) * 99 // 100]}, 0

    def step(self, number, name, system):
        """One step of one system, with what it cost."""
        counted = lambda: time.process_time() + sum(cpu_seconds(p.pid) for p in self.processes.running)
        row = {"round": number, "step": name, "system": system.name}
        clients, own, busy, start = self.client_cpu, counted(), machine_busy(), time.monotonic()
        before = cpu_seconds(system.process.pid) if system.process else 0
        broker = cpu_seconds(self.broker.pid)
        profile = self.start_profile(number, name, system)
        values, payload = getattr(self, name)(system)
        spent = cpu_seconds(system.process.pid) - before if system.process else 0
        broker = cpu_seconds(self.broker.pid) - broker
        if profile:
            self.processes.stop(profile)
        wall = time.monotonic() - start
        clients = self.client_cpu - clients
        others = machine_busy() - busy - (counted() - own) - clients
        row |= values | {"seconds": wall, "other_cores": max(0, others / wall)}
        if payload:
            gigabytes = payload / 1e9
            row |= {
                "cpu_s_per_gb": spent / gigabytes, "broker_cpu_s_per_gb": broker / gigabytes,
                "client_cpu_s_per_gb": clients / gigabytes,
            }
        elif name == "latency":
            row["cpu_percent"] = 100 * spent / (WARM_SECONDS + self.options.seconds)
        elif name == "setup":
            row["cpu_us"] = 1e6 * spent / self.options.setups
        self.note(row)

    def start_profile(self, number, name, system):
        if number == 0 or system.name != self.options.profile or name not in ("produce", "consume"):
            return None
        output = f"{self.directory}/perf-{name}-{number}.data"
        command = ["perf", "record", "-q", "-F", "999", "-g", "-p", str(system.process.pid), "-o", output]
        return self.processes.start("perf", command)

    def memory(self, number, system):
        """In a process of its own that has carried nothing yet."""
        if not system.command:
            return
        system.start(self.processes)
        time.sleep(1)
        pid = system.process.pid
        start = memory_kib(pid)
        connections = [set_up(system.port)[0] for _ in range(self.options.idle)]
        time.sleep(1)
        idle = (memory_kib(pid) - start) / len(connections)
        for connection in connections:
            connection.close()
        row = {"round": number, "step": "memory", "system": system.name, "start_mib": start / 1024, "idle_kib": idle}
        self.note(row | {"other_cores": 0})
        self.processes.stop(system.process)

    def note(self, row):
        shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
        print(json.dumps(shown), file=sys.stderr, flush=True)
        if row["round"]:
            self.rows.append(row)

    def run(self):
        options = self.options
        steps = options.steps.split(",")
        subprocess.run(
            ["javac", "-cp", f"{options.jars}/*", "-d", self.directory, f"{HERE}/Latency.java"], check=True
        )
        base = free_ports(100)
        compared = systems(options, base)
        self.broker = start_broker(self, base, base + 10)
        if "consume" in steps:
            self.produce(System("direct", base + 1), "consume")
        for system in compared:
            system.start(self.processes)
        first = 1 if options.no_warm_up else 0
        for number in range(first, options.rounds + 1):
            shift = number % len(compared)
            for name in STEPS[:-1]:
                for system in compared[shift:] + compared[:shift] if name in steps else []:
                    self.step(number, name, system)
        for system in compared:
            if system.process:
                peak = memory_kib(system.process.pid, "VmHWM") / 1024
                self.note({"round": 1, "step": "peak", "system": system.name, "peak_mib": peak})
                self.processes.stop(system.process)
        for number in range(1, min(3, options.rounds) + 1 if "memory" in steps else 1):
            for system in compared:
                self.memory(number, system)
        return compared


# ---------------------------------------------------------------------------------------------------- report


def values_of(rows, step, value, system):
    return {row["round"]: row[value] for row in rows if row["step"] == step and row["system"] == system and value in row}


def report(rows, names):
    """A Markdown table: medians, ranges, and ratios to HAProxy within the same round."""
    head = ["", "unit", *(name + (", ratio to haproxy" if name not in ("direct", "haproxy") else "") for name in names)]
    lines = ["| " + " | ".join([*head, "target"]) + " |", "|---" * (len(head) + 1) + "|"]
    for step, value, label, unit, digits, target in ROWS:
        cells = []
        peer = values_of(rows, step, value, "haproxy")
        for name in names:
            own = values_of(rows, step, value, name)
            if not own or name == "direct" and "cpu" in value:
                cells.append("–")
                continue
            cell = f"{statistics.median(own.values()):,.{digits}f}"
            if len(own) > 1:
                cell += f" ({min(own.values()):,.{digits}f}–{max(own.values()):,.{digits}f})"
            ratios = [own[number] / peer[number] for number in own if peer.get(number)]
            if name not in ("direct", "haproxy") and ratios:
                cell += f", **{statistics.median(ratios):.2f}×**"
            cells.append(cell)
        if any(cell != "–" for cell in cells):
            sign, bound = target or ("", None)
            wanted = {"<=": f"≤ {bound}×", ">=": f"≥ {bound}×", "bound": f"≤ {bound} {unit}", "": ""}[sign]
            lines.append("| " + " | ".join([label, unit, *cells, wanted]) + " |")
    return "\n".join(lines)


def main():
    options = arguments()
    bench = Bench(options)
    try:
        compared = bench.run()
    finally:
        bench.processes.stop_all()
        if bench.data != bench.directory:
            shutil.rmtree(bench.data, ignore_errors=True)
    others = [row["other_cores"] for row in bench.rows if row.get("other_cores")]
    machine = {
        "cores": os.cpu_count(),
        "cpu": next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?"),
        "kernel": os.uname().release,
        "haproxy": subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout.split()[2],
        "rounds": options.rounds,
        "other_cores_median": statistics.median(others) if others else 0,
        "other_cores_max": max(others, default=0),
    }
    with open(f"{bench.directory}/results.json", "w") as file:
        json.dump({"machine": machine, "rows": bench.rows}, file, indent=1)
    print(report(bench.rows, [system.name for system in compared]))
    print(
        f"\n{machine['cores']} cores ({machine['cpu']}), Linux {machine['kernel']}, HAProxy {machine['haproxy']}; median "
        f"(least–most) of {options.rounds} rounds; other processes took {machine['other_cores_median']:.2f} cores in the "
        f"median step, {machine['other_cores_max']:.2f} in the worst. Rows as JSON: {bench.directory}/results.json"
    )


if __name__ == "__main__":
    main()
