"""What ChangeResourceRecordSets does to the records of one zone, as AWS documents it. No moto in here.

A record is a dict as in the API: Name, Type, TTL, ResourceRecords (list of values), SetIdentifier, AliasTarget.
"""

import copy
import ipaddress

POLICIES = ("SetIdentifier", "Weight", "Region", "Failover", "GeoLocation", "MultiValueAnswer")


class Refused(Exception):
    """The whole batch is refused; the message lists every reason."""


def canonical_name(name):
    return name.lower().rstrip(".").replace("*", "\\052") + "."


def clean(record):
    """The record in one spelling: name in lower case with its dot, values as plain strings."""
    out = {key: value for key, value in copy.deepcopy(record).items() if value is not None}
    out["Name"] = canonical_name(out["Name"])
    values = out.pop("ResourceRecords", None) or []
    values = [item["Value"] if isinstance(item, dict) else item for item in values]
    if values:
        out["ResourceRecords"] = values
    return out


def key(record):
    return record["Name"], record["Type"], record.get("SetIdentifier")


def same(one, other):
    """An exact match, as DELETE wants it: values in any order, time to live, alias and policy."""
    if sorted(one.get("ResourceRecords", [])) != sorted(other.get("ResourceRecords", [])):
        return False
    if str(one.get("TTL")) != str(other.get("TTL")):
        return False
    return all(str(one.get(k)) == str(other.get(k)) for k in ("AliasTarget", *POLICIES))


def _label(record):
    extra = f", set-identifier='{record['SetIdentifier']}'" if record.get("SetIdentifier") else ""
    return f"resource record set [name='{record['Name']}', type='{record['Type']}'{extra}]"


def _fault_of_value(record, apex):
    name, kind = record["Name"], record["Type"]
    if name != apex and not name.endswith("." + apex):
        return f"RRSet with DNS name {name} is not permitted in zone {apex}"
    if kind == "CNAME" and name == apex:
        return f"RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {apex}"
    has_values = bool(record.get("ResourceRecords")) and record.get("TTL") is not None
    if has_values == bool(record.get("AliasTarget")):
        return (
            "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or "
            f"TrafficPolicyInstanceId] in Change with [Name={name}, Type={kind}]"
        )
    if kind in ("A", "AAAA"):
        for value in record.get("ResourceRecords", []):
            try:
                (ipaddress.IPv4Address if kind == "A" else ipaddress.IPv6Address)(value)
            except ValueError:
                return f"Invalid Resource Record: 'FATAL problem: {kind}RRDATAIllegalAddress encountered with '{value}''"
    return None


def _fault_of_company(record, records):
    """A record next to others of its name: CNAME stands alone, simple and policy records do not mix."""
    for other in records.values():
        if other["Name"] != record["Name"] or key(other) == key(record):
            continue
        if "CNAME" in (other["Type"], record["Type"]) and other["Type"] != record["Type"]:
            return (
                f"RRSet of type {record['Type']} with DNS name {record['Name']} is not permitted as it conflicts "
                "with other records with the same DNS name"
            )
        if other["Type"] == record["Type"] and bool(other.get("SetIdentifier")) != bool(record.get("SetIdentifier")):
            return f"RRSet with DNS name {record['Name']}, type {record['Type']} cannot be created as other RRSets exist with the same name and type"
    return None


def apply_batch(apex, records, changes):
    """The records after the batch, or Refused and nothing changed."""
    apex = canonical_name(apex)
    after = {key(found): found for found in map(clean, records)}
    faults = []
    for change in changes:
        action, record = change["Action"], clean(change["ResourceRecordSet"])
        current = after.get(key(record))
        if action == "DELETE":
            if current is None:
                faults.append(f"Tried to delete {_label(record)} but it was not found")
            elif not same(current, record):
                faults.append(f"Tried to delete {_label(record)} but the values provided do not match the current values")
            elif record["Name"] == apex and record["Type"] in ("NS", "SOA"):
                faults.append(f"A HostedZone must contain exactly one {record['Type']} record for the zone itself.")
            else:
                del after[key(record)]
            continue
        if action not in ("CREATE", "UPSERT"):
            faults.append(f"Invalid action {action}")
            continue
        fault = _fault_of_value(record, apex) or _fault_of_company(record, after)
        if fault is None and action == "CREATE" and current is not None:
            fault = f"Tried to create {_label(record)} but it already exists"
        if fault:
            faults.append(fault)
        else:
            after[key(record)] = record
    if faults:
        raise Refused("[" + ", ".join(faults) + "]")
    return list(after.values())
