"""Security groups: rules of protocols without ports, and requests that are refused as a whole."""

import functools

from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses.security_groups import SecurityGroups


def _ports_optional(init):
    """moto answers a rule such as `protocol 4` (no ports) with a traceback."""

    @functools.wraps(init)
    def wrapped(self, ec2_backend, ip_protocol, group_id, from_port, to_port, *args, **kwargs):
        from_port = -1 if from_port is None else from_port
        to_port = -1 if to_port is None else to_port
        init(self, ec2_backend, ip_protocol, group_id, from_port, to_port, *args, **kwargs)

    return wrapped


def _all_or_nothing(method):
    """moto keeps the new rules of a request that it refuses for another rule."""

    @functools.wraps(method)
    def wrapped(self):
        group = self.ec2_backend.get_security_group_from_id(self._get_param("GroupId") or "")
        before = group and (list(group.ingress_rules), list(group.egress_rules))
        try:
            return method(self)
        except Exception:
            if group:
                group.ingress_rules, group.egress_rules = before
            raise

    return wrapped


def install():
    SecurityGroupRule.__init__ = _ports_optional(SecurityGroupRule.__init__)
    for name in ("authorize_security_group_ingress", "authorize_security_group_egress"):
        setattr(SecurityGroups, name, _all_or_nothing(getattr(SecurityGroups, name)))
