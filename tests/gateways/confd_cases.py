"""confd, whose backend is etcd's Go client, writes files from the keys of a quorum and keeps them.

CONFD names the program. Starts quorums of its own: plain, with users, and with certificates.
"""

import os
import subprocess
import tempfile

from nodes import COMMAND_MAX_SECONDS, Quorum, make_certificates, wait_until

ROOT_PASSWORD = "root-password"
READER_PASSWORD = "reader-password"

RESOURCE = """[template]
src = "app.tmpl"
dest = "{file}"
keys = ["/app/name", "/app/upstream"]
"""
TEMPLATE = """name={{getv "/app/name"}}
{{range gets "/app/upstream/*"}}server {{base .Key}} {{.Value}}
{{end}}"""


class Confd:
    """A configuration of confd with one template, against the nodes of a quorum."""

    def __init__(self, quorum, directory, flags=()):
        self.directory = tempfile.mkdtemp(dir=directory)
        self.file = os.path.join(self.directory, "app.conf")
        self.log = os.path.join(self.directory, "confd.log")
        self.flags = list(flags)
        self.nodes = quorum.endpoints()
        for folder, name, text in (
                ("conf.d", "app.toml", RESOURCE.format(file=self.file)),
                ("templates", "app.tmpl", TEMPLATE)):
            os.mkdir(os.path.join(self.directory, folder))
            with open(os.path.join(self.directory, folder, name), "w", encoding="utf-8") as file:
                file.write(text)

    def arguments(self, mode):
        nodes = [word for node in self.nodes for word in ("-node", node)]
        return [os.environ["CONFD"], mode, "-backend", "etcdv3", "-confdir", self.directory,
                "-log-level", "debug", *nodes, *self.flags]

    def once(self):
        """Runs confd once; true if it succeeded."""
        with open(self.log, "ab") as log:
            return subprocess.run(self.arguments("-onetime"), stdout=log, stderr=log,
                                  timeout=COMMAND_MAX_SECONDS, check=False).returncode == 0

    def watch(self):
        """Starts confd, which then follows changes until it is ended."""
        with open(self.log, "ab") as log:
            return subprocess.Popen(self.arguments("-watch"), stdout=log, stderr=log)

    def written(self):
        """The text of the file, or none when there is no file."""
        try:
            with open(self.file, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def logged(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def wait_for(self, what, text):
        try:
            wait_until(what, lambda: self.written() == text)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.written()!r}\n{self.logged()}") from error


class Following:
    """A confd that follows changes for the length of a block."""

    def __init__(self, confd):
        self.confd = confd

    def __enter__(self):
        self.process = self.confd.watch()
        return self.confd

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(COMMAND_MAX_SECONDS)


def app(name, *servers):
    """What the template makes of these keys."""
    return "".join([f"name={name}\n"] + [f"server {key} {value}\n" for key, value in servers])


def fill(quorum):
    quorum.put("/app/name", "shop")
    quorum.put("/app/upstream/a", "10.0.0.1")
    quorum.put("/application", "is no key below /app")


def writes_once(quorum, directory):
    confd = Confd(quorum, directory)
    assert confd.once(), confd.logged()
    assert confd.written() == app("shop", ("a", "10.0.0.1")), confd.written()


def follows_changes_over_a_killed_leader(quorum, directory):
    with Following(Confd(quorum, directory)) as confd:
        confd.wait_for("the first file", app("shop", ("a", "10.0.0.1")))
        quorum.put("/app/upstream/b", "10.0.0.2")
        confd.wait_for("a key more", app("shop", ("a", "10.0.0.1"), ("b", "10.0.0.2")))
        killed = quorum.kill_leader()
        quorum.put("/app/name", "store")
        confd.wait_for("a change under a new leader",
                       app("store", ("a", "10.0.0.1"), ("b", "10.0.0.2")))
        quorum.start(killed)
        wait_until("the killed node serves", quorum.is_healthy)
        # The other members may have to go to the one that was killed.
        quorum.kill_leader()
        wait_until("a key is deleted", lambda: quorum.ctl("del", "/app/upstream/a"))
        confd.wait_for("a deleted key", app("store", ("b", "10.0.0.2")))


def reads_as_a_user(quorum, directory):
    quorum.enable_users(ROOT_PASSWORD, {
        "reader": (READER_PASSWORD, "read", "/app/"),
        "stranger": (READER_PASSWORD, "read", "/other/")})

    def confd_of(name, password):
        return Confd(quorum, directory,
                     ["-basic-auth", "-username", name, "-password", password])

    for confd, why in (
            (Confd(quorum, directory), "user name is empty"),
            (confd_of("reader", "wrong"), "authentication failed"),
            (confd_of("stranger", READER_PASSWORD), "permission denied")):
        assert not confd.once(), f"read in spite of: {why}"
        assert why in confd.logged(), confd.logged()
        assert confd.written() is None
    with Following(confd_of("reader", READER_PASSWORD)) as confd:
        confd.wait_for("the first file of a user", app("shop", ("a", "10.0.0.1")))
        quorum.kill_leader()
        quorum.put("/app/name", "store")
        confd.wait_for("a change, seen by a user", app("store", ("a", "10.0.0.1")))


def reads_with_a_certificate(quorum, directory):
    authority = ["-client-ca-keys", quorum.certificate("ca.pem")]
    shown = ["-client-cert", quorum.certificate("client.pem"),
             "-client-key", quorum.certificate("client-key.pem")]
    confd = Confd(quorum, directory, authority)
    assert not confd.once(), "read without a certificate"
    assert confd.written() is None
    with Following(Confd(quorum, directory, authority + shown)) as confd:
        confd.wait_for("the first file over TLS", app("shop", ("a", "10.0.0.1")))
        quorum.kill_leader()
        quorum.put("/app/name", "store")
        confd.wait_for("a change over TLS", app("store", ("a", "10.0.0.1")))


def is_root_by_its_certificate(quorum, directory):
    """The common name of the certificate is the user, as long as no password is given."""
    quorum.enable_users(ROOT_PASSWORD, {"stranger": (READER_PASSWORD, "read", "/other/")})
    flags = ["-client-ca-keys", quorum.certificate("ca.pem"),
             "-client-cert", quorum.certificate("client.pem"),
             "-client-key", quorum.certificate("client-key.pem")]
    confd = Confd(quorum, directory, flags)
    assert confd.once(), confd.logged()
    assert confd.written() is not None
    confd = Confd(quorum, directory, flags + [
        "-basic-auth", "-username", "stranger", "-password", READER_PASSWORD])
    assert not confd.once(), "the certificate counted in spite of a password"
    assert "permission denied" in confd.logged(), confd.logged()


CASES = (
    (False, (writes_once, follows_changes_over_a_killed_leader)),
    (False, (reads_as_a_user,)),
    (True, (reads_with_a_certificate,)),
    (True, (is_root_by_its_certificate,)),
)


def main():
    for secure, cases in CASES:
        with tempfile.TemporaryDirectory() as directory:
            certificates = None
            if secure:
                certificates = make_certificates(os.path.join(directory, "tls"))
            with Quorum(directory, certificates) as quorum:
                fill(quorum)
                for case in cases:
                    case(quorum, directory)
                    print("confd", case.__name__.replace("_", " "), flush=True)


main()
