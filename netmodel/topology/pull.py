"""pull_policy of a service: when its image is fetched from a registry.

Source: docs.docker.com, Compose file reference, "pull_policy".
"""

from __future__ import annotations

import re

from netmodel.project import Pull
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.value import Fields

_POLICIES: dict[str, Pull] = {
    "missing": Pull(),
    "if_not_present": Pull(),
    "always": Pull(when="always"),
    "never": Pull(when="never"),
    "daily": Pull(older_than_s=86_400),
    "weekly": Pull(older_than_s=7 * 86_400),
}
_SECONDS = {"w": 7 * 86_400, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_EVERY = re.compile(r"every_((?:\d+[wdhms])+)")


def read(fields: Fields) -> Pull:
    return fields.parsed("pull_policy", _policy) or Pull()


class _Unknown(ValueError):
    def __init__(self, text: str) -> None:
        super().__init__(f'unknown pull policy "{text}"')
        self.hint = did_you_mean(text, _POLICIES) or "use always, missing, never, daily, weekly or every_12h"


class _Builds(ValueError):
    hint = "build the image first, and write missing or never"

    def __init__(self) -> None:
        super().__init__('pull policy "build" is not supported: images are not built here')


def _policy(text: str) -> Pull:
    if text == "build":
        raise _Builds
    if text in _POLICIES:
        return _POLICIES[text]
    every = _EVERY.fullmatch(text)
    if every is None:
        raise _Unknown(text)
    parts = re.findall(r"(\d+)([wdhms])", every[1])
    return Pull(older_than_s=sum(int(count) * _SECONDS[unit] for count, unit in parts))
