"""Signature version 4, checked on the request as it came. moto checks what it parsed, and refuses good signatures
of the services that speak REST. Only asked while IAM is enforced."""

import hashlib
import hmac
import threading
from urllib.parse import quote

from moto.iam.access_control import IAMRequestBase

current = threading.local()


def remember(environ, body):
    current.environ, current.body = environ, body


def _header(environ, name):
    key = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}.get(name)
    return environ.get(key or "HTTP_" + name.upper().replace("-", "_"), "")


def expected(environ, body, secret):
    """The signature that a request with this secret has."""
    fields = dict(part.strip().split("=", 1) for part in _header(environ, "authorization").split(" ", 1)[1].split(","))
    scope = fields["Credential"].split("/", 1)[1]
    date, region, service, _ = scope.split("/")
    path, _, query = environ.get("RAW_URI", environ.get("REQUEST_URI", "/")).partition("?")
    names = fields["SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            environ["REQUEST_METHOD"],
            path if service == "s3" else quote(path, safe="/-_.~"),
            "&".join(sorted(pair if "=" in pair else pair + "=" for pair in query.split("&") if pair)),
            *(f"{name}:{' '.join(_header(environ, name).split())}" for name in names),
            "",
            fields["SignedHeaders"],
            _header(environ, "x-amz-content-sha256") or hashlib.sha256(body).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", _header(environ, "x-amz-date"), scope, digest])
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex(), fields["Signature"]


def check_signature(self):
    wanted, given = expected(current.environ, current.body, self._access_key.create_credentials().secret_key)
    if not hmac.compare_digest(wanted, given):
        self._raise_signature_does_not_match()


def install():
    IAMRequestBase.check_signature = check_signature
