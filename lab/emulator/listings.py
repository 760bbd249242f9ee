"""The emulator's whole content, read straight from moto's memory: for the nodes and firewalls (`world`) and for
comparing an account before and after (`account`)."""

import base64
import json

import images
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.models import iam_backends
from moto.route53.models import route53_backends
from moto.s3.models import s3_backends
from route53_patch import plain

ACCOUNT = "123456789012"


def regions(backends, of=None):
    """Every region of every account, or of one account."""
    for account, by_region in list(backends.items()):
        if of in (None, account):
            for region, backend in list(by_region.items()):
                yield account, region, backend


def _tags(found):
    return {tag["key"]: tag["value"] for tag in found.get_tags()}


def _rules(found):
    return [
        {
            "protocol": str(rule.ip_protocol),
            "from": rule.from_port,
            "to": rule.to_port,
            "cidr": rule.cidr_ipv4,
            "group": rule.source_group.get("GroupId"),
        }
        for rule in list(found)
    ]


def _instance(backend, account, region, found):
    subnet = next((by_zone[found.subnet_id] for by_zone in backend.subnets.values() if found.subnet_id in by_zone), None)
    image, key = backend.amis.get(found.image_id), backend.key_pairs.get(found.key_name)
    interface = found.nics.get(0)
    groups = {group.id for group in (interface.group_set if interface else found.security_groups)}
    return {
        "id": found.id,
        "account": account,
        "region": region,
        "zone": found.placement.zone,
        "state": found.state,
        "name": _tags(found).get("Name", ""),
        "private_ip": found.private_ip,
        "public_ip": found.public_ip,
        "mac": interface.mac_address if interface else None,
        "subnet": subnet.id if subnet else None,
        "subnet_cidr": subnet.cidr_block if subnet else None,
        "groups": sorted(groups),
        "public_key": key.public_key if key else None,
        "key_name": found.key_name,
        "user_data": base64.b64encode(_bytes(found.user_data)).decode() if found.user_data else None,
        "login_user": images.login_user(image.name if image else None),
        "image": image.name if image else found.image_id,
        "machine_type": found.instance_type,
    }


def _bytes(user_data):
    """User data as the instance sees it; moto keeps it in base64."""
    raw = user_data if isinstance(user_data, bytes) else str(user_data).encode()
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        return raw


def world(of=None):
    instances, groups, zones = [], [], []
    for account, region, backend in regions(ec2_backends, of):
        for reservation in list(backend.reservations.values()):
            instances += [
                _instance(backend, account, region, found)
                for found in list(reservation.instances)
                if found.state != "terminated"
            ]
        for by_id in list(backend.groups.values()):
            for group in list(by_id.values()):
                groups.append(
                    {"id": group.id, "ingress": _rules(group.ingress_rules), "egress": _rules(group.egress_rules)}
                )
    for _, _, backend in regions(route53_backends, of):
        for zone in list(backend.zones.values()):
            records = [plain(found) for found in list(zone.rrsets)]
            zones.append({"id": zone.resource_id, "name": zone.name, "private": zone.private_zone, "records": records})
    return {"instances": instances, "groups": groups, "zones": zones}


def _target(route):
    return next((t.id for t in (route.gateway, route.nat_gateway, route.instance, route.interface) if t is not None), "local")


