"""Starts moto for the lab: strict switches are in the environment, the patches that the lab needs are here.

usage: moto_server.py PORT

Each patch lives in a file of its own and says what moto does otherwise. `/lab/...` answers questions that
only the lab asks; AWS has no such paths.
"""

import io
import json
import sys
import traceback

import images  # first: it writes the list that moto reads at import

import addresses
import dependencies
import instances
import listings
import route53_patch
import security_groups
import signatures
from moto import settings
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

OWN = {
    ("GET", "/lab/world"): lambda body: listings.world(**body),
    ("GET", "/lab/account"): lambda body: listings.account(**body),
    ("POST", "/lab/seed"): lambda body: listings.seed(**body),
    ("POST", "/lab/further"): lambda body: listings.further(**body),
    ("POST", "/lab/iam-user"): lambda body: listings.iam_user(**body),
    ("POST", "/lab/stopped"): lambda body: instances.stopped_by_itself(**body),
}


class Lab:
    """moto's application with the lab's own paths in front."""

    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.moto.debug = True

    def __call__(self, environ, start_response):
        handler = OWN.get((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if handler is None:
            self.keep_for_signature(environ)
            try:
                return self.moto(environ, start_response)
            except Exception as error:  # what moto lacks: the proxy gives it a name of its own
                traceback.print_exc()
                text = f"{type(error).__name__}: {error}".replace("\n", " ")[:400]
                start_response("501 Not Implemented", [("X-Lab-Gap", text.encode("latin-1", "replace").decode("latin-1"))])
                return [b""]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = json.loads(environ["wsgi.input"].read(length) or b"{}")
        try:
            status, answer = "200 OK", handler(body)
        except Exception as error:  # the lab shows it; a traceback page would hide it
            status, answer = "500 Internal Server Error", {"error": f"{type(error).__name__}: {error}"}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def keep_for_signature(self, environ):
        """A body can be read once; the signature needs it as well."""
        if settings.INITIAL_NO_AUTH_ACTION_COUNT < 1e9:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            signatures.remember(environ, body)


if __name__ == "__main__":
    for patch in (images, addresses, instances, dependencies, security_groups, route53_patch, signatures):
        patch.install()
    run_simple("127.0.0.1", int(sys.argv[1]), Lab(), threaded=True, request_handler=MotoRequestHandler)
