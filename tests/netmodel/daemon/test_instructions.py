"""Lines of a Dockerfile, as commit and import take them."""

from __future__ import annotations

from typing import Any

import pytest

from netmodel.daemon.wire.instructions import changes
from netmodel.errors import Invalid


@pytest.mark.parametrize(
    ("line", "member"),
    [
        ("CMD echo hi", {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        ('entrypoint ["sh", "-c"]', {"Entrypoint": ["sh", "-c"]}),
        ('ENV A=b C="d e"', {"Env": ["A=b", "C=d e"]}),
        ("ENV OLD all the rest", {"Env": ["OLD=all the rest"]}),
        ("LABEL k=v", {"Labels": {"k": "v"}}),
        ("EXPOSE 80 53/udp 8-9/sctp", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8/sctp": {}, "9/sctp": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("WORKDIR srv", {"WorkingDir": "/srv"}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        (
            "HEALTHCHECK --interval=1m30s --start-interval=500ms --retries=2 CMD curl -f localhost",
            {
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "curl -f localhost"],
                    "Interval": 90 * 10**9,
                    "StartInterval": 5 * 10**8,
                    "Retries": 2,
                }
            },
        ),
        ('HEALTHCHECK CMD ["true"]', {"Healthcheck": {"Test": ["CMD", "true"]}}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
    ],
)  # fmt: skip
def test_what_a_line_changes(line: str, member: dict[str, Any]) -> None:
    assert changes([line]) == member


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("RUN true", "is not known"),
        ("EXPOSE abc", "'abc' is no port"),
        ("EXPOSE 70000", "'70000' is no port"),
        ("EXPOSE 9-8/tcp", "is no port"),
        ("EXPOSE 80/icmp", "is no port"),
        ("HEALTHCHECK true", "names no command"),
        ("HEALTHCHECK --interval=soon CMD true", "no option of it"),
        ("HEALTHCHECK --retries=x CMD true", "no option of it"),
        ("LABEL k=v w", "no NAME=VALUE"),
        ("CMD [sh", "no list of words"),
    ],
)
def test_a_line_that_cannot_be(line: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        changes(["USER me", line])
