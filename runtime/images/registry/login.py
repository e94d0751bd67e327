"""Finding out whether a registry takes a name and a password.

Source: OCI distribution-spec spec.md, "Determining Support"; distribution/distribution docs/spec/auth.
"""

from __future__ import annotations

from runtime.images.registry.auth import Authorizer, Credentials
from runtime.images.registry.client import OFFICIAL
from runtime.images.registry.errors import NotAuthorized, RegistryFailed
from runtime.images.registry.transport import Transport

_IN = "in"


def login(transport: Transport, domain: str, credentials: Credentials) -> None:
    """Returns if it takes them; one that is open to everybody takes all.

    Args:
        domain: As in a reference.

    Raises:
        NotAuthorized, RegistryFailed.
    """
    host = OFFICIAL.get(domain, domain)
    authorizer = Authorizer(transport, host, credentials)
    url = f"{transport.scheme(host)}://{host}/v2/"
    for asked in (False, True):
        authorization = authorizer.header("")
        headers = {"Authorization": authorization} if authorization else {}
        with transport.request("GET", url, headers) as response:
            status, challenge = response.status, response.headers.get("www-authenticate", "")
        if status == 200:
            return
        if status not in (401, 403):
            raise RegistryFailed(host, f"it answers HTTP {status} to who asks for /v2/", again=status >= 500)
        if asked or status == 403:
            break
        authorizer.challenged(challenge, "", _IN)
    raise NotAuthorized(host, _IN, "name or password are wrong")
