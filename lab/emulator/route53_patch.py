"""Route 53 as documented. moto checks changes against a journal of past requests instead of the records, applies
half of a refused batch, answers INSYNC for any change id, and lists zones by exact name only."""

import os
import random
import string
import threading
import time

import route53_rules as rules
from moto.core.responses import ActionResult
from moto.route53.exceptions import Route53ClientError
from moto.route53.models import RecordSet, Route53Backend, reverse_domain_name
from moto.route53.responses import Route53

SECONDS_PENDING = float(os.environ.get("LAB_ROUTE53_PENDING", "1"))
_changes = {}
_lock = threading.RLock()


def plain(record_set):
    """A record set of moto's as the rules want it."""
    fields = {
        "Name": record_set.name,
        "Type": record_set.type,
        "TTL": record_set.ttl,
        "ResourceRecords": record_set.records,
        "SetIdentifier": record_set.set_identifier,
        "Weight": record_set.weight,
        "Region": record_set.region,
        "Failover": record_set.failover,
        "GeoLocation": record_set.geo_location,
        "MultiValueAnswer": record_set.multi_value_answer,
        "HealthCheckId": record_set.health_check_id,
        "AliasTarget": record_set.alias_target,
    }
    return rules.clean({name: value for name, value in fields.items() if value not in (None, "", [])})


def change_resource_record_sets(self, zoneid, change_list):
    zone = self.get_hosted_zone(zoneid)
    with _lock:
        try:
            after = rules.apply_batch(zone.name, [plain(found) for found in zone.rrsets], change_list)
        except rules.Refused as refused:
            raise Route53ClientError("InvalidChangeBatch", str(refused)) from None
        zone.rrsets = [RecordSet(record) for record in after]


def _new_change(result):
    """Gives an answer's ChangeInfo an id of its own, PENDING for a while."""
    number = "C" + "".join(random.choices(string.ascii_uppercase + string.digits, k=20))
    _changes[number] = (time.monotonic(), result["ChangeInfo"]["SubmittedAt"])
    result["ChangeInfo"].update(Id=f"/change/{number}", Status="PENDING")


def _with_change(method):
    def wrapped(self):
        answer = method(self)
        _new_change(answer.result)
        return answer

    return wrapped


def get_change(self):
    number = self._get_param("Id").removeprefix("/change/")
    if number not in _changes:
        raise Route53ClientError("NoSuchChange", f"A change with id {number} does not exist.")
    since, submitted = _changes[number]
    status = "PENDING" if time.monotonic() - since < SECONDS_PENDING else "INSYNC"
    return ActionResult({"ChangeInfo": {"Id": f"/change/{number}", "Status": status, "SubmittedAt": submitted}})


def _create_hosted_zone(original):
    def wrapped(self, name, private_zone, caller_reference=None, **kwargs):
        with _lock:
            if caller_reference and any(z.caller_reference == caller_reference for z in self.zones.values()):
                raise Route53ClientError(
                    "HostedZoneAlreadyExists", f"A hosted zone has already been created with the specified caller reference."
                )
            zone = original(self, name, private_zone, caller_reference=caller_reference, **kwargs)
            zone.rrsets = [RecordSet(plain(found)) for found in zone.rrsets]
            return zone

    return wrapped


def list_hosted_zones_by_name(self):
    """Zones in order of their reversed names, from the given one on."""
    start, start_id = self._get_param("DNSName"), self._get_param("HostedZoneId")
    limit = self._get_int_param("MaxItems", 100)
    zones = sorted(self.backend.zones.values(), key=lambda z: (reverse_domain_name(z.name), z.resource_id))
    if start:
        first = (reverse_domain_name(rules.canonical_name(start)), start_id or "")
        zones = [z for z in zones if (reverse_domain_name(z.name), z.resource_id if start_id else "") >= first]
    following = zones[limit] if len(zones) > limit else None
    return ActionResult(
        {
            "HostedZones": zones[:limit],
            "DNSName": start,
            "HostedZoneId": start_id,
            "IsTruncated": following is not None,
            "NextDNSName": following.name if following else None,
            "NextHostedZoneId": following.resource_id if following else None,
            "MaxItems": limit,
        }
    )


def install():
    Route53Backend.change_resource_record_sets = change_resource_record_sets
    Route53Backend.create_hosted_zone = _create_hosted_zone(Route53Backend.create_hosted_zone)
    for name in ("change_resource_record_sets", "create_hosted_zone", "delete_hosted_zone"):
        setattr(Route53, name, _with_change(getattr(Route53, name)))
    Route53.get_change = get_change
    Route53.list_hosted_zones_by_name = list_hosted_zones_by_name