def _ec2(backend):
    """Every EC2 resource of one region: kind, id, detail. Defaults that AWS makes itself are left out."""
    own = {vpc.id for vpc in backend.vpcs.values() if not vpc.is_default}
    for vpc in backend.vpcs.values():
        if vpc.id in own:
            yield "vpc", vpc.id, vpc.cidr_block
    for by_zone in backend.subnets.values():
        for subnet in by_zone.values():
            if subnet.vpc_id in own:
                yield "subnet", subnet.id, f"{subnet.cidr_block} {subnet.availability_zone}"
    for found in backend.internet_gateways.values():
        yield "internet-gateway", found.id, found.vpc.id if found.vpc else "detached"
    for found in backend.nat_gateways.values():
        if found.state != "deleted":
            yield "nat-gateway", found.id, f"{found.subnet_id} {found.state}"
    for found in backend.addresses:
        yield "address", found.allocation_id, f"{found.public_ip} {found.association_id or 'free'}"
    for found in backend.route_tables.values():
        if found.vpc_id in own:
            routes = [f"{r.destination_cidr_block}>{_target(r)}" for r in list(found._routes.values())]
            yield "route-table", found.id, f"{found.vpc_id} {' '.join(sorted(routes))}"
    for vpc_id, by_id in backend.groups.items():
        for group in by_id.values():
            if vpc_id in own:
                yield "security-group", group.id, f"{group.name} {vpc_id}"
                for way, rules in (("in", group.ingress_rules), ("out", group.egress_rules)):
                    for rule in _rules(rules):
                        peer = rule["cidr"] or rule["group"]
                        yield "security-group-rule", group.id, f"{way} {rule['protocol']} {rule['from']}-{rule['to']} {peer}"
    for found in backend.key_pairs.values():
        yield "key-pair", found.id, found.key_name
    for reservation in backend.reservations.values():
        for found in reservation.instances:
            if found.state != "terminated":
                yield "instance", found.id, f"{found.instance_type} {found.private_ip} {found.state} {_tags(found).get('Name', '')}"
    for found in backend.volumes.values():
        yield "volume", found.id, f"{found.size} GiB {found.status}"
    for found in backend.enis.values():
        if found.instance is None or found.instance.state != "terminated":
            yield "network-interface", found.id, f"{found.subnet.id} {found.private_ip_address}"
    for found in backend.launch_templates.values():
        yield "launch-template", found.id, found.name
    for found in backend.amis.values():
        if found.owner_id == ACCOUNT:
            yield "image", found.id, found.name or ""
    for found in backend.snapshots.values():
        if found.from_ami is None:
            yield "snapshot", found.id, found.description or ""


def _elsewhere(of):
    """Services without a region, and load balancers."""
    for _, region, backend in regions(elbv2_backends, of):
        for found in backend.load_balancers.values():
            yield region, "load-balancer", found.name, found.arn
        for found in backend.target_groups.values():
            yield region, "target-group", found.name, found.arn
    for _, _, backend in regions(route53_backends, of):
        for zone in backend.zones.values():
            yield "-", "hosted-zone", zone.resource_id, zone.name
            for record in map(plain, zone.rrsets):
                values = " ".join(sorted(map(str, record.get("ResourceRecords", []))))
                label = f"{record['Type']} {record.get('TTL', '')} {values or record.get('AliasTarget', '')}"
                yield "-", "record", record["Name"], f"{label} {record.get('SetIdentifier', '')}".strip()
    for _, _, backend in regions(s3_backends, of):
        for name, bucket in backend.buckets.items():
            yield "-", "bucket", name, ""
            for key in sorted(bucket.keys.keys()):
                yield "-", "object", f"{name}/{key}", ""
    for _, _, backend in regions(iam_backends, of):
        for found in backend.users.values():
            yield "-", "iam-user", found.name, ""
        for found in backend.roles.values():
            yield "-", "iam-role", found.name, ""
        for found in backend.instance_profiles.values():
            yield "-", "iam-instance-profile", found.name, ""
        for found in backend.managed_policies.values():
            if f":{ACCOUNT}:" in found.arn:
                yield "-", "iam-policy", found.name, ""


def account(of=None):
    rows = [
        {"region": region, "kind": kind, "id": id_, "detail": detail}
        for _, region, backend in regions(ec2_backends, of)
        for kind, id_, detail in _ec2(backend)
    ]
    rows += [{"region": r, "kind": k, "id": i, "detail": d} for r, k, i, d in _elsewhere(of)]
    return sorted(rows, key=lambda row: (row["kind"], row["region"], str(row["id"]), row["detail"]))


def seed(zone, bucket, region, account=ACCOUNT):
    """What a user's account would hold before the first cluster."""
    names = route53_backends[account]["aws"]
    if not any(found.name.rstrip(".") == zone for found in names.zones.values()):
        names.create_hosted_zone(zone + ".", private_zone=False, caller_reference="lab", comment="the lab's own")
    objects = s3_backends[account]["aws"]
    if bucket not in objects.buckets:
        objects.create_bucket(bucket, region)
    ec2_backends[account][region].describe_images()  # loads the catalogue now instead of in the first call
    return {"zone": zone, "bucket": bucket}


def iam_user(name, policy, account=ACCOUNT):
    """A user with one inline policy and one access key."""
    users = iam_backends[account]["aws"]
    if name not in users.users:
        users.create_user("us-east-1", name)
    users.put_user_policy(name, "lab", policy)
    key = users.create_access_key(name)
    return {"user": name, "access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key}


def further(account, zone, bucket, region):
    """An account of its own beside the lab's, told apart by its access key."""
    seed(zone, bucket, region, account)
    allowed = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    return {"account": account, "bucket": bucket, **iam_user("operator", allowed, account)}
