"""Addresses that can be used. moto gives out real public addresses, loopback addresses as elastic ones, and
random private ones; it never frees the address of a terminated instance."""

import ipaddress
import itertools
import threading

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, elastic_ip_addresses, elastic_network_interfaces
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

PUBLIC = ipaddress.ip_network("198.18.0.0/15")  # kept for benchmarks of networks: nobody's address
_numbers = itertools.count(256 + 10)
_lock = threading.Lock()


def public_address():
    with _lock:
        return str(PUBLIC.network_address + next(_numbers) % PUBLIC.num_addresses)


def _taken(subnet):
    """Addresses of the subnet that an interface holds."""
    held = set()
    for interface in list(subnet.ec2_backend.enis.values()):
        if interface.subnet is not None and interface.subnet.id == subnet.id:
            held |= {item["PrivateIpAddress"] for item in interface.private_ip_addresses}
    return held


def next_address(subnet, instance=None):
    """The next free address after the one given out last, so that addresses are not reused at once."""
    with _lock:
        taken = _taken(subnet) | set(subnet._subnet_ips)
        size = subnet.cidr.num_addresses - 5
        start = getattr(subnet, "lab_cursor", 0)
        for step in range(size):
            number = (start + step) % size
            address = str(subnet.cidr.network_address + 4 + number)
            if address not in taken:
                subnet.lab_cursor = number + 1
                subnet._subnet_ips[address] = instance
                return address
    raise EC2ClientError("InsufficientFreeAddressesInSubnet", f"{subnet.id} has no free addresses")


def request_address(subnet, address, instance):
    """An address that the caller chose, with EC2's own refusals."""
    if ipaddress.ip_address(address) not in subnet.cidr:
        raise EC2ClientError("InvalidParameterValue", f"Address {address} does not fall within the subnet's address range")
    first, last = subnet.cidr.network_address + 4, subnet.cidr.broadcast_address - 1
    if not first <= ipaddress.ip_address(address) <= last:
        raise EC2ClientError("InvalidParameterValue", f"Address {address} is in subnet's reserved address range")
    with _lock:
        if address in _taken(subnet) | set(subnet._subnet_ips):
            raise EC2ClientError("InvalidIPAddress.InUse", f"Address {address} is in use.")
        subnet._subnet_ips[address] = instance


def install():
    elastic_network_interfaces.random_public_ip = public_address
    elastic_ip_addresses.random_ip = public_address
    Subnet.get_available_subnet_ip = next_address
    Subnet.request_ip = request_address

    create = EC2Backend.create_network_interface

    def create_network_interface(self, subnet, private_ip_address, private_ip_addresses=None, **kwargs):
        if subnet is not None and not private_ip_address and not private_ip_addresses:
            found = self.get_subnet(subnet) if isinstance(subnet, str) else subnet
            private_ip_address = next_address(found)
        return create(self, subnet, private_ip_address, private_ip_addresses, **kwargs)

    EC2Backend.create_network_interface = create_network_interface

    delete = EC2Backend.delete_network_interface

    def delete_network_interface(self, eni_id):
        interface = self.enis.get(eni_id)
        delete(self, eni_id)
        for item in interface.private_ip_addresses:
            interface.subnet.del_subnet_ip(item["PrivateIpAddress"])

    EC2Backend.delete_network_interface = delete_network_interface

    terminate = Instance.terminate

    def terminate_and_free(self):
        before = terminate(self)
        for interface in self.nics.values():
            for item in interface.private_ip_addresses:
                interface.subnet.del_subnet_ip(item["PrivateIpAddress"])
        return before

    Instance.terminate = terminate_and_free
