"""A quorum of three nodes on loopback, which a run of cases starts, damages and ends.

Knows no flag that etcd lacks, so the same cases can be run against etcd: TENURED and TENURECTL name
the programs. Ports are chosen by the system.
"""

import json
import os
import signal
import socket
import subprocess
import time

# Longest that a quorum, or a state that a case waits for, may take. A busy machine needs seconds.
REACHED_MAX_SECONDS = 60
# Longest that a command may take.
COMMAND_MAX_SECONDS = 30
# Time between two looks at a state.
LOOK_SECONDS = 0.05

LOOPBACK = "127.0.0.1"


def wait_until(what, state):
    """Waits until a state is true, and returns it. Errors of a command count as not yet."""
    end = time.monotonic() + REACHED_MAX_SECONDS
    while True:
        try:
            found, seen = state(), None
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            found, seen = None, error
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not reached: {what} ({seen or found})")
        time.sleep(LOOK_SECONDS)


def free_ports(count):
    """Ports of loopback that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for it in sockets:
        it.bind((LOOPBACK, 0))
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


class Quorum:
    """Three nodes. With `certificates`, a directory of dev-certs.sh, clients must show one."""

    def __init__(self, directory, certificates=None, flags=()):
        self.directory = directory
        self.certificates = certificates
        self.flags = list(flags)
        self.program = os.environ["TENURED"]
        self.command_line = os.environ["TENURECTL"]
        self.scheme = "https" if certificates else "http"
        ports = free_ports(6)
        self.clients, self.peers = ports[:3], ports[3:]
        self.processes = [None] * 3
        self.user = None

    def __enter__(self):
        try:
            for index in range(3):
                self.start(index)
            wait_until("three nodes are healthy", self.is_healthy)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def url(self, port):
        return f"{self.scheme}://{LOOPBACK}:{port}"

    def endpoints(self):
        """The client URLs of all nodes, dead ones included."""
        return [self.url(port) for port in self.clients]

    def certificate(self, name):
        return os.path.join(self.certificates, name)

    def start(self, index):
        """Starts one node, on the data that it has."""
        members = ",".join(f"m{i}=http://{LOOPBACK}:{self.peers[i]}" for i in range(3))
        client = self.url(self.clients[index])
        peer = f"http://{LOOPBACK}:{self.peers[index]}"
        arguments = [
            self.program,
            "--name", f"m{index}",
            "--data-dir", os.path.join(self.directory, f"m{index}"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", members,
            "--initial-cluster-state", "new",
        ]
        if self.certificates:
            arguments += [
                "--cert-file", self.certificate("node.pem"),
                "--key-file", self.certificate("node-key.pem"),
                "--client-cert-auth",
                "--trusted-ca-file", self.certificate("ca.pem"),
            ]
        with open(os.path.join(self.directory, f"m{index}.log"), "ab") as log:
            self.processes[index] = subprocess.Popen(
                arguments + self.flags, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ctl(self, *words, stdin=None, endpoints=None):
        """What the command line prints; its failure is an error."""
        arguments = [self.command_line, "--endpoints", ",".join(endpoints or self.endpoints())]
        if self.certificates:
            arguments += ["--cacert", self.certificate("ca.pem")]
            arguments += ["--cert", self.certificate("client.pem")]
            arguments += ["--key", self.certificate("client-key.pem")]
        if self.user:
            arguments += ["--user", self.user]
        # The log of the client goes to standard error, and is wanted only with a failure.
        done = subprocess.run(
            arguments + list(words), input=stdin, capture_output=True, text=True,
            timeout=COMMAND_MAX_SECONDS, env={**os.environ, "ETCDCTL_API": "3"}, check=False)
        assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def is_healthy(self):
        """Whether every node serves."""
        self.ctl("endpoint", "health")
        return True

    def put(self, key, value):
        """Writes once a node takes it: there may be no leader yet."""
        wait_until(f"{key} is written", lambda: self.ctl("put", "--", key, value))

    def enable_users(self, password, others):
        """Lets only users in: root, and others as `name -> (password, kind, prefix)`."""
        self.ctl("user", "add", f"root:{password}")
        self.ctl("user", "grant-role", "root", "root")
        for name, (secret, kind, prefix) in others.items():
            self.ctl("user", "add", f"{name}:{secret}")
            self.ctl("role", "add", name)
            self.ctl("role", "grant-permission", "--prefix=true", name, kind, prefix)
            self.ctl("user", "grant-role", name, name)
        self.ctl("auth", "enable")
        self.user = f"root:{password}"

    def leader(self):
        """The index of the node that leads."""
        for index, process in enumerate(self.processes):
            if process is None:
                continue
            told = self.ctl("endpoint", "status", "-w", "json",
                            endpoints=[self.url(self.clients[index])])
            status = json.loads(told)[0]["Status"]
            if status["leader"] == status["header"]["member_id"]:
                return index
        raise AssertionError("no node leads")

    def kill_leader(self):
        """Kills the leader as the kernel does it, and returns its index."""
        index = wait_until("a node leads", lambda: self.leader() + 1) - 1
        self.processes[index].send_signal(signal.SIGKILL)
        self.processes[index].wait()
        self.processes[index] = None
        return index

    def stop(self):
        running = [it for it in self.processes if it is not None]
        for it in running:
            it.terminate()
        for it in running:
            try:
                it.wait(COMMAND_MAX_SECONDS)
            except subprocess.TimeoutExpired:
                it.kill()
                it.wait()
        self.processes = [None] * 3


def make_certificates(directory):
    """An authority with certificates for nodes and for a client named root."""
    script = os.path.join(os.path.dirname(__file__), "../../deploy/tls/dev-certs.sh")
    subprocess.run(["sh", script, directory], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return directory
