"""The engine itself: ping, version, info, status, doctor, shutdown."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from netmodel import __version__
from netmodel.daemon.answers import API_VERSION, HOST, MIN_API_VERSION, SHUTDOWN, to_json
from netmodel.daemon.calls import ENGINE, call, call_long
from netmodel.daemon.wire.encode import moment

_STORAGE = {"overlay": "overlayfs"}  # Docker's name
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # Go's names


async def ping(request: web.Request) -> web.Response:
    headers = {"Cache-Control": "no-cache, no-store, must-revalidate", "Builder-Version": "1", "Swarm": "inactive"}
    return web.Response(text="OK", headers=headers)


async def version(request: web.Request) -> web.Response:
    kernel, arch = platform.release(), _arch()
    details = {
        "ApiVersion": API_VERSION,
        "Arch": arch,
        "KernelVersion": kernel,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "PythonVersion": platform.python_version(),
    }
    return to_json(
        {
            "Platform": {"Name": "netmodel"},
            "Components": [{"Name": "Engine", "Version": __version__, "Details": details}],
            "Version": __version__,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": arch,
            "KernelVersion": kernel,
            "BuildTime": "",
        }
    )


async def info(request: web.Request) -> web.Response:
    known = await call(request, request.app[ENGINE].info)
    return to_json(
        {
            "ID": known.id,
            "Containers": known.containers,
            "ContainersRunning": known.containers_running,
            "ContainersPaused": known.containers_paused,
            "ContainersStopped": known.containers_stopped,
            "Images": known.images,
            "Driver": _STORAGE.get(known.storage_driver, known.storage_driver),
            "DriverStatus": [],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file", "local", "none"],
            },
            "MemoryLimit": True,
            "SwapLimit": True,
            "CpuCfsPeriod": True,
            "CpuCfsQuota": True,
            "CPUShares": True,
            "CPUSet": False,
            "PidsLimit": True,
            "IPv4Forwarding": known.forwards,
            "Debug": False,
            "OomKillDisable": False,
            "NGoroutines": 0,
            "SystemTime": moment(datetime.now(UTC)),
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": known.cgroup_version.removeprefix("v"),
            "NEventsListener": 0,
            "KernelVersion": known.kernel,
            "OperatingSystem": _operating_system(),
            "OSVersion": "",
            "OSType": "linux",
            "Architecture": platform.machine(),
            "IndexServerAddress": "",
            "RegistryConfig": None,
            "NCPU": known.cpus,
            "MemTotal": known.memory_bytes,
            "GenericResources": None,
            "DockerRootDir": str(known.root),
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": platform.node(),
            "Labels": [],
            "ExperimentalBuild": False,
            "ServerVersion": known.version,
            "Runtimes": {"netmodel": {"path": sys.executable}},
            "DefaultRuntime": "netmodel",
            "Swarm": {"LocalNodeState": "inactive"},
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "",
            "SecurityOptions": [
                *(["name=apparmor"] if known.apparmor else []),
                "name=seccomp,profile=builtin",
                "name=cgroupns",
                "name=userns",
            ],
            "DefaultAddressPools": [
                {"Base": pool["base"], "Size": pool["size"]} for pool in known.settings.get("default-address-pools", ())
            ],
            "CDISpecDirs": list(known.cdi_directories),
            "DiscoveredDevices": [{"Source": "cdi", "ID": name} for name in known.cdi_devices],
            "FirewallBackend": {"Driver": "nftables"},
            "Netmodel": {"Settings": known.settings},
            "Warnings": list(known.warnings),
        }
    )


async def status(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    answer: dict[str, Any] = {
        "pid": os.getpid(),
        "root": str(engine.root),
        "host": request.app[HOST],
        "version": __version__,
        "spawner_pid": engine.spawner_pid,
        "settings": engine.settings,
    }
    return to_json(answer)


async def doctor(request: web.Request) -> web.Response:
    from netmodel.doctor import examine  # probes the kernel; nobody else needs it

    return to_json(await call_long(examine, request.app[ENGINE].root))


async def shutdown(request: web.Request) -> web.Response:
    """End the engine once this answer is sent; containers run on."""
    request.app[SHUTDOWN]()
    return to_json({"pid": os.getpid()})


def _arch() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


ROUTES = (
    ("GET", "/_ping", ping),
    ("HEAD", "/_ping", ping),
    ("GET", "/version", version),
    ("GET", "/info", info),
    ("GET", "/netmodel/status", status),
    ("GET", "/netmodel/doctor", doctor),
    ("POST", "/netmodel/shutdown", shutdown),
)
