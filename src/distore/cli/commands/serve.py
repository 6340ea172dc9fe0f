"""``dist serve``: an OCI registry over the store."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from distore.cli import flags
from distore.errors import DistoreError, InvalidArgument, Unimplemented

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from distore.app import App
    from distore.cli.output import Output
    from distore.config import Config
    from distore.registry.metrics import Metrics
    from distore.registry.server.configuration import Configuration
    from distore.registry.server.supervisor import Job
    from distore.registry.settings import ServeSettings

SUMMARY = "serve the store as an OCI registry: push, pull, cache, web page"
EXAMPLES = (
    "dist serve                                        # on 127.0.0.1:5000",
    "dist serve --listen 127.0.0.1:0 --json            # a free port, told on standard output",
    "dist serve --listen :5000 --listen unix:/run/dist.sock --workers 2",
    "dist serve --config /etc/dist/serve.toml --access-log /var/log/dist/access.log",
    "dist serve --listen :443 --tls-cert cert.pem --tls-key key.pem --htpasswd users",
    "kill -HUP PID                                     # read the configuration again; nobody is cut off",
)

_VARIABLE: Final = "DIST_SERVE_"
# The flag's name -> the key of the configuration file. Every one has a variable, too.
_KEYS: Final[Mapping[str, str]] = {
    "listen": "listen",
    "workers": "workers",
    "grace": "grace",
    "access_log": "log.access",
    "tls_cert": "tls.certificate",
    "tls_key": "tls.key",
    "htpasswd": "auth.htpasswd",
    "anonymous": "auth.anonymous",
}
_PATHS: Final = ("access_log", "tls_cert", "tls_key", "htpasswd")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        action="append",
        metavar="ADDRESS",
        help="HOST:PORT, [V6]:PORT or unix:PATH; may be given again (default: 127.0.0.1:5000)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="settings (TOML), see docs/serve.md (default: $DIST_SERVE_CONFIG)"
    )
    parser.add_argument(
        "--check-config", action="store_true", help="say who may do what by the settings, and serve nothing"
    )
    parser.add_argument("--workers", type=flags.count, metavar="N", help="processes that answer (default: 1)")
    parser.add_argument(
        "--grace", metavar="D", help="how long what is under way gets at the end, such as 90s (default: 30s)"
    )
    parser.add_argument(
        "--access-log",
        metavar="FILE",
        help="one JSON line for each request; - is standard output (default: off)",
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="speak TLS with this certificate chain (PEM)")
    parser.add_argument(
        "--tls-key", metavar="FILE", help="the key of the certificate, if it has its own file"
    )
    parser.add_argument("--htpasswd", metavar="FILE", help="who may use it: names and bcrypt hashes")
    parser.add_argument(
        "--anonymous", metavar="ACTION", help="what everybody may do without a name: pull, or nothing"
    )


def config(config: Config, args: argparse.Namespace) -> Config:
    """Registries behind the cache are reached as the environment says."""
    args.plain_http = args.skip_verify = False
    args.hosts_dir = args.ca = args.authfile = None
    args.min_speed = 1024
    return flags.registry_config(config, args)


def run(args: argparse.Namespace, app: App, out: Output) -> None:
    from importlib.util import find_spec

    from distore.registry.server.configuration import read
    from distore.registry.server.supervisor import Supervisor

    if find_spec("aiohttp") is None:
        raise Unimplemented("dist serve: needs aiohttp; pip install 'distore[server]' brings it")
    out.goes_on = True
    path = args.config or os.environ.get(f"{_VARIABLE}CONFIG") or None
    changed = overrides(args)
    if args.check_config:
        tell(read(path, changed), out)
        return
    latest: list[Configuration] = []  # of what comes to serve nothing else is read before it does

    def read_again() -> Configuration:
        latest[:] = [read(path, changed)]
        return latest[0]

    def listening(addresses: list[str], tls: bool) -> None:
        _warn(latest[0], addresses, out)
        announce(out, addresses, "https" if tls else "http")

    supervisor = Supervisor(
        read=read_again,
        load=app.load_server,
        work=lambda job: _work(job, app, out, debug=args.debug),
        listening=listening,
        say=out.note,
    )
    out.status = supervisor.run()


def tell(configuration: Configuration, out: Output) -> None:
    """Say what the configuration means."""
    import time

    from distore.registry.gatewords import describe
    from distore.registry.server.certificates import Certificates

    if (tls := configuration.server.tls) is not None:
        Certificates(tls, monotonic=time.monotonic, say=out.note)
        out.record(f"tls: {tls.certificate}", event="tls", certificate=tls.certificate)
    for line in describe(configuration.serve.auth):
        out.record(line, event="auth", rule=line)


def _warn(configuration: Configuration, addresses: list[str], out: Output) -> None:
    """Say so when everybody may write from afar; the sockets may be systemd's, and not of the settings."""
    from distore.registry.gatewords import exposed

    hosts = [where.rpartition(":")[0] for where in addresses if not where.startswith("unix:")]
    if (warning := exposed(configuration.serve.auth, hosts)) is not None:
        out.note(f"dist: {warning}")


def _work(job: Job, app: App, out: Output, *, debug: bool) -> int:
    """Be a worker; what ends one is told in a line, as by every verb."""
    from distore.registry.server.worker import Serving, work

    @contextmanager
    def serving(settings: ServeSettings, metrics: Metrics) -> Iterator[Serving]:
        with app.serving(settings, metrics) as composed:
            yield Serving(composed.service, app.check_ready)

    try:
        return work(job, serving=serving, say=out.note)
    except DistoreError as error:
        out.error(error)
        return out.status
    except Exception as error:  # noqa: BLE001 - the last line of defence, as in main
        if debug:
            import traceback

            traceback.print_exc()
        out.note(f"dist: internal error: {type(error).__name__}: {error}; run with --debug and report it")
        return 70
    finally:
        app.close()


def announce(out: Output, addresses: list[str], scheme: str) -> None:
    """Say where it listens."""
    urls = [where if where.startswith("unix:") else f"{scheme}://{where}/" for where in addresses]
    out.note(f"dist: listening on {', '.join(urls)}")
    if out.as_json:
        with out.unheard():
            out.record("", event="listening", addresses=addresses, urls=urls)
            out.flush()


def overrides(args: argparse.Namespace) -> dict[str, object]:
    """What flags and environment say, flags first, by key of the configuration file.

    Raises:
        InvalidArgument: A variable has no value that could be one.
    """
    found: dict[str, object] = {}
    for name, key in _KEYS.items():
        value: object = getattr(args, name)
        if value is None:
            value = _of_environment(name)
        if value is None:
            continue
        is_path = name in _PATHS and value not in ("-", "off")
        found[key] = os.path.abspath(os.path.expanduser(str(value))) if is_path else value
    return found


def _of_environment(name: str) -> object:
    variable = f"{_VARIABLE}{name.upper()}"
    text = os.environ.get(variable)
    if not text:
        return None
    if name == "listen":
        return text.replace(",", " ").split()
    if name == "workers":
        if not (text.isascii() and text.isdecimal() and len(text) < 4):
            raise InvalidArgument(f"{variable}={text[:40]!a}: want a number")
        return int(text)
    return text
