"""``nethical serve``: the pages, for browsers on this machine or behind a proxy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import add_audit_flags, add_drift_dir, add_storage_flag
from nethical.errors import StorageError, UsageError

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console
    from nethical.web.security import Door

__all__ = ["add_parser"]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8321
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - to be recognised, and warned of
LARGEST_PORT = 65_535
KEPT_ALIVE_S = 15
STOPPING_S = 10
WAITING = 2048


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command."""
    serve = commands.add_parser(
        "serve", help="the pages: runs, models, drift, configurations, review"
    )
    serve.set_defaults(run=run)
    serve.add_argument(
        "--host", default=DEFAULT_HOST, metavar="ADDRESS", help="default: %(default)s"
    )
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which browsers reach it, beside localhost (repeatable)",
    )
    serve.add_argument(
        "--certificate", type=Path, metavar="FILE", help="serve https with this certificate"
    )
    serve.add_argument("--certificate-key", type=Path, metavar="FILE", help="its private key")
    serve.add_argument(
        "--behind-proxy",
        action="store_true",
        help="a proxy on this machine ends https, and tells whom it serves",
    )
    serve.add_argument("--models-dir", type=Path, default=Path("models"), help="default: models")
    serve.add_argument(
        "--key",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a public key to believe (repeatable)",
    )
    add_drift_dir(serve)
    add_storage_flag(serve)
    add_audit_flags(serve)


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve the pages until it is interrupted."""
    if not 0 <= args.port <= LARGEST_PORT:
        raise UsageError(f"there is no port {args.port}", mend=f"give 0 to {LARGEST_PORT:,}")
    if (args.certificate is None) != (args.certificate_key is None):
        raise UsageError(
            "a certificate goes with its key", mend="pass --certificate and --certificate-key"
        )
    try:
        import uvicorn

        from nethical.web.app import create_app
    except ModuleNotFoundError as error:
        if str(error.name).startswith("nethical"):
            raise
        raise UsageError(
            f"the pages need the extra [web], which is not installed: {error}",
            mend="pip install 'nethical[web]'",
        ) from error
    door = _door(args, console)
    app = create_app(_desk(args, console), door)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=args.behind_proxy,
        forwarded_allow_ips="127.0.0.1,::1",
        timeout_keep_alive=KEPT_ALIVE_S,
        timeout_graceful_shutdown=STOPPING_S,
        ssl_certfile=args.certificate,
        ssl_keyfile=args.certificate_key,
        ws="none",
    )
    _listen(uvicorn.Server(config), args, door, console)
    return 0


def _door(args: argparse.Namespace, console: Console) -> Door:
    """Return by which names the pages are reached, and warn where others could reach them."""
    from nethical.web.security import Door

    given = args.allowed_host + [args.host] * (args.host not in LOOPBACK | EVERYWHERE)
    hosts = {_as_asked_for(name) for name in given}
    for name in hosts:
        if not Door(frozenset({name})).knows(name):
            raise UsageError(
                f"no browser asks for the host {name}",
                mend="name it as it stands between // and / in an address, without a port",
            )
    is_https = args.certificate is not None or args.behind_proxy
    if args.host not in LOOPBACK:
        how = "by https" if is_https else "without https: passwords can be read on the way"
        console.warn(f"{args.host} is more than this machine: others reach the pages, {how}")
        if not hosts:
            console.warn("only localhost is answered; name the host with --allowed-host NAME")
    return Door(frozenset(hosts), is_https)


def _as_asked_for(name: str) -> str:
    """Return a name as browsers send it: addresses of IPv6 in brackets, without a port."""
    bare = name.lower().removeprefix("[").removesuffix("]")
    return f"[{bare}]" if bare.count(":") > 1 else name.lower()


def _desk(args: argparse.Namespace, console: Console) -> Any:  # noqa: ANN401 - a Desk, of the extra
    from datetime import UTC, datetime

    from nethical.keys import Keys, default_home
    from nethical.web.desk import Desk, Places

    places = Places(
        args.models_dir,
        Path(args.drift_report_dir),
        Path(args.audit_path),
        args.phase89_storage,
        is_audited=getattr(args, "enable_audit", False),
    )
    keys = Keys(default_home(), believed=args.key)
    desk = Desk(places, keys, lambda: datetime.now(UTC))
    desk.store.check()
    if not desk.people.listed():
        console.warn("nobody can sign in yet: run `nethical review users add NAME --role admin`")
    if not places.is_audited:
        console.info("What people do here is not logged; --enable-audit logs it")
    return desk


def _listen(server: Any, args: argparse.Namespace, door: Door, console: Console) -> None:  # noqa: ANN401 - of uvicorn
    """Bind, say where, and serve."""
    import socket

    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    # Only a socket that says it speaks TCP is told by asyncio not to wait with small packets,
    # which would make each answer take 40 ms.
    listener = socket.socket(family, proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((args.host, args.port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise StorageError(
            f"cannot listen at {args.host} port {args.port}: {error.strerror or error}",
            mend="name another one with --host or --port",
        ) from error
    port = listener.getsockname()[1]
    shown = f"[{args.host}]" if ":" in args.host else args.host
    scheme = "https" if door.is_https and not args.behind_proxy else "http"
    console.info(f"Serving the pages at {scheme}://{shown}:{port} until interrupted (Ctrl+C)")
    console.flush()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # how a server ends
        console.info("Stopped")
