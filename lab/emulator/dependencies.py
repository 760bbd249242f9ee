"""Refusals that keep an account whole: moto deletes groups, subnets, VPCs and addresses that are in use."""

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.ec2.models import EC2Backend


def _interfaces(backend):
    """Interfaces that count: those of terminated instances are gone at AWS."""
    return [
        found
        for found in list(backend.enis.values())
        if found.instance is None or found.instance.state != "terminated"
    ]


def _referring(backend, group_id):
    for groups in list(backend.groups.values()):
        for group in list(groups.values()):
            rules = list(group.ingress_rules) + list(group.egress_rules)
            if group.id != group_id and any(rule.source_group.get("GroupId") == group_id for rule in rules):
                return group.id
    return None


def _delete_security_group(original):
    def wrapped(self, vpc_id, group_id):
        holder = next((i for i in _interfaces(self) if any(g.id == group_id for g in i.group_set)), None)
        if holder or _referring(self, group_id):
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        return original(self, vpc_id, group_id)

    return wrapped


def _delete_subnet(original):
    def wrapped(self, subnet_id):
        if any(i.subnet.id == subnet_id for i in _interfaces(self)):
            raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")
        return original(self, subnet_id)

    return wrapped


def _delete_vpc(original):
    def wrapped(self, vpc_id):
        gateways = [g for g in self.internet_gateways.values() if g.vpc and g.vpc.id == vpc_id]
        groups = [g for g in self.groups.get(vpc_id, {}).values() if g.name != "default"]
        if gateways or groups or any(i.vpc_id == vpc_id for i in _interfaces(self)):
            raise DependencyViolationError(f"The vpc '{vpc_id}' has dependencies and cannot be deleted.")
        return original(self, vpc_id)

    return wrapped


def _detach_internet_gateway(original):
    def wrapped(self, internet_gateway_id, vpc_id):
        if any(i.vpc_id == vpc_id and i.public_ip for i in _interfaces(self)):
            raise DependencyViolationError(
                f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before "
                "detaching the gateway."
            )
        return original(self, internet_gateway_id, vpc_id)

    return wrapped


def _release_address(original):
    def wrapped(self, address=None, allocation_id=None):
        found = self.address_by_ip([address]) if address else self.address_by_allocation([allocation_id])
        if found[0].association_id or found[0].eni or found[0].instance:
            raise EC2ClientError("InvalidIPAddress.InUse", f"Address {found[0].public_ip} is in use.")
        return original(self, address=address, allocation_id=allocation_id)

    return wrapped


def _delete_nat_gateway(original):
    """moto leaves the gateway's interface and its hold on the address behind."""

    def wrapped(self, nat_gateway_id):
        gateway = original(self, nat_gateway_id)
        interface = getattr(gateway, "_eni", None)
        for address in list(self.addresses):
            if interface is not None and address.eni is not None and address.eni.id == interface.id:
                self.disassociate_address(address=address.public_ip)
        if interface is not None and interface.id in self.enis:
            self.delete_network_interface(interface.id)
        return gateway

    return wrapped


def install():
    for name, wrap in {
        "_delete_security_group": _delete_security_group,
        "delete_subnet": _delete_subnet,
        "delete_vpc": _delete_vpc,
        "detach_internet_gateway": _detach_internet_gateway,
        "release_address": _release_address,
        "delete_nat_gateway": _delete_nat_gateway,
    }.items():
        setattr(EC2Backend, name, wrap(getattr(EC2Backend, name)))
